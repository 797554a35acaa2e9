"""A recipe for texts with several classes each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from potstill.cli._section import spec_of, yaml_of
from potstill.cli.inits._tables import likely
from potstill.cli.inits.text_classification import files_of, usual_columns
from potstill.core.errors import DataError, PotstillError

_LABELS = (
    "labels",
    "tags",
    "topics",
    "categories",
    "classes",
    "intents",
    "slots",
    "genres",
    "label",
    "intent",
    "class",
    "category",
    "target",
    "y",
)
_OTHERS = (",", "|", "/")
_FEW = 10

_TEMPLATE = """\
# Written by `potstill init`. Each field is described in docs/reference.md; try it out with `potstill plan`.
name: {name}
description: {what}

task: {{kind: multi-label-classification}}

data:
{data}
augment:                   # the same for teacher and student, who each tokenize what is left
  - {{kind: word-dropout, p: 0.1}}

# Trained here, on your texts.
teacher:
  kind: train
  model: {{kind: text-transformer, dim: 96, depth: 2, input: {{vocabulary_size: {vocabulary}, max_tokens: {tokens}}}}}
  training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.001, weight_decay: 0.01}}

labels:
  views: 2                 # augmented versions of each text that the teacher labels
  codec: {{kind: float16}}

student:
  kind: text-cnn           # text-gru and text-transformer are others
  dim: 32                  # width of a token: most parameters are vocabulary_size x dim
  width: 32
  input: {{vocabulary_size: {vocabulary}, max_tokens: {tokens}}}   # the tokenizer is trained on your texts

steps:
  - kind: distill
    objectives:
      - {{kind: multi-label-soft, weight: 0.8}}
      - {{kind: multi-label, weight: 0.2}}
    training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.003, weight_decay: 0.01}}

controls: [hard-label]     # the same student without a teacher
seeds: 3                   # trainings of each, for the interval
"""


def recipe(data: Path, shown: str, base: Path, name: str) -> tuple[str, str]:
    """Return (a recipe's text, what was found) for texts with several classes each.

    Args:
        data: a table of texts, or a folder with one for each split.
        shown: its path as the recipe says it.
        base: folder of the recipe.
        name: of the recipe.

    Raises:
        PotstillError: it is neither, it is not plain which column is what, no row has several classes, or a row cannot be read.
    """
    files = {"train": data} if data.is_file() else files_of(data)
    columns = _columns(files["train"])
    _must_be_listed(files["train"], columns.get("label_column", "label"))
    said = {field: shown if data.is_file() else f"{shown}/{path.name}" for field, path in files.items()}
    section: dict[str, Any] = {"kind": "text", **said, **columns, "several": True}
    source = spec_of(section, base).open()
    reader = source.splits["train"]
    lengths, counts, each, unknown = _looked_at(reader)
    for split in source.splits.values():
        for _ in split.chunks():  # a bad row of the others is named now, too
            pass
    classes, rows = source.classes or [], reader.num_rows
    if len(each) == 0 or each.max() < 2:
        raise PotstillError(f"--data {data}: some row must have several labels, in a list or with a semicolon between; every one has one at "
                            f"most. Try potstill init text-classification --data {data}")  # fmt: skip
    lines = [f"{field}: {yaml_of(value)}" for field, value in section.items()]
    lines += [f"{s}: {share}" for s, share in (("validation", 0.1), ("test", 0.2)) if s not in source.splits]
    if "group_column" not in section:
        lines.append(
            "# group_column: user     # if several texts are of one person or conversation: none on both sides of a split"
        )
    text = _TEMPLATE.format(
        name=yaml_of(name), what=f"{len(classes)} classes, several in a text, {rows} texts to learn from",
        data="".join(f"  {line}\n" for line in lines), vocabulary=2000 if rows >= 2000 else 1000,
        # About four bytes are a token of such a vocabulary; the longest twentieth of the texts may be cut.
        tokens=int(min(256, max(16, 8 * round(float(np.quantile(lengths, 0.95)) / 4 / 8 + 0.5)))),
        epochs=60 if rows < 1000 else 30 if rows < 10_000 else 15, batch=16 if rows < 500 else 64,
    )  # fmt: skip
    names = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    others = "".join(f", {r.num_rows} for the {split}" for split, r in source.splits.items() if split != "train")
    hidden = f", {unknown} of them without a label" if unknown else ""
    fewest = int(counts.argmin())
    few = (
        f"\nNote: class {classes[fewest]!r} has {int(counts[fewest])} texts; fewer than {_FEW} are hard to learn"
        if counts[fewest] < _FEW
        else ""
    )
    return text, (
        f"Found {len(classes)} classes: {names}\n      {rows} texts to learn from{hidden}{others}; {each.mean():.1f} classes a text, "
        f"{int(each.max())} at most, {int((each == 0).sum())} texts with none{few}"
    )


def _columns(path: Path) -> dict[str, str]:
    """Return the fields that name a table's columns, those that have their usual names left out."""
    from potstill.data._rows import columns_of
    from potstill.data.text import TEXT_NAMES

    names = columns_of(path)
    text, label = likely(names, TEXT_NAMES), likely(names, _LABELS)
    for what, column, usual in (("texts", text, TEXT_NAMES), ("labels", label, _LABELS)):
        if column is None:
            lists = (
                " Series with several classes each are no table that potstill reads: see kind: callable."
                if what == "texts"
                else ""
            )
            raise PotstillError(f"--data {path}: must have a column of {what} named {usual[0]} (or {', '.join(usual[1:6])}); it has: "
                                f"{', '.join(names[:20])}. Rename the column, or write the recipe by hand: docs/reference.md.{lists}")  # fmt: skip
    assert text is not None and label is not None
    found = {} if text == "text" else {"text_column": text}
    found |= {} if label == "label" else {"label_column": label}
    return found | usual_columns([n for n in names if n not in (text, label)])


def _must_be_listed(path: Path, column: str) -> None:
    """Raise DataError, naming a row, where labels are joined by something that is not read as such."""
    from potstill.data._rows import rows_of

    joined: dict[str, tuple[str, str]] = {}
    for name, (value,) in rows_of(path, [column]):
        if isinstance(value, str):
            if ";" in value:
                return
            joined |= {sign: (name, value) for sign in _OTHERS if sign in value and sign not in joined}
    for sign, (name, value) in joined.items():
        raise DataError(f"{name}: {column} must be a list of names, or names with a semicolon between; got {value!r}. If {sign!r} is between "
                        "names there, write a semicolon; if it belongs to a name, use JSON Lines with lists.")  # fmt: skip


def _looked_at(reader: Any) -> tuple[Any, Any, Any, int]:
    """Return (bytes of each text, texts of each class, classes of each labelled text, texts without a label)."""
    lengths, flags, unknown = [], [], 0
    for chunk in reader.chunks():
        lengths.append((chunk.samples > 0).sum(axis=1))
        flags.append(chunk.targets[chunk.labels >= 0])
        unknown += int((chunk.labels < 0).sum())
    every = np.concatenate(flags)
    return np.concatenate(lengths), every.sum(axis=0), every.sum(axis=1), unknown
