"""Arrays of the user's own process."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal

import numpy as np

from potstill.core import objects
from potstill.data._arrays import images_of, labels_of, source_of
from potstill.data._base import DataSpec, Source, registry


@registry.register
class ArraysSpec(DataSpec):
    """Arrays that a Python script holds; made by `potstill.arrays`, named by their content."""

    in_process: ClassVar[bool] = True
    kind: Literal["arrays"] = "arrays"
    digest: str
    """SHA-256 of the arrays."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None names classes by their number."""

    def open(self) -> Source:
        return source_of(objects.get(self.digest), list(self.classes) if self.classes else None, "arrays")


def arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    classes: list[str] | None = None,
    **split: Any,
) -> ArraysSpec:
    """Return a data section over arrays in memory.

    Args:
        x_train: [N, H, W] or [N, H, W, C], uint8, or float in [0, 1].
        y_train: [N] whole numbers from 0; -1 marks a row without a label.
        x_test: likewise; None keeps a share of the training rows for the test.
        y_test: likewise.
        classes: names in label order.
        split: `validation`, `test`, `labelled`, `limit`, `split_seed` as in a recipe.

    Raises:
        DataError: another shape, type or range.
    """
    splits: dict[str, tuple[Any, Any]] = {"train": (x_train, y_train)}
    if x_test is not None:
        splits["test"] = (x_test, y_test)
    hasher = hashlib.sha256()
    kept = {}
    for name, (x, y) in splits.items():
        images = np.ascontiguousarray(images_of(x, f"arrays {name}"))
        labels = labels_of(y, len(images), f"arrays {name}")
        hasher.update(f"{name}{images.shape}".encode())
        hasher.update(images.tobytes())
        hasher.update(labels.tobytes())
        kept[name] = (images, labels)
    digest = objects.keep(hasher.hexdigest(), kept)
    return ArraysSpec(digest=digest, classes=tuple(classes) if classes else None, **split)
