"""The shape of a recipe's data: all that models need to be built, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from potstill.core import artifact
from potstill.core.samples import DataStats, no_texts
from potstill.data import DataSpec
from potstill.models import ModelIO, io_of


@dataclass
class DataShape:
    """What a plan must know of the data."""

    io: ModelIO
    train_rows: int
    test_rows: int
    validation_rows: int | None
    """None where some will be drawn from the training rows."""
    target_shape: tuple[int, ...] | None
    """(H, V) of values to be forecast, (K,) where a row may have several classes, None where it has one."""
    stats: DataStats
    """Any will do for shapes and costs."""


def shape_of(data: DataSpec, prepared: Path | None) -> DataShape | None:
    """Return the shape of data: as it was prepared, or from its source without decoding it; None where only that shows it."""
    if prepared is not None:
        facts = artifact.manifest(prepared)["facts"]
        kind, stored, rate_hz = facts["sample"], tuple(facts["shape"]), facts["rate_hz"]
        rows, targets = facts["rows"], facts["target_shape"]
        num_classes = len(facts["classes"])
        train, test, validation = rows["train"], rows["test"], rows["validation"]
    else:
        source = data.open()
        if source.classes is None:
            return None
        kind, stored, rate_hz = source.kind, source.shape, source.rate_hz
        targets, num_classes = source.target_shape, len(source.classes)
        train = source.splits["train"].num_rows
        train = min(train, data.limit or train)
        test = source.splits["test"].num_rows if "test" in source.splits else int(train * data.test)
        validation = source.splits["validation"].num_rows if "validation" in source.splits else None
    target_shape = None if targets is None else tuple(targets)
    io = io_of(kind, stored, target_shape or (num_classes,), rate_hz)
    channels = io.channels if kind in ("image", "series") else 0
    texts = partial(_texts, data, prepared) if kind == "text" else no_texts
    return DataShape(io, train, test, validation, target_shape, DataStats((0.5,) * channels, (0.25,) * channels, texts))


def _texts(data: DataSpec, prepared: Path | None) -> Iterator[str]:
    """Yield the training texts; of a source that is not prepared yet, those it has before rows are taken for other splits."""
    from potstill.data.dataset import Dataset, text_of

    if prepared is not None:
        yield from Dataset.open(prepared).stats.texts()
    else:
        for chunk in data.open().splits["train"].chunks():
            yield from map(text_of, chunk.samples)
