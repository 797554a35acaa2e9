"""Damage a sample of test rows in named ways, and run one model over them as it reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field

from potstill.core import atomic, rng
from potstill.core.progress import Progress
from potstill.core.spec import Spec
from potstill.core.tensorfile import open_arrays, write_arrays
from potstill.data.dataset import Dataset, Split
from potstill.exporters import AnyExporter
from potstill.stages._artifacts import artifact_of
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import data_io, gather, label_all, set_threads
from potstill.tasks import AnyTask, Truth
from potstill.teachers import AnyTeacher

CLEAN = "clean"
"""Name of the outputs on samples as they are; those on damaged ones are `corruption/severity`."""
_CONTROL = "student:"
_JUDGED = "outputs:"


def _ascending(severities: tuple[int, ...]) -> tuple[int, ...]:
    if list(severities) != sorted(set(severities)) or not set(severities) <= {1, 2, 3, 4, 5}:
        raise ValueError(
            f"must be numbers from 1 to 5, each once, the mildest first; got severities={list(severities)}"
        )
    return severities


def _named(value: Any) -> Any:
    names = isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)
    if value != "all" and not (names and 0 < len(value) == len(set(value))):
        raise ValueError(f"must be all, or a list of names, each once; got corruptions={value!r}")
    return value


class RobustnessSpec(Spec):
    """How samples are damaged to see what that does to each model's answers."""

    corruptions: Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_named)] = "all"
    """Names of those that the data's kind of sample has, or all of them."""
    severities: Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_ascending)] = (1, 2, 3, 4, 5)
    """From 1, slight, to 5."""
    rows: int = Field(default=500, ge=1)
    """Test rows that are damaged, drawn at random; all of them where there are fewer."""
    seed: int = Field(default=0, ge=0)
    """Of the draw of rows and of every damage."""

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the corruptions of samples of a kind."""
        from potstill.data.corrupt.rows import corruptions_of

        return tuple(corruptions_of(kind)) if self.corruptions == "all" else self.corruptions  # type: ignore[arg-type]


@registry.register
class RobustStage(StageSpec):
    """Data and one model -> its outputs on a sample of test rows, whole and damaged."""

    requires: ClassVar[tuple[str, ...]] = ("data", "teacher?", "student?", "exported?", "outputs?")
    provides: ClassVar[str] = "answers"
    kind: Literal["robust"] = "robust"
    task: AnyTask
    """Gives the headline, and says whether a row without a label is out of scope."""
    robustness: RobustnessSpec
    """What is done to which rows."""
    teacher: AnyTeacher | None = None
    """Runs this teacher."""
    exporter: AnyExporter | None = None
    """Runs the student's artifact of this format, in its own runtime."""
    controls: tuple[str, ...] = ()
    """Runs that of these which is best on the test split; with none of the three set, the student, in float32."""

    def inputs_needed(self) -> tuple[str, ...]:
        if self.teacher is not None:
            return ("data", "teacher")
        if self.controls:
            return ("data", *(f"{kind}{arm}" for arm in self.controls for kind in (_CONTROL, _JUDGED)))
        return ("data", "student") if self.exporter is None else ("data", "student", "exported")

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.corrupt.rows import corrupted, some_rows

        set_threads(context.options.threads)
        dataset, spec = Dataset.open(context.inputs["data"]), self.robustness
        rows = self._rows(dataset)
        split = some_rows(dataset.splits["test"], rows)
        who, answer = self._model(context, dataset)
        names = spec.names(dataset.kind)
        out: dict[str, NDArray[Any]] = {"rows": rows}
        with context.progress.task(context.name, len(rows) * (1 + len(names) * len(spec.severities)), "rows") as shown:
            out[CLEAN] = answer(split)
            shown.advance(len(rows))
            for name in names:
                for severity in spec.severities:
                    out[f"{name}/{severity}"] = answer(corrupted(split, name, severity, spec.seed))
                    shown.advance(len(rows))
        with atomic.replacing(context.work / "answers.safetensors") as path:
            write_arrays(path, out)
        truth = Truth.of_split(split, dataset.classes)
        headline = float(self.task.correct(out[CLEAN], truth).mean())
        return {"model": who, "rows": len(rows), "corruptions": list(names), self.task.headline: headline}

    def _rows(self, dataset: Dataset) -> NDArray[np.int64]:
        """Return the test rows that are damaged, ascending: of those that have a label or are of no class."""
        labels = np.asarray(dataset.splits["test"].labels)
        outside = getattr(self.task, "unlabelled", "unknown") == "out-of-scope"
        judged = np.flatnonzero((labels >= 0) | outside).astype(np.int64)
        order = rng.permutation(rng.seed_of(self.robustness.seed, "robustness"), 0, len(judged))
        return np.sort(judged[order[: self.robustness.rows]])

    def _model(self, context: StageContext, dataset: Dataset) -> tuple[str, Callable[[Split], NDArray[Any]]]:
        """Return (the model's name, what gives its outputs for a split, as the task judges them)."""
        if self.teacher is not None:
            labeller = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.stats)
            return self.teacher.kind, lambda split: _logits(label_all(labeller, split, lambda _: None), labeller.output)
        from potstill.models.tools.saved import load_model

        who = self._strongest(context, dataset) if self.controls else "student"
        model = load_model(context.inputs[f"{_CONTROL}{who}" if self.controls else "student"])
        if self.exporter is None:
            from potstill.train.loop import predict

            return who, lambda split: _plain(predict(model.module, model.preprocess, split))
        from potstill.verify.accuracy import run_split

        preprocess, path = model.preprocess, artifact_of(context.inputs["exported"])[0]
        artifact = self.exporter.load(path, context.options.threads)

        def answer(split: Split) -> NDArray[Any]:
            given = run_split(
                artifact, len(split), lambda rows: preprocess.outside_numpy(gather(split, rows)[0]), Progress("quiet")
            )
            return _plain(preprocess.judged(given))

        return path.name, answer

    def _strongest(self, context: StageContext, dataset: Dataset) -> str:
        truth = Truth.of(dataset, "test")
        scores = {}
        for arm in self.controls:
            outputs = np.asarray(open_arrays(context.inputs[f"{_JUDGED}{arm}"] / "outputs.safetensors")["outputs"])
            scores[arm] = float(self.task.correct(outputs, truth).mean())
        return max(scores, key=scores.__getitem__)


def _plain(outputs: NDArray[Any]) -> NDArray[Any]:
    return outputs if outputs.dtype == np.uint8 else outputs.astype(np.float32, copy=False)


def _logits(outputs: NDArray[Any], output: str) -> NDArray[Any]:
    """Return log-probabilities where a teacher gives probabilities: they are logits whose softmax is the same."""
    return _plain(np.log(np.maximum(outputs, 1e-12)) if output == "probabilities" else outputs)
