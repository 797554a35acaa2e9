"""Run the exported artifact in its own runtime: the whole test split, latency beside the teacher, memory, size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.spec import Spec
from potstill.exporters import AnyExporter
from potstill.exporters.onnx import OnnxSpec
from potstill.quant import spec as quant
from potstill.stages._artifacts import TeacherCall, artifact_of, judged, teacher_call, timed, timed_rows, timed_samples
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import folder_for, gather, set_threads
from potstill.tasks import AnyTask, Truth
from potstill.teachers import AnyTeacher


class TimingSpec(Spec):
    """Latency from the row on disk to the answer by its parts, in more threads, over a long run and from a cold start, each in a
    process of its own."""

    threads: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None = None
    """Thread counts in which the artifact alone is timed; nothing: 1, and as many as there are cores."""
    sustained_s: float = Field(default=0.0, ge=0, le=3600)
    """Seconds that the student runs without a pause, to see whether the processor slows down; 60 shows most, 0 leaves it out."""
    cold_starts: int = Field(default=5, ge=1)
    """Fresh processes in which a start to the first answer is timed."""


class VerifySpec(Spec):
    """What is measured on the artifact."""

    threads: int = Field(default=1, ge=1)
    """CPU threads of the runtime while latency is measured."""
    blocks: int = Field(default=30, ge=5)
    """Interleaved blocks in which student and teacher are timed by turns."""
    teacher_latency: bool = True
    """Time the teacher too, exported to the same format where it can be."""
    timing: TimingSpec | None = None
    """More about time; nothing: latency of the artifact alone."""


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
        teacher: TeacherCall | None = None
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
            beside = OnnxSpec() if self.exporter.integers else self.exporter
            before = export_model(beside, model.preprocess, model.module, example, folder)
            candidates["float"] = timed(model.preprocess, beside.load(before.path, self.verify.threads), samples)
            facts["float_bytes"] = before.path.stat().st_size
        if self.verify.teacher_latency:
            teacher = teacher_call(self.teacher, self.exporter, context, dataset, samples, self.verify.threads)
            candidates["teacher"], facts["teacher_runtime"] = teacher.run, teacher.runtime
        facts["latency"] = interleaved(
            candidates, blocks=self.verify.blocks, lock=lock_of(context), per_call=len(samples)
        )
        if self.verify.timing is not None:
            example = model.preprocess.outside_numpy(samples[0])
            rows = timed_rows(dataset, model.preprocess)
            facts["timing"] = self._timing(context, self.verify.timing, path, teacher, rows, example)
        facts["memory"] = peak_memory(
            self.exporter.runtime, path, model.preprocess.outside_numpy(samples[0]), self.verify.threads
        )
        facts[self.task.headline] = float(self.task.correct(outputs, Truth.of(dataset, "test")).mean())
        return facts

    def _timing(
        self, context: StageContext, asked: TimingSpec, path: Path, teacher: TeacherCall | None, rows: list[int], example: Any
    ) -> dict[str, Any]:  # fmt: skip
        from potstill.verify.timing import TimedTeacher, cold_start, end_to_end

        beside = None
        # A teacher that only this process holds cannot be taken to another.
        if teacher is not None and not any(getattr(s, "in_process", False) for s in self.teacher.walk()):
            runtime = None if teacher.path is None else self.exporter.runtime
            beside = TimedTeacher(
                self.teacher.model_dump(mode="json"), context.inputs["teacher"], runtime, teacher.path
            )
        found = end_to_end(
            data=context.inputs["data"], output=self.task.output, student=context.inputs["student"], runtime=self.exporter.runtime,
            path=path, teacher=beside, rows=rows, threads=self.verify.threads,
            thread_counts=asked.threads or sorted({1, os.cpu_count() or 1}), blocks=self.verify.blocks,
            sustained_s=asked.sustained_s, lock=lock_of(context),
        )  # fmt: skip
        cold = cold_start(
            self.exporter.runtime, path, example, self.verify.threads, asked.cold_starts, lock_of(context)
        )
        return {**found, "cold_start": cold, "rows": len(rows), "source": "measured"}


def lock_of(context: StageContext) -> Path:
    """Return the file under which only one process on the machine measures."""
    return context.options.cache / "locks" / "measure.lock"
