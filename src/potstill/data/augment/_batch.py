"""Rows of a split as a model is given them, augmented. Shapes: B rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import rng
from potstill.core.samples import SampleKind
from potstill.core.tensorfile import mapping
from potstill.data.augment._base import AugmentSpec, Batch, Draw

if TYPE_CHECKING:
    from torch import Tensor

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
) -> Batch:
    """Return rows of one view.

    Args:
        split: of the prepared data.
        rows_B: positions in the split.
        view: which augmented version; the same (row, view) has the same input whatever else is in the batch.
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


def _plain(split: Split, rows_B: NDArray[np.int64], reveal: bool) -> Batch:
    import torch

    mapped = mapping(split.samples)
    if mapped is not None:
        mapped.check_whole()
    inputs = _inputs(
        split.kind, torch.from_numpy(split.samples.take(rows_B, axis=0))
    )  # several times as fast as an index
    labels = split.labels.take(rows_B)
    targets = None if split.targets is None else torch.from_numpy(split.targets.take(rows_B, axis=0))
    if not reveal:
        usable = split.labelled.take(rows_B) != 0
        labels = np.where(usable, labels, -1)
        if targets is not None and not usable.all():
            targets[torch.from_numpy(~usable)] = torch.nan if targets.is_floating_point() else 0
    weights = None if split.weights is None else torch.from_numpy(split.weights.take(rows_B))
    return Batch(inputs, torch.from_numpy(labels), targets_BX=targets, weights_B=weights)


def _inputs(kind: SampleKind, stored: Tensor) -> Tensor:
    """Return stored samples as a model is given them."""
    import torch

    plain = torch.contiguous_format
    if kind == "image":
        return stored.permute(0, 3, 1, 2).to(torch.float32, memory_format=plain).mul_(1 / 255)
    if kind == "series":
        return stored.permute(0, 2, 1).contiguous()
    return stored.to(torch.float32).mul_(1 / 32768) if kind == "audio" else stored


def _partners(split: Split, reveal: bool, among: NDArray[np.int64] | None, draws_B: NDArray[Any]) -> Batch:
    num = len(split) if among is None else len(among)
    rows = np.minimum((draws_B * num).astype(np.int64), num - 1)
    return _plain(split, rows if among is None else among[rows], reveal)
