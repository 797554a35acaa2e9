"""A folder of pictures by class: the layout that most people have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import DataError
from potstill.core.spec import InputPath
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry
from potstill.data._decode import decode, probe

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
           "validation": "validation", "test": "test", "testing": "test"}  # fmt: skip
_UNLABELLED = "unlabelled"
_CHUNK = 256


@registry.register
class ImageFolderSpec(DataSpec):
    """`path/<class>/*.png`, or `path/{train,validation,test}/<class>/*.png`; a class `unlabelled` has no label."""

    kind: Literal["image-folder"] = "image-folder"
    path: InputPath
    """The folder."""
    size: int | None = Field(default=None, ge=1)
    """Bring every picture to this height and width; None needs them all alike."""
    grey: bool | None = None
    """One channel (true) or three (false); None takes what the first picture has."""

    def open(self) -> Source:
        if not self.path.is_dir():
            raise DataError(f"data.path {self.path}: must be a folder; got a file.")
        folders = sorted(p for p in self.path.iterdir() if p.is_dir() and not p.name.startswith("."))
        named = {_SPLITS[p.name.lower()]: p for p in folders if p.name.lower() in _SPLITS}
        roots = named if "train" in named else {"train": self.path}
        found = {split: self._files(root) for split, root in roots.items()}
        classes = sorted({c for rows in found.values() for c, _ in rows} - {_UNLABELLED})
        if not classes:
            raise DataError(
                f"data.path {self.path}: must hold one folder of pictures a class; got {len(folders)} folders and no "
                f"picture in them ({', '.join(sorted(_SUFFIXES))})."
            )
        first = next(path for rows in found.values() for _, path in rows)
        height, width, channels = probe(first.read_bytes(), str(first))
        if self.size is not None:
            height = width = self.size
        if self.grey is not None:
            channels = 1 if self.grey else 3
        shape = (height, width, channels)
        readers = {split: SplitReader(len(rows), self._reader(rows, shape, classes)) for split, rows in found.items()}
        return Source(readers, shape, classes)

    def _files(self, root: Path) -> list[tuple[str, Path]]:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        rows = []
        for folder in folders:
            files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
            if not files:
                raise DataError(f"{folder}: a class must have pictures; it has none. Fill it or remove the folder.")
            rows += [(folder.name, path) for path in files]
        return rows

    def _reader(
        self, rows: list[tuple[str, Path]], shape: tuple[int, int, int], classes: list[str]
    ) -> Callable[[], Iterator[Chunk]]:
        numbers = {name: i for i, name in enumerate(classes)} | {_UNLABELLED: -1}

        def chunks() -> Iterator[Chunk]:
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                images = np.empty((len(part), *shape), np.uint8)
                for i, (_, path) in enumerate(part):
                    picture = decode(path.read_bytes(), str(path), shape[2], self.size)
                    if picture.shape != shape:
                        raise DataError(f"{path}: pictures must all be {shape[0]}×{shape[1]}; got {picture.shape[0]}×"
                                        f"{picture.shape[1]}. Set size to bring them to one.")  # fmt: skip
                    images[i] = picture
                labels = np.array([numbers[name] for name, _ in part], dtype=np.int64)
                yield images, labels, [str(path) for _, path in part]

        return chunks
