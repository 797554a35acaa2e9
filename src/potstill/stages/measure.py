"""Time the artifacts of several arms and the teacher by turns, each in its own runtime, and take their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field

from potstill.exporters import AnyExporter
from potstill.stages._artifacts import artifact_of, teacher_call, timed, timed_samples
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import set_threads
from potstill.teachers import AnyTeacher

EXPORTED = "exported:"
"""Before the name of an arm, an input of the stage."""
STUDENT = "student:"


@registry.register
class MeasureStage(StageSpec):
    """Data, teacher, and students with their artifacts -> latency of all, measured interleaved, and memory of each."""

    requires: ClassVar[tuple[str, ...]] = ("data", "teacher", "student", "exported")
    provides: ClassVar[str] = "measured"
    kind: Literal["measure"] = "measure"
    exporter: AnyExporter
    """Opens the artifacts."""
    teacher: AnyTeacher
    """Timed beside them."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of the runtime."""
    blocks: int = Field(default=30, ge=5)
    """Interleaved blocks in which all are timed by turns."""
    arms: tuple[str, ...] = Field(min_length=1, examples=[("a",)])
    """Names after the colon of the inputs student: and exported:."""
    machine: str = Field(examples=["a processor, 2 cores"])
    """The processor these figures belong to."""

    def inputs_needed(self) -> tuple[str, ...]:
        return ("data", "teacher", *(f"{kind}{arm}" for arm in self.arms for kind in (STUDENT, EXPORTED)))

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.models.tools.saved import load_model
        from potstill.verify.latency import interleaved
        from potstill.verify.memory import peak_memory

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        models = {arm: load_model(context.inputs[f"{STUDENT}{arm}"]) for arm in self.arms}
        samples = timed_samples(dataset, models[self.arms[0]].preprocess)
        calls: dict[str, Callable[[], object]] = {}
        memory, size = {}, {}
        for arm in self.arms:
            path, size[arm] = artifact_of(context.inputs[f"{EXPORTED}{arm}"])
            preprocess = models[arm].preprocess
            calls[arm] = timed(preprocess, self.exporter.load(path, self.threads), samples)
            memory[arm] = peak_memory(self.exporter.runtime, path, preprocess.outside_numpy(samples[0]), self.threads)
        teacher = teacher_call(self.teacher, self.exporter, context, dataset, samples, self.threads)
        calls["teacher"] = teacher.run
        found = interleaved(
            calls, blocks=self.blocks, lock=context.options.cache / "locks" / "measure.lock",
            per_call=len(samples),
        )  # fmt: skip
        return {"latency": found, "memory": memory, "bytes": size, "teacher_runtime": teacher.runtime}
