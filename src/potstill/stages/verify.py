"""Run the exported artifact in its own runtime: the whole test split, latency beside the teacher, memory, size."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.spec import Spec
from potstill.exporters import AnyExporter
from potstill.quant import spec as quant
from potstill.stages._artifacts import artifact_of, judged, teacher_call, timed, timed_samples
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import folder_for, gather, set_threads
from potstill.tasks import AnyTask, Truth
from potstill.teachers import AnyTeacher


class VerifySpec(Spec):
    """What is measured on the artifact."""

    threads: int = Field(default=1, ge=1)
    """CPU threads of the runtime while latency is measured."""
    blocks: int = Field(default=30, ge=5)
    """Interleaved blocks in which student and teacher are timed by turns."""
    teacher_latency: bool = True
    """Time the teacher too, exported to the same format where it can be."""


@registry.register
class VerifyStage(StageSpec):
    """Data, artifact and teacher -> outputs of the artifact and measured figures."""

    requires: ClassVar[tuple[str, ...]] = ("data", "student", "exported", "teacher")
    provides: ClassVar[str] = "verified"
    kind: Literal["verify"] = "verify"
    task: AnyTask
    """Gives the headline metric."""
    exporter: AnyExporter
    """Opens the artifact."""
    teacher: AnyTeacher
    """Timed beside the student."""
    verify: VerifySpec
    """What is measured."""
    machine: str = Field(examples=["a processor, 2 cores"])
    """The processor these figures belong to."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.exporters.model import export_model
        from potstill.models.tools.saved import load_model
        from potstill.verify.latency import interleaved
        from potstill.verify.memory import peak_memory

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        model = load_model(context.inputs["student"])
        artifact, outputs = judged(self.exporter, context, dataset, model.preprocess, self.verify.threads)
        path, num_bytes = artifact_of(context.inputs["exported"])
        samples = timed_samples(dataset, model.preprocess)
        candidates = {"student": timed(model.preprocess, artifact, samples)}
        facts: dict[str, Any] = {
            "file": path.name,
            "bytes": num_bytes,
            "format": self.exporter.kind,
            "timed_rows": len(samples),
        }
        if quant.read(context.inputs["student"]) is not None:
            test = dataset.splits["test"]
            example = model.preprocess.outside_numpy(gather(test, np.arange(2, dtype=np.int64) % len(test))[0])
            folder = folder_for(context.work, "float")
            before = export_model(self.exporter, model.preprocess, model.module, example, folder)
            candidates["float"] = timed(model.preprocess, self.exporter.load(before.path, self.verify.threads), samples)
            facts["float_bytes"] = before.path.stat().st_size
        if self.verify.teacher_latency:
            candidates["teacher"], facts["teacher_runtime"] = teacher_call(
                self.teacher, self.exporter, context, dataset, samples, self.verify.threads
            )
        facts["latency"] = interleaved(
            candidates, blocks=self.verify.blocks, lock=context.options.cache / "locks" / "measure.lock",
            per_call=len(samples),
        )  # fmt: skip
        facts["memory"] = peak_memory(
            self.exporter.runtime, path, model.preprocess.outside_numpy(samples[0]), self.verify.threads
        )
        facts[self.task.headline] = float(self.task.correct(outputs, Truth.of(dataset, "test")).mean())
        return facts
