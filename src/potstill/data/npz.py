"""NumPy archives."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from potstill.core.errors import DataError
from potstill.core.spec import InputPath
from potstill.data._arrays import source_of
from potstill.data._base import DataSpec, Source, registry

_PAIRS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


@registry.register
class NpzSpec(DataSpec):
    """An .npz file with x_train, y_train and perhaps x_val, y_val, x_test, y_test (or images, labels); no pickles."""

    kind: Literal["npz"] = "npz"
    path: InputPath
    """The file."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None names classes by their number."""
    layout: Literal["nhwc", "nchw"] = "nhwc"
    """Order of the pictures' dimensions; three dimensions are always N, H, W."""

    def open(self) -> Source:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                names = set(archive.files) if hasattr(archive, "files") else set()
                splits: dict[str, tuple[Any, Any]] = {}
                for split, pairs in _PAIRS.items():
                    pair = next((p for p in pairs if set(p) <= names), None)
                    if pair:
                        splits[split] = (archive[pair[0]], archive[pair[1]])
        except Exception as err:  # zipfile, zlib, ast, tokenize and NumPy each have their own
            raise DataError(
                f"{self.path}: must be a whole .npz of plain arrays; got {type(err).__name__}: {err}."
            ) from err
        if "train" not in splits:
            raise DataError(f"{self.path}: must hold x_train and y_train (or images and labels); got {sorted(names)}.")
        return source_of(splits, list(self.classes) if self.classes else None, str(self.path), self.layout)
