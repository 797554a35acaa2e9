"""Rows of a split as pixels in [0, 1], augmented. Shapes: B rows, C channels, H, W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import rng
from potstill.core.tensorfile import mapping
from potstill.data.augment._base import AugmentSpec, Draw, PixelBatch

if TYPE_CHECKING:
    from potstill.data.dataset import Split


def make_batch(
    split: Split,
    rows_B: NDArray[np.int64],
    view: int,
    ops: Sequence[AugmentSpec],
    seed: int,
    *,
    reveal: bool = False,
    partner_rows: NDArray[np.int64] | None = None,
) -> PixelBatch:
    """Return rows of one view.

    Args:
        split: of the prepared data.
        rows_B: positions in the split.
        view: which augmented version; the same (row, view) has the same pixels whatever else is in the batch.
        ops: in order; the same op twice draws twice.
        seed: of every draw.
        reveal: give labels that are hidden from students too.
        partner_rows: positions that may be mixed in; None means all.
    """
    batch = _plain(split, rows_B, reveal)
    ids = split.ids.take(rows_B)
    for i, op in enumerate(ops):
        name = f"{i}-{op.kind}"

        def uniform(num: int, name: str = name) -> NDArray[Any]:
            return rng.uniform(seed, ids, view, name, num)

        batch = op.apply(batch, Draw(uniform, partial(_partners, split, reveal, partner_rows)))
    return batch


def _plain(split: Split, rows_B: NDArray[np.int64], reveal: bool) -> PixelBatch:
    import torch

    mapped = mapping(split.images)
    if mapped is not None:
        mapped.check_whole()
    pixels = torch.from_numpy(split.images.take(rows_B, axis=0))  # several times as fast as an index
    pixels_BCHW = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)
    labels = split.labels.take(rows_B)
    if not reveal:
        labels = np.where(split.labelled.take(rows_B) != 0, labels, -1)
    return PixelBatch(pixels_BCHW, torch.from_numpy(labels))


def _partners(split: Split, reveal: bool, among: NDArray[np.int64] | None, draws_B: NDArray[Any]) -> PixelBatch:
    num = len(split) if among is None else len(among)
    rows = np.minimum((draws_B * num).astype(np.int64), num - 1)
    return _plain(split, rows if among is None else among[rows], reveal)
