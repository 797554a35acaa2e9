"""Which rows go where: a pure function of (labels, samples' keys, groups, split_seed). Shapes: N rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import rng
from potstill.core.errors import DataError
from potstill.data._base import DataSpec

Rows = NDArray[np.int64]
Where = tuple[str, int]


@dataclass(frozen=True)
class Chosen:
    """The outcome of a split."""

    splits: dict[str, tuple[str, Rows, NDArray[Any]]]
    """Split -> (source split, rows in rising order, labelled 0 or 1 for each)."""
    dropped: int
    """Training rows left out because their pixels are in the validation or test split."""
    shared: tuple[Where, Where, int] | None
    """A (source split, row) pair with equal pixels across a split that the source itself made, and how many."""


def choose(
    spec: DataSpec, labels: dict[str, NDArray[Any]], keys: dict[str, NDArray[Any]], num_classes: int,
    groups_N: NDArray[Any] | None = None,
) -> Chosen:  # fmt: skip
    """Split the source's rows.

    Rows are drawn by a hash of their samples, so equal ones fall on the same side but at the very edge of a class;
    those at the edge are left out of training. Where rows belong to groups, test and validation are made of whole groups.

    Args:
        spec: shares, counts and the seed.
        labels: of each split of the source, -1 for none.
        keys: likewise; equal samples have equal keys.
        num_classes: 1 where values are forecast.
        groups_N: of the training rows; None: every row by itself.

    Raises:
        DataError: too few rows or groups for what is asked.
    """
    train_labels, train_keys = labels["train"], keys["train"]
    share = _Share(spec.split_seed, train_labels, train_keys, num_classes, groups_N)
    rows = np.arange(len(train_labels), dtype=np.int64)
    shared, dropped = None, 0
    if "test" in labels:
        test: tuple[str, Rows] = ("test", np.arange(len(labels["test"]), dtype=np.int64))
        rows, shared, lost = _without(rows, train_keys, "test", keys["test"])
        dropped += lost
    else:
        known = rows[train_labels >= 0]
        num = max(num_classes, round(spec.test * len(known)))
        picked, rows, lost = share.split_off(known, rows, num, "test")
        test = ("train", picked)
        dropped += lost
    if spec.limit is not None and spec.limit < len(rows):
        _enough(spec.limit, num_classes, "data.limit")
        rows = _stratified(rows, train_labels, train_keys, spec.limit, num_classes, spec.split_seed, "limit")
    may_use = _labelled(spec, rows, train_labels, train_keys, num_classes)
    if "validation" in labels:
        validation = ("validation", np.arange(len(labels["validation"]), dtype=np.int64))
        rows, found, lost = _without(rows, train_keys, "validation", keys["validation"])
        shared = shared or found
        dropped += lost
    else:
        num = max(1, round(spec.validation * len(may_use)))
        picked, rows, lost = share.split_off(may_use, rows, num, "validation")
        validation = ("train", picked)
        dropped += lost
    return Chosen(
        {
            "train": ("train", rows, np.isin(rows, may_use).astype(np.uint8)),
            "validation": (*validation, (labels[validation[0]][validation[1]] >= 0).astype(np.uint8)),
            "test": (*test, (labels[test[0]][test[1]] >= 0).astype(np.uint8)),
        },
        dropped,
        shared,
    )


@dataclass(frozen=True)
class _Share:
    """Draws a share of the training rows: row by row within each class, or whole groups."""

    seed: int
    labels: NDArray[Any]
    keys: NDArray[Any]
    num_classes: int
    groups: NDArray[Any] | None

    def split_off(self, among: Rows, rows: Rows, num: int, purpose: str) -> tuple[Rows, Rows, int]:
        """Return (about `num` of `among`, the other `rows`, how many of these were left out because a sample is in both)."""
        picked = self.of(among, num, purpose)
        rest, _, lost = _without(np.setdiff1d(rows, self.beside(picked, rows)), self.keys, "train", self.keys[picked])
        return picked, rest, lost

    def of(self, rows: Rows, num: int, purpose: str) -> Rows:
        """Return about `num` of `rows`, in rising order."""
        if self.groups is None:
            return _stratified(rows, self.labels, self.keys, num, self.num_classes, self.seed, purpose)
        names, counts = np.unique(self.groups[rows], return_counts=True)
        if len(names) < 2:
            raise DataError(f"data: {purpose} is made of whole groups, and rows must belong to two or more; got {len(names)}. "
                            f"Give the source a {purpose} split, or leave its group column out.")  # fmt: skip
        order = np.argsort(rng.bits(self.seed, names, 0, f"split-{purpose}")[:, 0], kind="stable")
        enough = int(np.searchsorted(np.cumsum(counts[order]), num)) + 1
        chosen = names[order[: min(enough, len(names) - 1)]]
        return rows[np.isin(self.groups[rows], chosen)]

    def beside(self, picked: Rows, rows: Rows) -> Rows:
        """Return the rows that training must do without: those picked, and all others of their groups."""
        return picked if self.groups is None else rows[np.isin(self.groups[rows], self.groups[picked])]


def _labelled(spec: DataSpec, rows: Rows, labels: NDArray[Any], keys: NDArray[Any], num_classes: int) -> Rows:
    """Return the rows whose label may be used, validation included."""
    known = rows[labels[rows] >= 0]
    if spec.labelled is None:
        return known
    num = spec.labelled if isinstance(spec.labelled, int) else round(spec.labelled * len(rows))
    if num > len(known):
        raise DataError(f"data.labelled: must be at most the {len(known)} labelled rows there are; got {num}.")
    _enough(num, 2 * num_classes, "data.labelled")
    return _stratified(known, labels, keys, num, num_classes, spec.split_seed, "labelled")


def _enough(num: int, least: int, where: str) -> None:
    if num < least:
        raise DataError(
            f"{where}: must be at least {least}, so that every class is there to learn and to check; got {num}."
        )


def _without(
    rows: Rows, keys: NDArray[Any], other: str, other_keys: NDArray[Any]
) -> tuple[Rows, tuple[Where, Where, int] | None, int]:
    """Return (rows whose pixels are not among `other_keys`, an example of one that is, how many are)."""
    same = np.isin(keys[rows], other_keys)
    if not same.any():
        return rows, None, 0
    first = int(rows[same][0])
    twin = int(np.flatnonzero(other_keys == keys[first])[0])
    return rows[~same], (("train", first), (other, twin), int(same.sum())), int(same.sum())


def _stratified(
    rows: Rows, labels: NDArray[Any], keys: NDArray[Any], num: int, num_classes: int, seed: int, purpose: str
) -> Rows:
    """Return `num` of `rows` in rising order, each class (and "no label") in proportion, at least one of each."""
    order = rng.bits(seed, keys[rows], 0, f"split-{purpose}")[:, 0]
    kinds = labels[rows]
    present, counts = np.unique(kinds, return_counts=True)
    exact = counts * (num / len(rows))
    take = np.maximum(np.floor(exact).astype(int), 1)
    remainder = exact - np.floor(exact)
    for k in np.argsort(-remainder, kind="stable"):
        if take.sum() >= num:
            break
        take[k] += 1
    while take.sum() > num and (take > 1).any():
        take[int(np.argmax(take))] -= 1
    picked = []
    for kind, count in zip(present, take, strict=True):
        mine = np.flatnonzero(kinds == kind)
        picked.append(rows[mine[np.argsort(order[mine], kind="stable")[:count]]])
    return np.sort(np.concatenate(picked))
