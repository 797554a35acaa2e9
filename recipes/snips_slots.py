"""Which slots a spoken request fills: a source of the user's own, several classes a row. Read by snips-slots.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow.parquet as pq

from potstill.data import Chunk, Source, SplitReader


def source(path: str) -> Source:
    """Return the texts of SNIPS with a flag for each of its slots; variables in `path` are filled in."""
    table = pq.read_table(os.path.expandvars(path), columns=["split", "text", "slots"]).to_pylist()
    found = [(row["split"], row["text"].strip().encode(), {s[0] for s in json.loads(row["slots"])}) for row in table]
    slots = sorted({name for split, _, names in found if split == "train" for name in names})
    length = max(len(text) for _, text, _ in found)
    splits = {}
    for split in ("train", "test"):
        rows = [(i, text, names) for i, (own, text, names) in enumerate(found) if own == split]
        splits[split] = SplitReader(len(rows), partial(_chunks, rows, slots, length))
    return Source(splits, (length,), slots, kind="text", target_shape=(len(slots),))


def _chunks(rows: list[tuple[int, bytes, set[str]]], slots: list[str], length: int) -> Iterator[Chunk]:
    samples = np.zeros((len(rows), length), np.uint8)
    for sample, (_, text, _) in zip(samples, rows, strict=True):
        sample[: len(text)] = np.frombuffer(text, np.uint8)
    flags = np.array([[slot in names for slot in slots] for _, _, names in rows], np.float32)
    yield Chunk(samples, np.zeros(len(rows), np.int64), [f"row {i}" for i, _, _ in rows], targets=flags)
