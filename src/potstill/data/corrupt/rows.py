"""Rows of a split, each damaged by itself. Shapes: N rows, X the shape of one sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import rng
from potstill.core.samples import SampleKind

if TYPE_CHECKING:
    from potstill.data.dataset import Split

Corruption = Callable[[NDArray[Any], int, int], NDArray[Any]]
SEVERITIES = (1, 2, 3, 4, 5)


def corruptions_of(kind: SampleKind) -> Mapping[str, Corruption]:
    """Return what may happen to samples of a kind, by name: each is (sample [*X], severity 1 to 5, seed) -> sample."""
    from potstill.data.corrupt import audio, image, series, text

    found: dict[SampleKind, Mapping[str, Corruption]] = {
        "image": image.CORRUPTIONS, "audio": audio.CORRUPTIONS, "series": series.CORRUPTIONS, "text": text.CORRUPTIONS,
    }  # fmt: skip
    return found[kind]


def some_rows(split: Split, rows_B: NDArray[np.int64]) -> Split:
    """Return a split of these rows alone, in memory."""
    names = ("samples", "labels", "labelled", "ids", "digests", "targets", "weights", "groups")
    found: dict[str, Any] = {name: getattr(split, name) for name in names}
    return replace(split, **{n: a.take(rows_B, axis=0) for n, a in found.items() if a is not None})


def corrupted(split: Split, name: str, severity: int, seed: int) -> Split:
    """Return a split whose samples are damaged and all else is as it was.

    What is drawn for a row depends on seed, corruption and the row's id alone: the same whichever rows are beside it, and the same
    at each severity, so that a harder one is the same damage, only more of it.

    Args:
        split: small enough for memory.
        name: of a corruption of its kind of sample.
        severity: 1 to 5.
        seed: of every draw.
    """
    corrupt = corruptions_of(split.kind)[name]
    samples = [
        corrupt(np.asarray(sample), severity, rng.seed_of(seed, name, int(row)))
        for sample, row in zip(split.samples, split.ids, strict=True)
    ]
    return replace(split, samples=np.stack(samples))
