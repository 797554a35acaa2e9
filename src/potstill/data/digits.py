"""The embedded default: handwritten digits that ship with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry


@registry.register
class DigitsSpec(DataSpec):
    """1,797 handwritten digits of 8 by 8 pixels, from scikit-learn (Alpaydin and Kaynak 1998, UCI)."""

    kind: Literal["digits"] = "digits"

    def open(self) -> Source:
        def chunks() -> Iterator[Chunk]:
            from sklearn.datasets import load_digits

            images, labels = load_digits(return_X_y=True)
            pixels = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
            yield Chunk(pixels, labels.astype(np.int64), [f"row {i}" for i in range(len(labels))])

        return Source({"train": SplitReader(1797, chunks)}, (8, 8, 1), [str(d) for d in range(10)])
