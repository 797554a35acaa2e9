"""Run an artifact over the whole test split in its own runtime; nothing is timed, so many run beside one another."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from potstill.exporters import AnyExporter
from potstill.stages._artifacts import artifact_of, judged
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import set_threads
from potstill.tasks import AnyTask, Truth


@registry.register
class JudgeStage(StageSpec):
    """Data, student and artifact -> outputs of the artifact."""

    requires: ClassVar[tuple[str, ...]] = ("data", "student", "exported")
    provides: ClassVar[str] = "judged"
    kind: Literal["judge"] = "judge"
    task: AnyTask
    """Gives the headline metric."""
    exporter: AnyExporter
    """Opens the artifact."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.models.tools.saved import load_model

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        preprocess = load_model(context.inputs["student"]).preprocess
        _, outputs = judged(self.exporter, context, dataset, preprocess, context.options.threads)
        correct = self.task.correct(outputs, Truth.of(dataset, "test"))
        return {"bytes": artifact_of(context.inputs["exported"])[1], self.task.headline: float(correct.mean())}
