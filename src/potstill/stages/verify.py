"""Run the exported artifact in its own runtime: the whole test split, latency beside the teacher, memory, size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core import atomic
from potstill.core.spec import Spec
from potstill.core.tensorfile import write_arrays
from potstill.exporters import AnyExporter
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import data_io, folder_for, gather, set_threads
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
        from potstill.models.tools.saved import load_model
        from potstill.verify.accuracy import run_split
        from potstill.verify.latency import interleaved
        from potstill.verify.memory import peak_memory

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        test = dataset.splits["test"]
        model = load_model(context.inputs["student"])
        path = self._artifact_path(context.inputs["exported"])
        artifact = self.exporter.load(path, self.verify.threads)
        outside = model.preprocess.outside_numpy
        outputs = run_split(artifact, len(test), lambda rows: outside(gather(test, rows)[0]), context.progress)
        with atomic.replacing(context.work / "outputs.safetensors") as out:
            write_arrays(out, {"outputs": outputs})
        one = gather(test, np.zeros(1, dtype=np.int64))[0]
        ready = outside(one)
        candidates = {"student": lambda: artifact(ready)}
        facts: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size, "format": self.exporter.kind}
        if self.verify.teacher_latency:
            teacher, runtime = self._teacher(context, dataset, one)
            candidates["teacher"] = teacher
            facts["teacher_runtime"] = runtime
        facts["latency"] = interleaved(
            candidates, blocks=self.verify.blocks, lock=context.options.cache / "locks" / "measure.lock"
        )
        facts["memory"] = peak_memory(path, ready, self.verify.threads)
        facts[self.task.headline] = float(self.task.correct(outputs, Truth.of(dataset, "test")).mean())
        return facts

    def _artifact_path(self, folder: Path) -> Path:
        from potstill.core.artifact import manifest

        return folder / str(manifest(folder)["facts"]["file"])

    def _teacher(self, context: StageContext, dataset: Any, one: Any) -> tuple[Any, str]:
        """Return (the teacher run on one sample, its runtime): the student's where it can be exported, and then, as for the
        student, without what the host does before."""
        from torch import nn, set_num_threads

        io = data_io(dataset)
        labeller = self.teacher.load(context.inputs["teacher"], io, dataset.stats)
        module = getattr(labeller, "module", None)
        set_num_threads(self.verify.threads)
        if isinstance(module, nn.Module):
            preprocess: Any = labeller.preprocess  # type: ignore[attr-defined]
            whole = nn.Sequential(preprocess.inside, module).eval()
            example = preprocess.outside_numpy(gather(dataset.splits["test"], np.arange(2, dtype=np.int64))[0])
            try:
                exported = self.exporter.export(whole, example, folder_for(context.work, "teacher"))
            except Exception:
                return lambda: labeller(one), "torch"
            loaded, ready = self.exporter.load(exported.path, self.verify.threads), preprocess.outside_numpy(one)
            return lambda: loaded(ready), self.exporter.kind
        return lambda: labeller(one), self.teacher.kind
