"""What stages do with exported artifacts: run one over the test split, time one, and run the teacher beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core import atomic
from potstill.core.artifact import manifest
from potstill.core.tensorfile import write_arrays
from potstill.exporters import Artifact, ExporterSpec
from potstill.exporters.card import card_name
from potstill.stages._base import StageContext
from potstill.stages._parts import data_io, folder_for, gather
from potstill.teachers import TeacherSpec

_TIMED_TEXTS, _TIMED_ROWS = 8, 64


@dataclass(frozen=True)
class TeacherCall:
    """The teacher, to be timed."""

    run: Callable[[], object]
    """On the samples, one by one."""
    runtime: str
    """The kind of its artifact, or what runs it here."""
    path: Path | None
    """Of its artifact; None where it cannot be exported."""


def artifact_of(folder: Path) -> tuple[Path, int]:
    """Return an exported artifact's first file, and the bytes of all its files but the card."""
    found = manifest(folder)
    first = str(found["facts"]["file"])
    return folder / first, sum(e["bytes"] for name, e in found["files"].items() if name != card_name(first))


def judged(
    exporter: ExporterSpec, context: StageContext, dataset: Any, preprocess: Any, threads: int
) -> tuple[Artifact, Any]:
    """Return (the artifact, its outputs over the test split), which are left in the stage's folder too."""
    from potstill.verify.accuracy import run_split

    test = dataset.splits["test"]
    artifact = exporter.load(artifact_of(context.inputs["exported"])[0], threads)
    given = run_split(
        artifact, len(test), lambda rows: preprocess.outside_numpy(gather(test, rows)[0]), context.progress
    )
    outputs = preprocess.judged(given)
    with atomic.replacing(context.work / "outputs.safetensors") as out:
        write_arrays(out, {"outputs": outputs})
    return artifact, outputs


def timed_samples(dataset: Any, preprocess: Any) -> list[Any]:
    """Return the samples that are timed one by one: the first row, or, as a text takes the longer to write the longer it is, some from
    all over the test split."""
    test = dataset.splits["test"]
    num = 1 if preprocess.writing is None else min(_TIMED_TEXTS, len(test))
    rows = np.linspace(0, len(test) - 1, num).astype(np.int64) if num > 1 else np.zeros(1, np.int64)
    return [gather(test, row[None])[0] for row in rows]


def timed_rows(dataset: Any, preprocess: Any) -> list[int]:
    """Return rows from all over the test split that are taken one after another where a sample is timed from disk to answer."""
    num_rows = len(dataset.splits["test"])
    num = min(_TIMED_ROWS if preprocess.writing is None else _TIMED_TEXTS, num_rows)
    return [int(row) for row in np.linspace(0, num_rows - 1, num).astype(np.int64)]


def timed(preprocess: Any, artifact: Artifact, samples: list[Any]) -> Callable[[], object]:
    """Return what runs an artifact on samples one by one, without what the host does before; a text from its bytes to the bytes that
    are written, since tokenizer and search are the host's."""
    from potstill.verify.latency import calling

    if preprocess.writing is None:
        (one,) = samples
        return calling(artifact, preprocess.outside_numpy(one))

    def write() -> None:
        for sample in samples:
            preprocess.judged(artifact(preprocess.outside_numpy(sample)))

    return write


def teacher_call(
    teacher: TeacherSpec, exporter: ExporterSpec, context: StageContext, dataset: Any, samples: list[Any], threads: int
) -> TeacherCall:
    """Return the teacher run on these samples one by one, in the student's runtime where it can be exported, and then `timed` as the
    student is."""
    from torch import nn, set_num_threads

    from potstill.exporters.model import export_model

    labeller = teacher.load(context.inputs["teacher"], data_io(dataset), dataset.stats)
    module = getattr(labeller, "module", None)
    set_num_threads(threads)

    def live() -> None:
        for sample in samples:
            labeller(sample)

    if not isinstance(module, nn.Module):
        return TeacherCall(live, teacher.kind, None)
    preprocess: Any = labeller.preprocess  # type: ignore[attr-defined]
    example = preprocess.outside_numpy(gather(dataset.splits["test"], np.arange(2, dtype=np.int64))[0])
    try:
        exported = export_model(exporter, preprocess, module.eval(), example, folder_for(context.work, "teacher"))
    except Exception:
        return TeacherCall(live, "torch", None)
    return TeacherCall(timed(preprocess, exporter.load(exported.path, threads), samples), exporter.kind, exported.path)
