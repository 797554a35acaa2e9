"""What several stages need: the data's ModelIO, a labeller as a function of (rows, view), one training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import rng
from potstill.core.artifact import content_digest
from potstill.core.errors import DataError
from potstill.core.outputs import TeacherOutput
from potstill.core.progress import Progress
from potstill.data.augment import AugmentSpec, make_batch
from potstill.data.dataset import Dataset, Split
from potstill.labels.codecs import CodecSpec
from potstill.models import ModelIO, io_of
from potstill.teachers import Labeller

GATE_ROWS = 1000
MICRO_BATCH = 64
"""Rows that a teacher always sees at once; part of what its outputs are."""


def data_io(dataset: Dataset) -> ModelIO:
    """Return what a model must fit, as the data is."""
    return io_of(dataset.kind, dataset.shape, dataset.target_shape or (len(dataset.classes),), dataset.rate_hz)


def label_batches(
    labeller: Labeller, split: Split, augment: Sequence[AugmentSpec], seed: int, codec: CodecSpec | None = None
) -> Callable[[NDArray[np.int64], int], NDArray[Any]]:
    """Return (rows [M], view) -> teacher outputs, a flat float32 row each: the function that fills a store. Of a teacher that
    writes, a codec of tokens asks for what it writes, as bytes; any other for its logits, fed the true text."""
    writes = getattr(labeller, "fed", None)

    def label(rows_M: NDArray[np.int64], view: int) -> NDArray[Any]:
        batch = make_batch(split, rows_M, view, augment, seed, reveal=False)
        if writes is None:
            return labeller(batch.inputs_BX.numpy()).reshape(len(rows_M), -1)
        if codec is not None and codec.tokens:
            written = labeller(batch.inputs_BX.numpy()).astype(np.float32)
            return np.where(written == 0, np.float32(-1), written)
        assert batch.targets_BX is not None
        out: NDArray[Any] = writes(batch.inputs_BX, batch.targets_BX).reshape(len(rows_M), -1)
        return out

    return label


def store_row(labeller: Any, dataset: Dataset, codec: CodecSpec) -> tuple[int, TeacherOutput]:
    """Return (numbers of a row of the store, what they are)."""
    if getattr(labeller, "fed", None) is None:
        return data_io(dataset).row_width, labeller.output
    return (labeller.num_bytes, "tokens") if codec.tokens else (labeller.row_width, "logits")


def store_identity(inputs: Mapping[str, Path], augment: Sequence[AugmentSpec], augment_seed: int) -> dict[str, Any]:
    """Return what a store says of where its rows came from."""
    return {
        "data": content_digest(inputs["data"]),
        "teacher": content_digest(inputs["teacher"]),
        "augment": [op.model_dump(mode="json") for op in augment],
        "augment_seed": augment_seed,
    }


def labelled_rows(split: Split) -> NDArray[np.int64]:
    """Return the positions whose label a student may use. Raises DataError if there is none."""
    rows = np.flatnonzero(np.asarray(split.labelled)).astype(np.int64)
    if len(rows) == 0:
        raise DataError("data.labelled: must leave at least one labelled training row; got 0. Raise it.")
    return rows


def taught_rows(
    dataset: Dataset, progress: Progress, name: str, augment: Sequence[AugmentSpec] = (), seed: int = 0
) -> Callable[..., Iterator[tuple[Any, Any]]]:
    """Return ("all" or "labelled", views = 0) -> batches of the training rows that a teacher may be taught by, as TeacherContext
    says."""

    def rows(labels: str, views: int = 0) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        train = dataset.splits["train"]
        found = np.flatnonzero(np.asarray(train.labels) >= 0) if labels == "all" else labelled_rows(train)
        with progress.task(name, len(found) * (1 + views), "rows") as shown:
            for view in range(1 + views):
                for start in range(0, len(found), MICRO_BATCH):
                    part = found[start : start + MICRO_BATCH].astype(np.int64)
                    batch = make_batch(train, part, view, augment if view else (), seed, reveal=True)
                    yield batch.inputs_BX.numpy(), batch.labels_B.numpy()
                    shown.advance(len(part))

    return rows


def labelled_sample(dataset: Dataset, num: int, seed: int) -> tuple[Split, NDArray[np.int64]]:
    """Return (split, rows) of at most `num` labelled rows for the teacher's gate: validation rows before training
    rows, which a teacher trained here has fitted."""
    validation = dataset.splits["validation"]
    split = validation if len(validation) >= 30 else dataset.splits["train"]
    rows = labelled_rows(split)
    return split, np.sort(rows[rng.permutation(seed, 0, len(rows))[:num]])


def gate(dataset: Dataset, labeller: Labeller, seed: int, foreign: bool) -> dict[str, Any]:
    """Return what the gate says of a teacher on labelled rows.

    Raises:
        TeacherError: it does not know the task.
    """
    split, rows = labelled_sample(dataset, GATE_ROWS, seed)
    inputs, labels = gather(split, rows)
    # Imported by name: its source counts only for stages that say they use it.
    found = import_module("potstill.teachers.gate")
    if getattr(labeller, "fed", None) is not None and split.targets is not None:
        report = found.run_texts_gate(labeller, inputs, split.targets.take(rows, axis=0))
    elif split.targets is not None and split.targets.ndim == 2:
        report = found.run_flags_gate(labeller, inputs, split.targets.take(rows, axis=0), dataset.classes)
    elif split.targets is not None:
        report = found.run_values_gate(labeller, inputs, split.targets.take(rows, axis=0))
    else:
        report = found.run_gate(labeller, inputs, labels, dataset.classes, foreign=foreign)
    out: dict[str, Any] = report.as_dict()
    return out


def gather(split: Split, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (inputs [B, *X] as the data gives them, labels [B] int64) without augmentation."""
    batch = make_batch(split, rows, 0, (), 0, reveal=True)
    return batch.inputs_BX.numpy(), batch.labels_B.numpy()


def label_all(labeller: Labeller, split: Split, advance: Callable[[int], None]) -> NDArray[Any]:
    """Return [N, K] or [N, H, V] float32 teacher outputs of a whole split in canonical, padded micro-batches."""
    outputs = []
    for start in range(0, len(split), MICRO_BATCH):
        rows = np.minimum(np.arange(start, start + MICRO_BATCH, dtype=np.int64), len(split) - 1)
        kept = min(MICRO_BATCH, len(split) - start)
        outputs.append(labeller(gather(split, rows)[0])[:kept])
        advance(kept)
    return np.concatenate(outputs)


def set_threads(num: int) -> None:
    """Fix PyTorch's thread count; results are bit-identical only within one."""
    import torch

    torch.set_num_threads(num)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def folder_for(work: Path, name: str) -> Path:
    """Return a subfolder of `work`, made if need be."""
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
