"""Keep the finished student or the finished control: the one that validation rows, and what is to be expected, judge better."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from potstill.core import atomic
from potstill.core.artifact import manifest
from potstill.quant import spec as quant
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import labelled_rows, set_threads
from potstill.stages._quantised import answering
from potstill.tasks import AnyTask, Truth
from potstill.train.last_choice import Judged, judge
from potstill.verify.gain import clustered

_OF_THE_RACE = ("race", "untrained")
"""Facts that stay with the student's own training."""


@registry.register
class ChooseStage(StageSpec):
    """Data, teacher, a student and its hard-label control of the same seed -> one of the two, byte for byte."""

    requires: ClassVar[tuple[str, ...]] = ("data", "teacher", "student", "control")
    stands_for: ClassVar[dict[str, str]] = {"control": "student"}
    provides: ClassVar[str] = "student"
    kind: Literal["choose"] = "choose"
    task: AnyTask
    """Gives the headline metric."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        untrained = manifest(context.inputs["student"])["facts"].get("untrained")
        choice = self._judge(context, dataset) if untrained is None else self._without(context, dataset, untrained)
        for name in ("student.safetensors", "student.json", quant.NAME):
            chosen = context.inputs[choice["chosen"]] / name
            if chosen.exists():
                atomic.write_bytes(context.work / name, chosen.read_bytes())
        facts = manifest(context.inputs[choice["chosen"]])["facts"]
        return {**{k: v for k, v in facts.items() if k not in _OF_THE_RACE}, "choice": choice}

    def _judge(self, context: StageContext, dataset: Any) -> dict[str, Any]:
        validation, truth = dataset.splits["validation"], Truth.of(dataset, "validation")
        correct = {arm: self._correct(context.inputs[arm], dataset) for arm in ("student", "control")}
        # Rows of one person or speaker are alike: each group is one value.
        values = {a: clustered(c[None], validation.groups, truth)[0] for a, c in correct.items()}
        train, gate = dataset.splits["train"], manifest(context.inputs["teacher"])["facts"]["gate"]
        labelled = len(labelled_rows(train)) / len(train)
        judged = judge(values["student"], values["control"], labelled, float(gate["accuracy"]))
        return {
            "chosen": judged.chosen, "why": self._why(judged, len(correct["student"])), "student": judged.student,
            "control": judged.control, "expected": judged.expected, "gain": judged.gain, "validation_rows": len(correct["student"]),
            "validation_groups": None if validation.groups is None else judged.num,
        }  # fmt: skip

    def _without(self, context: StageContext, dataset: Any, untrained: str) -> dict[str, Any]:
        """Return the choice where there is no trained student to choose."""
        correct = self._correct(context.inputs["control"], dataset)
        return {
            "chosen": "control", "why": f"no candidate could be trained to its end ({untrained}), so the control is kept",
            "student": None, "control": float(correct.mean()), "expected": 0.0, "gain": 0.0, "validation_rows": len(correct),
            "validation_groups": None,
        }  # fmt: skip

    def _why(self, judged: Judged, rows: int) -> str:
        text = (
            f"{self.task.headline} {judged.student:.4f} of the student against {judged.control:.4f} of the control on "
            f"{rows} validation rows"
        )
        if judged.num != rows:
            text += f" of {judged.num} group{'s' if judged.num > 1 else ''}"
        if judged.expected:
            text += (
                f", where {100 * judged.expected:+.1f} points were to be expected: {100 * judged.gain:+.1f} together"
            )
        return text if judged.chosen == "student" else f"{text}; a student that is not better is not kept"

    def _correct(self, folder: Path, dataset: Any) -> Any:
        from potstill.train.loop import predict

        model, _ = answering(folder)
        outputs = predict(model.module, model.preprocess, dataset.splits["validation"])
        return self.task.correct(outputs, Truth.of(dataset, "validation"))
