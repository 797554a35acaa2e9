"""Reading a store: numpy memory maps, whole batches, verified at open. Shapes: B rows of a batch, K values of a row: a
number for each class, or a tapped output [C, H, W], [L, D] or [D] laid flat."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DamagedError, StoreError
from potstill.core.outputs import StoreOutput
from potstill.core.tensorfile import Map, mapping, open_arrays
from potstill.labels._layout import MANIFEST, SCHEMA, codec_from, shard_problem, unseal
from potstill.labels.codecs import CodecSpec

_MAX_OPEN = 256
"""Shards that are mapped at once; each keeps a file open."""


class LabelStore:
    """A finished store of one teacher's outputs over `num_rows` rows and `views` augmented versions of each.

    Open one with `LabelStore.open`. Bytes are read where they lie; nothing is copied but the rows asked for. A shard that
    something else cuts short while it is open is an error at the next read; only a cut in the very microseconds of a read
    can end the process by SIGBUS, as with every memory map.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.num_rows: int = manifest["num_rows"]
        self.shape: tuple[int, ...] = tuple(manifest["shape"])
        """Of one row: (K,) for outputs."""
        self.width = math.prod(self.shape)
        """K."""
        self.views: int = manifest["views"]
        self.micro_batch: int = manifest["micro_batch"]
        self.shard_rows: int = manifest["shard_rows"]
        self.output: StoreOutput = manifest["output"]
        self.codec: CodecSpec = codec_from(manifest["codec"])
        self._layout = self.codec.layout(self.width)
        self._firsts = np.arange(0, self.num_rows, self.shard_rows)
        self._maps: dict[tuple[int, int], tuple[dict[str, NDArray[Any]], Map | None]] = {}

    @classmethod
    def open(cls, folder: Path | str, verify: bool = True) -> LabelStore:
        """Open a store.

        Args:
            folder: where it was written.
            verify: read every shard and compare its SHA-256; False checks existence and size only.

        Raises:
            StoreError: it is missing, unfinished or damaged; names each shard and the command that mends it.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise StoreError(
                f"{folder}: must be a finished label store; it has no {MANIFEST}. Finish it: run its recipe again."
            )
        try:
            manifest = unseal(folder / MANIFEST, "shards")
        except StoreError as err:
            raise StoreError(f"{err} Mend it: potstill labels repair {folder}") from err
        if manifest["schema"] != SCHEMA:
            raise StoreError(f"{folder}: schema must be {SCHEMA}; got {manifest['schema']}. Run its recipe again.")
        store = cls(folder, manifest)
        store.verify(thorough=verify)
        return store

    def verify(self, thorough: bool = True) -> None:
        """Compare every shard with the manifest. Raises StoreError naming those that differ."""
        problems = []
        for entry in self.manifest["shards"]:
            path = self.folder / entry["file"]
            if thorough or not path.is_file() or path.stat().st_size != entry["bytes"]:
                problem = shard_problem(self.folder, entry)
                if problem:
                    problems.append(f"{entry['file']} {problem}")
        if problems:
            more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise StoreError(
                f"{self.folder}: shards must be as they were written; {'; '.join(problems[:5])}{more}. Wrong rows "
                f"would change the student silently. Mend it: potstill labels repair {self.folder}"
            )

    def read(self, view: int, rows_B: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the codec's fields for rows of one view, in the order asked.

        Raises:
            IndexError: a row or the view is out of range.
            DamagedError: a shard was cut short since it was opened.
        """
        rows_B = np.asarray(rows_B)
        if self.num_rows <= self.shard_rows:
            self._check_asked(view, rows_B.min(initial=0), rows_B.max(initial=0))
            # take: several times as fast as an index, where rows are short
            return {name: array.take(rows_B, axis=0) for name, array in self._shard(view, 0).items()}
        order = rows_B.argsort()
        rising = rows_B.take(order)
        self._check_asked(view, *((rising[0], rising[-1]) if len(rising) else (0, 0)))
        cuts = rising.searchsorted(self._firsts).tolist()
        out = {name: np.empty((len(rows_B), *shape), dtype) for name, (dtype, shape) in self._layout.items()}
        for index, (start, stop) in enumerate(pairwise([*cuts, len(rows_B)])):
            if start < stop:
                within = rising[start:stop] - index * self.shard_rows
                for name, array in self._shard(view, index).items():
                    array.take(within, axis=0, out=out[name][start:stop], mode="clip")  # "raise" would copy twice
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return {name: array.take(back, axis=0) for name, array in out.items()}

    def values(
        self, view: int, rows_B: NDArray[np.int64], temperature: float = 1.0, standardized: bool = False
    ) -> NDArray[Any]:
        """Return [B, K] float32 raw teacher outputs; `temperature` matters to sparse codecs only."""
        return self.codec.decode(self.read(view, rows_B), self.width, temperature, standardized)

    def facts(self) -> dict[str, Any]:
        """Return what the report says of the store."""
        size = sum(entry["bytes"] for entry in self.manifest["shards"])
        return {
            "codec": self.codec.kind,
            "views": self.views,
            "rows": self.num_rows,
            "bytes": size,
            "bytes_per_row": size / max(1, self.num_rows * self.views),
            "shards": len(self.manifest["shards"]),
            "kl_error" if self.output != "features" else "error": self.manifest["error"],
        }

    def _check_asked(self, view: int, low: Any, high: Any) -> None:
        if not (0 <= view < self.views and 0 <= low and high < self.num_rows):
            raise IndexError(f"store has {self.views} views of {self.num_rows} rows; asked for view {view}")

    def _shard(self, view: int, index: int) -> dict[str, NDArray[Any]]:
        kept = self._maps.get((view, index))
        if kept is None:
            return self._open(view, index)
        arrays, mapped = kept
        if mapped is not None:
            try:
                mapped.check_whole()
            except DamagedError as err:
                raise DamagedError(f"{err} Or only this store: potstill labels repair {self.folder}") from err
        return arrays

    def _open(self, view: int, index: int) -> dict[str, NDArray[Any]]:
        entry = self.manifest["shards"][view * -(-self.num_rows // self.shard_rows) + index]
        arrays = open_arrays(self.folder / entry["file"], scattered=True)
        for name, (dtype, shape) in self._layout.items():
            if arrays[name].shape != (entry["rows"], *shape) or arrays[name].dtype != np.dtype(dtype):
                raise StoreError(f"{self.folder / entry['file']}: {name} must be {dtype} {shape}.")
        if len(self._maps) >= _MAX_OPEN:
            del self._maps[next(iter(self._maps))]
        self._maps[view, index] = arrays, mapping(next(iter(arrays.values())))
        return arrays
