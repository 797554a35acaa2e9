"""The shape of a recipe's data: all that models need to be built, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from potstill.core import artifact
from potstill.data import DataSpec
from potstill.models import ModelIO


@dataclass
class DataShape:
    """What a plan must know of the data."""

    io: ModelIO
    train_rows: int
    test_rows: int
    validation_rows: int | None
    """None where some will be drawn from the training rows."""
    mean: tuple[float, ...]
    """Of the pixels; any will do for shapes and costs."""
    std: tuple[float, ...]


def shape_of(data: DataSpec, prepared: Path | None) -> DataShape | None:
    """Return the shape of data: as it was prepared, or from its source without decoding it; None where only that shows it."""
    if prepared is not None:
        facts = artifact.manifest(prepared)["facts"]
        height, width, channels = facts["image_shape"]
        rows, num_classes = facts["rows"], len(facts["classes"])
        train, test, validation = rows["train"], rows["test"], rows["validation"]
    else:
        source = data.open()
        if source.classes is None:
            return None
        height, width, channels = source.image_shape
        num_classes = len(source.classes)
        train = source.splits["train"].num_rows
        train = min(train, data.limit or train)
        test = source.splits["test"].num_rows if "test" in source.splits else int(train * data.test)
        validation = source.splits["validation"].num_rows if "validation" in source.splits else None
    io = ModelIO(num_classes=num_classes, channels=channels, height=height, width=width)
    return DataShape(io, train, test, validation, (0.5,) * channels, (0.25,) * channels)
