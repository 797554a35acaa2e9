"""A folder of recordings by class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from potstill.core.errors import DataError
from potstill.core.spec import InputPath
from potstill.data._base import registry
from potstill.data._decode import read_file
from potstill.data._folders import SPLITS, UNLABELLED, files_below, folders_in
from potstill.data._sound import Recording, Rows, SoundSpec

_SUFFIXES = {".wav", ".wave"}
_UNREADABLE = {".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".webm"}


@registry.register
class AudioFolderSpec(SoundSpec):
    """`path/<class>/*.wav`, or `path/{train,validation,test}/<class>/*.wav`; a class `unlabelled` has no label."""

    kind: Literal["audio-folder"] = "audio-folder"
    path: InputPath
    """The folder."""
    group_pattern: str | None = None
    """Regular expression, searched in a file's path below its class; what its first pair of parentheses matches is whose
    recording it is, as `_([a-z]+)_` in 7_jackson_32.wav. Rows of one group fall on one side of every split."""

    @field_validator("group_pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        try:
            good = value is None or re.compile(value).groups >= 1
        except re.error as err:
            raise ValueError(f"must be a regular expression; got {value!r}: {err}") from err
        if not good:
            raise ValueError(f"must have a pair of parentheses around the group's name; got {value!r}")
        return value

    def recordings(self) -> tuple[dict[str, Rows], list[str]]:
        found = self._splits()
        classes = sorted({folder.name for folders in found.values() for folder in folders} - {UNLABELLED})
        if len(classes) < 2:
            raise DataError(f"data.path {self.path}: must hold one folder of WAV files a class, at least two; got "
                            f"{', '.join(classes) or 'none'}. Say which is which: {self.path.name}/yes/1.wav, "
                            f"{self.path.name}/no/2.wav.")  # fmt: skip
        listed = {split: [(f, p) for f in folders for p in _recordings(f)] for split, folders in found.items()}
        numbers = {name: i for i, name in enumerate(classes)} | {UNLABELLED: -1}
        return {split: partial(self._rows, rows, numbers) for split, rows in listed.items()}, classes

    def _rows(self, rows: list[tuple[Path, Path]], numbers: dict[str, int]) -> Iterator[Recording]:
        for folder, file in rows:
            yield Recording(str(file), numbers[folder.name], self._group(folder, file), partial(read_file, file))

    def _group(self, folder: Path, file: Path) -> str | None:
        if self.group_pattern is None:
            return None
        match = re.search(self.group_pattern, file.relative_to(folder).as_posix())
        if match is None or not match[1]:
            raise DataError(f"{file}: must match data.group_pattern, {self.group_pattern!r}; it does not. Rename it or change the "
                            "pattern.")  # fmt: skip
        return match[1]

    def _splits(self) -> dict[str, list[Path]]:
        """Return the class folders of each split; everything is "train" where the root has no split folders."""
        if not self.path.is_dir():
            raise DataError(f"data.path {self.path}: must be a folder; got a file.")
        folders = folders_in(self.path)
        named = [p for p in folders if p.name.lower() in SPLITS and folders_in(p)]
        if not named:
            return {"train": folders}
        out: dict[str, list[Path]] = {}
        for folder in folders:
            split = SPLITS.get(folder.name.lower(), "train" if folder.name == UNLABELLED else "")
            if not split:
                raise DataError(f"{folder}: must be train, validation or test, as the folders beside it are; it would be left "
                                "out. Rename it or move it away.")  # fmt: skip
            out.setdefault(split, []).extend([folder] if folder.name == UNLABELLED else folders_in(folder))
        if "train" not in out:
            raise DataError(f"{self.path}: must hold a folder train beside {named[0].name}; got none.")
        return out


def _recordings(folder: Path) -> list[Path]:
    """Return a class's recordings in order. Raises DataError if there is none, or one that would be left out."""
    files = sorted(files_below(folder))
    foreign = [p for p in files if p.suffix.lower() in _UNREADABLE]
    if foreign:
        raise DataError(f"{foreign[0]}: must be a WAV file; got {foreign[0].suffix} ({len(foreign)} such in {folder.name}). Convert "
                        "them, or move them away.")  # fmt: skip
    found = [p for p in files if p.suffix.lower() in _SUFFIXES]
    if not found:
        raise DataError(f"{folder}: a class must have WAV files; it has none. Fill it or remove the folder.")
    return found
