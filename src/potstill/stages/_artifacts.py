"""What stages do with exported artifacts: run one over the test split, and run the teacher beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from potstill.core import atomic
from potstill.core.artifact import manifest
from potstill.core.tensorfile import write_arrays
from potstill.exporters import Artifact, ExporterSpec
from potstill.stages._base import StageContext
from potstill.stages._parts import data_io, folder_for, gather
from potstill.teachers import TeacherSpec


def judged(
    exporter: ExporterSpec, context: StageContext, dataset: Any, preprocess: Any, threads: int
) -> tuple[Artifact, Any]:
    """Return (the artifact, its outputs over the test split), which are left in the stage's folder too."""
    from potstill.verify.accuracy import run_split

    folder, test = context.inputs["exported"], dataset.splits["test"]
    artifact = exporter.load(folder / str(manifest(folder)["facts"]["file"]), threads)
    outputs = run_split(
        artifact, len(test), lambda rows: preprocess.outside_numpy(gather(test, rows)[0]), context.progress
    )
    with atomic.replacing(context.work / "outputs.safetensors") as out:
        write_arrays(out, {"outputs": outputs})
    return artifact, outputs


def teacher_call(
    teacher: TeacherSpec, exporter: ExporterSpec, context: StageContext, dataset: Any, one: Any, threads: int
) -> tuple[Callable[[], object], str]:
    """Return (the teacher run on one sample, its runtime): the student's where it can be exported, and then, as for the
    student, without what the host does before."""
    from torch import nn, set_num_threads

    labeller = teacher.load(context.inputs["teacher"], data_io(dataset), dataset.stats)
    module = getattr(labeller, "module", None)
    set_num_threads(threads)
    if not isinstance(module, nn.Module):
        return lambda: labeller(one), teacher.kind
    preprocess: Any = labeller.preprocess  # type: ignore[attr-defined]
    whole = nn.Sequential(preprocess.inside, module).eval()
    example = preprocess.outside_numpy(gather(dataset.splits["test"], np.arange(2, dtype=np.int64))[0])
    try:
        exported = exporter.export(whole, example, folder_for(context.work, "teacher"))
    except Exception:
        return lambda: labeller(one), "torch"
    loaded, ready = exporter.load(exported.path, threads), preprocess.outside_numpy(one)
    return lambda: loaded(ready), exporter.kind
