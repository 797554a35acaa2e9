"""The shape of a recipe's data: all that models need to be built, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from potstill.core import artifact
from potstill.models import ModelIO
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import Graph


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


def data_shape(graph: Graph, cache: ArtifactCache) -> DataShape | None:
    """Return the data's shape: from the prepared data, or from its source without decoding it."""
    key = graph.nodes["prepare"].key
    if cache.has(key):
        facts = artifact.manifest(cache.path(key))["facts"]
        height, width, channels = facts["image_shape"]
        rows, num_classes = facts["rows"], len(facts["classes"])
        train, test, validation = rows["train"], rows["test"], rows["validation"]
    else:
        source = graph.recipe.data.open()
        if source.classes is None:
            return None
        height, width, channels = source.image_shape
        num_classes = len(source.classes)
        train = source.splits["train"].num_rows
        train = min(train, graph.recipe.data.limit or train)
        test = source.splits["test"].num_rows if "test" in source.splits else int(train * graph.recipe.data.test)
        validation = source.splits["validation"].num_rows if "validation" in source.splits else None
    io = ModelIO(num_classes=num_classes, channels=channels, height=height, width=width)
    return DataShape(io, train, test, validation, (0.5,) * channels, (0.25,) * channels)
