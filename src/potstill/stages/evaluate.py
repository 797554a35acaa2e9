"""Run a model over the whole test split, once; every figure of the report is computed from what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.tensorfile import write_arrays
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import data_io, label_all, set_threads
from potstill.stages._quantised import answering
from potstill.tasks import AnyTask, Truth
from potstill.teachers import AnyTeacher

FLOAT = "float.safetensors"
"""Outputs of a quantised student's module in float32, beside those of what is quantised."""


@registry.register
class EvaluateStage(StageSpec):
    """Data and a student or a teacher -> its outputs on the test split."""

    requires: ClassVar[tuple[str, ...]] = ("data", "student?", "teacher?")
    provides: ClassVar[str] = "outputs"
    kind: Literal["evaluate"] = "evaluate"
    task: AnyTask
    """Gives the headline metric."""
    teacher: AnyTeacher | None = None
    """Evaluates this teacher; None evaluates the student."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        test = dataset.splits["test"]
        if self.teacher is not None:
            labeller = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.stats)
            with context.progress.task(context.name, len(test), "rows") as shown:
                outputs = label_all(labeller, test, shown.advance)
        else:
            from potstill.train.loop import predict

            model, spec = answering(context.inputs["student"])
            outputs = predict(model.module, model.preprocess, test)
            if spec is not None:
                from potstill.models.tools.saved import load_model

                whole = load_model(context.inputs["student"])
                _write(context.work / FLOAT, predict(whole.module, whole.preprocess, test))
        _write(context.work / "outputs.safetensors", outputs)
        correct = self.task.correct(outputs, Truth.of(dataset, "test"))
        return {self.task.headline: float(correct.mean()), "rows": len(test)}


def _write(path: Path, outputs: NDArray[Any]) -> None:
    with atomic.replacing(path) as out:
        write_arrays(out, {"outputs": outputs if outputs.dtype == np.uint8 else outputs.astype(np.float32, copy=False)})
