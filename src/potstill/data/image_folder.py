"""A folder of pictures by class: the layout that most people have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import DataError
from potstill.core.spec import InputPath
from potstill.data._base import Chunk, DataSpec, Source, SplitReader, registry
from potstill.data._decode import Headers, decode, probe, read_file, summarise
from potstill.data._folders import SPLITS, UNLABELLED, files_below, folders_in

_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff", ".ppm", ".pgm"}
_UNREADABLE = {".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
_CHUNK = 256

Rows = list[tuple[str, Path]]
"""(class, file) of each row."""


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
        found, classes = self._listed()
        first = next(path for rows in found.values() for _, path in rows)
        height, width, channels = probe(first, str(first))
        if self.size is not None:
            height = width = self.size
        if self.grey is not None:
            channels = 1 if self.grey else 3
        shape = (height, width, channels)
        readers = {split: SplitReader(len(rows), self._reader(rows, shape, classes)) for split, rows in found.items()}
        return Source(readers, shape, classes)

    def headers(self, most: int = 4000) -> Headers:
        """Read the headers of about `most` pictures, some of each class of each split.

        Raises:
            DataError: some are no pictures; names the first and says how many.
        """
        groups: dict[tuple[str, str], list[Path]] = {}
        for split, rows in self._listed()[0].items():
            for name, path in rows:
                groups.setdefault((split, name), []).append(path)
        total = sum(map(len, groups.values()))
        shapes, faults = [], []
        for files in groups.values():
            num = max(1, min(len(files), most * len(files) // total))
            for path in (files[i * len(files) // num] for i in range(num)):
                try:
                    shapes.append(probe(path, str(path)))
                except DataError as err:
                    faults.append(err)
        if faults:
            raise DataError(
                f"{faults[0]} It is one of {len(faults)} such files among {len(shapes) + len(faults)} looked at. Mend "
                "them or move them away."
            )
        return summarise(shapes)

    def counts(self) -> dict[str, int]:
        """Return how many pictures each folder name has over all splits, `unlabelled` included."""
        return dict(Counter(name for rows in self._listed()[0].values() for name, _ in rows))

    def _listed(self) -> tuple[dict[str, Rows], list[str]]:
        """Return (rows of each split, class names). Raises DataError where the layout is another."""
        if not self.path.is_dir():
            raise DataError(f"data.path {self.path}: must be a folder; got a file.")
        found = {split: _rows(folders) for split, folders in _splits(self.path).items()}
        classes = sorted({name for rows in found.values() for name, _ in rows} - {UNLABELLED})
        if len(classes) < 2:
            raise _not_by_class(self.path, classes)
        for name in classes:
            if any("\ud800" <= c <= "\udfff" for c in name):
                raise DataError(
                    f"data.path {self.path}: a class's folder must have a name in UTF-8; got {name!r}. Rename it."
                )
        if not found["train"]:
            raise DataError(f"data.path {self.path}: train must hold one folder of pictures a class; it holds none.")
        return found, classes

    def _reader(self, rows: Rows, shape: tuple[int, int, int], classes: list[str]) -> Callable[[], Iterator[Chunk]]:
        numbers = {name: i for i, name in enumerate(classes)} | {UNLABELLED: -1}

        def chunks() -> Iterator[Chunk]:
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                images = np.empty((len(part), *shape), np.uint8)
                for i, (_, path) in enumerate(part):
                    picture = decode(read_file(path), str(path), shape[2], self.size)
                    if picture.shape != shape:
                        raise DataError(f"{path}: pictures must all be {shape[0]}×{shape[1]}; got {picture.shape[0]}×"
                                        f"{picture.shape[1]}. Set size to bring them to one.")  # fmt: skip
                    images[i] = picture
                labels = np.array([numbers[name] for name, _ in part], dtype=np.int64)
                yield Chunk(images, labels, [str(path) for _, path in part])

        return chunks


def _splits(root: Path) -> dict[str, list[Path]]:
    """Return the class folders of each split; everything is "train" where the root has no split folders."""
    folders = folders_in(root)
    named = [p for p in folders if p.name.lower() in SPLITS and folders_in(p)]
    if not named:
        if folders and all(p.name.lower() in SPLITS for p in folders):
            raise DataError(f"{folders[0]}: must hold one folder of pictures a class; it holds none. Say which is which: "
                            f"{root.name}/{folders[0].name}/cat/1.jpg.")  # fmt: skip
        return {"train": folders}
    out: dict[str, list[Path]] = {}
    for folder in named:
        split = SPLITS[folder.name.lower()]
        if split in out:
            raise DataError(f"{folder}: must be the only folder of the split {split}; there is another. Join them.")
        out[split] = folders_in(folder)
    if "train" not in out:
        raise DataError(f"{root}: must hold a folder train beside {named[0].name}; got none. Add it, or move the class "
                        "folders up to have them split here.")  # fmt: skip
    for folder in set(folders) - set(named):
        if folder.name == UNLABELLED:
            out["train"].append(folder)
        elif any(p.suffix.lower() in _SUFFIXES for p in files_below(folder)):
            raise DataError(f"{folder}: must be train, validation or test, as the folders beside it are; it would be "
                            "left out. Rename it or move it away.")  # fmt: skip
    return out


def _rows(folders: list[Path]) -> Rows:
    return [(folder.name, path) for folder in folders for path in _pictures(folder)]


def _pictures(folder: Path) -> list[Path]:
    """Return a class's pictures in order. Raises DataError if there is none, or a photo that would be left out."""
    files = sorted(files_below(folder))
    foreign = [p for p in files if p.suffix.lower() in _UNREADABLE]
    if foreign:
        raise DataError(f"{foreign[0]}: must be in a format that Pillow reads; got {foreign[0].suffix} ({len(foreign)} "
                        f"such in {folder.name}). Convert them to JPEG, or move them away.")  # fmt: skip
    pictures = [p for p in files if p.suffix.lower() in _SUFFIXES]
    if not pictures:
        others = ", ".join(sorted({p.suffix.lower() or p.name for p in files})[:5])
        raise DataError(
            f"{folder}: a class must have pictures; it has none{f' (but {others})' if others else ''}. Fill it or "
            "remove the folder."
        )
    return pictures


def _not_by_class(root: Path, classes: list[str]) -> DataError:
    """Return what is wrong with a folder that has fewer than two classes."""
    loose = sum(p.suffix.lower() in _SUFFIXES for p in files_below(root) if p.parent == root)
    inside = [p.name for p in folders_in(root / classes[0])] if classes and (root / classes[0]).is_dir() else []
    got = (
        f"one class, {classes[0]!r}" if classes else f"{len(folders_in(root))} folders and no labelled picture in them"
    )
    if loose:
        got = f"{loose} pictures that lie in no class folder" if not classes else f"{got}, and {loose} beside it"
    remedy = f"Say which is which: {root.name}/cat/1.jpg, {root.name}/dog/2.jpg."
    if len(inside) >= 2:
        remedy = f"Are these the classes: {', '.join(inside[:5])}? Then give {root / classes[0]}."
    return DataError(f"data.path {root}: must hold one folder of pictures a class, at least two; got {got}. {remedy}")
