"""Run a model over the whole test split, once; every figure of the report is computed from what it leaves."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from potstill.core import atomic
from potstill.core.tensorfile import write_arrays
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import data_io, label_all, set_threads
from potstill.tasks import AnyTask, Truth
from potstill.teachers import AnyTeacher


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
            from potstill.models.tools.saved import load_model
            from potstill.train.loop import predict

            model = load_model(context.inputs["student"])
            outputs = predict(model.module, model.preprocess, test)
        with atomic.replacing(context.work / "outputs.safetensors") as path:
            write_arrays(
                path, {"outputs": outputs if outputs.dtype == np.uint8 else outputs.astype(np.float32, copy=False)}
            )
        correct = self.task.correct(outputs, Truth.of(dataset, "test"))
        return {self.task.headline: float(correct.mean()), "rows": len(test)}
