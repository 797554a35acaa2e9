"""Recordings named in a table, or within one: parquet in the Hugging Face audio convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from potstill.core.errors import DataError, nearest
from potstill.core.spec import InputPath
from potstill.data._base import registry
from potstill.data._decode import read_file
from potstill.data._rows import rows_of
from potstill.data._sound import Recording, Rows, SoundSpec


@registry.register
class AudioTableSpec(SoundSpec):
    """A CSV, JSON Lines or parquet file with one recording a row: a WAV file's path, or its bytes; its label; its group."""

    kind: Literal["audio-table"] = "audio-table"
    train: InputPath
    """File with the training rows."""
    validation_file: InputPath | None = None
    """File with validation rows, where there is one."""
    test_file: InputPath | None = None
    """File with test rows, where there is one."""
    audio_column: str = "audio"
    """Column with the recordings: paths relative to the file's folder, bytes, or a struct of bytes and path."""
    label_column: str = "label"
    """Column with class names or numbers; empty marks a row without a label."""
    group_column: str | None = None
    """Column that says whose recording it is: rows of one group fall on one side of every split. None: every row alone."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None takes the labels themselves, numbers up to the largest."""

    def recordings(self) -> tuple[dict[str, Rows], list[str]]:
        given = {"train": self.train, "validation": self.validation_file, "test": self.test_file}
        files = {split: path for split, path in given.items() if path is not None}
        classes, numbers = self._classes(list(files.values()))
        return {split: partial(self._rows, path, numbers) for split, path in files.items()}, classes

    def _classes(self, files: list[Path]) -> tuple[list[str], dict[str, int]]:
        """Return class names, and the number of each value that a label may have."""
        found: dict[str, str] = {}
        for path in files:
            for name, (value,) in rows_of(path, [self.label_column]):
                if value is not None:
                    found.setdefault(_text(value, name), name)
        if self.classes is not None:
            numbers = {name: i for i, name in enumerate(self.classes)}
            digits = {str(i): i for i in range(len(self.classes))}
            return list(self.classes), {**digits, **numbers}
        if found and all(value.isdecimal() for value in found):
            names = [str(k) for k in range(max(map(int, found)) + 1)]
            return names, {value: int(value) for value in found}
        return sorted(found), {name: i for i, name in enumerate(sorted(found))}

    def _rows(self, path: Path, numbers: dict[str, int]) -> Iterator[Recording]:
        columns = [self.audio_column, self.label_column, *([self.group_column] if self.group_column else [])]
        for name, values in rows_of(path, columns):
            label = -1
            if values[1] is not None:
                text = _text(values[1], name)
                if text not in numbers:
                    raise DataError(
                        f"{name}: label must be a known class; got {text!r}. {nearest(text, numbers)}".rstrip()
                    )
                label = numbers[text]
            group = str(values[2]) if len(values) > 2 and values[2] is not None else None
            shown, data = self._sound(values[0], name, path.parent)
            yield Recording(shown, label, group, data)

    def _sound(self, value: Any, name: str, folder: Path) -> tuple[str, Callable[[], bytes]]:
        """Return (what errors call a recording, how its bytes are had)."""
        inside = value.get("bytes") if isinstance(value, dict) else value
        if inside is None and isinstance(value, dict):
            inside = value.get("path")
        if isinstance(inside, bytes):
            return name, partial(bytes, inside)
        if not isinstance(inside, str) or not inside:
            raise DataError(
                f"{name}: {self.audio_column} must hold a WAV file's path or bytes; got {type(inside).__name__}."
            )
        file = folder / inside
        if not file.is_file():
            raise DataError(
                f"{name}: {self.audio_column} must name a file, relative to {folder}; there is no {inside}."
            )
        return f"{file} ({name})", partial(read_file, file)


def _text(value: Any, name: str) -> str:
    """Return a label as text: whole numbers without a fraction."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise DataError(f"{name}: label must be a class name or a whole number; got {value!r}.")
    return str(value)
