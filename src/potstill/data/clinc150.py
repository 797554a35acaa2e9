"""CLINC150: requests to an assistant, with their intent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from potstill.core.errors import DataError
from potstill.core.samples import SampleKind
from potstill.core.spec import InputPath
from potstill.data._base import DataSpec, Source, SplitReader, registry
from potstill.data._texts import Row, chunks_of, encoded

_SPLITS = {"train": ("train", "oos_train"), "validation": ("val", "oos_val"), "test": ("test", "oos_test")}


@registry.register
class Clinc150Spec(DataSpec):
    """Requests of 150 intents, and some that are of none (Larson et al. 2019, arXiv:1909.02027): `data_full.json` and its
    like as the authors publish them."""

    kind: Literal["clinc150"] = "clinc150"
    path: InputPath
    """The JSON file: for each split a list of [text, intent]."""
    out_of_scope: bool = True
    """Keep requests of no intent, as rows without a label; the task says what they are judged by."""

    def gives(self) -> SampleKind:
        return "text"

    def open(self) -> Source:
        parts = self._read()
        classes = sorted({intent for _, intent in parts["train"]})
        texts = [
            encoded(text, f"{self.path.name} {key} {i}")
            for key, rows in parts.items()
            for i, (text, _) in enumerate(rows)
        ]
        length = max(map(len, texts))
        readers = {}
        for split, keys in _SPLITS.items():
            used = [k for k in keys if self.out_of_scope or not k.startswith("oos")]
            num = sum(len(parts[k]) for k in used)
            readers[split] = SplitReader(num, chunks_of(self._rows(parts, used, classes), length))
        return Source(readers, (length,), classes, kind="text")

    def _rows(self, parts: dict[str, list[Any]], keys: list[str], classes: list[str]) -> Callable[[], Iterable[Row]]:
        numbers = {name: i for i, name in enumerate(classes)}

        def rows() -> Iterator[Row]:
            for key in keys:
                for i, (text, intent) in enumerate(parts[key]):
                    name = f"{self.path.name} {key} {i}"
                    if not key.startswith("oos") and intent not in numbers:
                        raise DataError(f"{name}: intent must be one that `train` has; got {intent!r}.")
                    yield Row(name, text, numbers.get(intent, -1) if not key.startswith("oos") else -1)

        return rows

    def _read(self) -> dict[str, list[Any]]:
        try:
            parts = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise DataError(f"{self.path}: must be CLINC150's JSON; got {err}.") from err
        wanted = [key for keys in _SPLITS.values() for key in keys]
        missing = [k for k in wanted if not isinstance(parts, dict) or not isinstance(parts.get(k), list)]
        if missing:
            raise DataError(f"{self.path}: must have the lists {', '.join(wanted)}; it lacks {', '.join(missing)}. Other "
                            "tables of text are read by kind: text.")  # fmt: skip
        for key in wanted:
            for i, row in enumerate(parts[key]):
                if not (isinstance(row, list) and len(row) == 2 and all(isinstance(v, str) for v in row)):
                    raise DataError(f"{self.path.name} {key} {i}: must be [text, intent]; got {row!r}.")
        return {key: parts[key] for key in wanted}
