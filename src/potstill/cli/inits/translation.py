"""A recipe for texts with their translation: two files whose lines belong together, or a table with two columns of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.cli._section import spec_of, yaml_of
from potstill.cli.inits._tables import likely
from potstill.core.errors import PotstillError, nearest

if TYPE_CHECKING:
    from potstill.data import Source

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_SOURCE = ("source", "src", "input", "from", "original", "text")
_TARGET = ("target", "tgt", "translation", "output", "to", "reference", "trg")
_NO_LANGUAGE = ("id", "idx", "nr", "no", "num", "row", "key", "set")
_FEWEST = 20
_SHOWN = 60

_TEMPLATE = """\
# Written by `potstill init`. Each field is described in docs/reference.md; try it out with `potstill plan`.
# pip install 'potstill[hf,translation]'
name: {name}
description: {what}

task: {{kind: translation}}

data:
{data}  overlap: drop            # a text that is in two splits stays in one of them

# Trained here, on your pairs.
teacher:
  kind: train
  model: {{kind: encoder-decoder, dim: {dim}, heads: 8, encoder: 3, decoder: 3, dropout: 0.2, input: {{{tokens}, beam: 4}}}}
  training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.001, warmup: 0.1, clip_norm: 1.0, evaluate_every: {every}}}

labels:
  codec: {{kind: token-topk, length: {length}, k: 8}}   # of each token the 8 likeliest words

student:
  kind: encoder-decoder
  dim: {small}
  heads: 4
  encoder: 2
  decoder: 2
  input: {{{tokens}}}   # the same tokens as the teacher's, which the loss compares

# What the teacher writes taught more on Multi30k, and takes longer to prepare: codec token-ids, one objective sequence-level.
steps:
  - kind: distill
    objectives:
      - {{kind: token-soft-label, weight: 0.5}}
      - {{kind: token-hard-label, weight: 0.5}}
    training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.002, warmup: 0.1, clip_norm: 1.0, evaluate_every: {every}}}

controls: [hard-label]     # the same student without a teacher
seeds: 3                   # trainings of each, for the interval
export: [{{kind: onnx}}]     # an encoder and a decoder step
"""


def recipe(data: Path, shown: str, base: Path, name: str) -> tuple[str, str]:
    """Return (a recipe's text, what was found) for pairs of texts.

    Args:
        data: a table, one file of a pair, or a folder with a table or a pair of files for each split.
        shown: its path as the recipe says it.
        base: folder of the recipe.
        name: of the recipe.

    Raises:
        PotstillError: it is neither, it is not plain what belongs to what, or a row cannot be read.
    """
    found = _folder(data) if data.is_dir() else _file(data)
    above = shown if data.is_dir() else str(Path(shown).parent)
    section: dict[str, Any] = {"kind": "parallel"}
    for split, pair in found.splits.items():
        section[split] = {side: (Path(above) / path.name).as_posix() for side, path in pair.items()}
    section |= found.columns
    source = spec_of(section, base).open()
    lengths, (first, second) = _looked_at(source)
    rows = source.splits["train"].num_rows
    if rows < _FEWEST:
        raise PotstillError(f"--data {data}: must have at least {_FEWEST} pairs to learn from; got {rows}.")
    lines = [f"{field}: {yaml_of(value)}" for field, value in section.items()]
    lines += [f"{s}: {share}" for s, share in (("validation", 0.1), ("test", 0.2)) if s not in source.splits]
    # About three and a half bytes are a token of such a vocabulary; the longest twentieth of the texts may be cut.
    length = int(min(256, max(16, 8 * round(float(np.quantile(lengths, 0.95)) / 3.5 / 8 + 0.5))))
    epochs = 40 if rows < 2000 else 20 if rows < 10_000 else 8
    vocabulary = 500 if rows < 1000 else 2000 if rows < 10_000 else 4000
    text = _TEMPLATE.format(
        name=yaml_of(name), what=yaml_of(f"{found.way}, {rows} pairs to learn from"), data="".join(f"  {line}\n" for line in lines),
        tokens=f"vocabulary_size: {vocabulary}, max_tokens: {length}", length=length, dim=128 if rows < 2000 else 192,
        small=64 if rows < 2000 else 96, epochs=epochs, batch=16 if rows < 2000 else 64, every=max(1, epochs // 4),
    )  # fmt: skip
    others = "".join(f", {r.num_rows} for the {s}" for s, r in source.splits.items() if s != "train")
    left = f"\n      left out: {', '.join(found.left)}" if found.left else ""
    return text, (
        f"Found {rows} pairs to learn from{others}, {found.way}\n      such as {_cut(first)!r} -> {_cut(second)!r}{left}\n      For the other "
        "direction exchange source and target in the recipe."
    )


@dataclass(frozen=True)
class _Found:
    """What belongs to what."""

    splits: dict[str, dict[str, Path]]
    """Field of the recipe -> "source" and, of two files, "target"."""
    way: str
    """Such as "de to en"."""
    columns: dict[str, str]
    left: tuple[str, ...] = ()


def _file(path: Path) -> _Found:
    if path.suffix.lower() in _TABLES:
        return _tables({"train": path})
    stem, side = _parts(path)
    others = [
        p for p in sorted(path.parent.iterdir()) if p.is_file() and p != path and _is_lines(p) and _parts(p)[0] == stem
    ]
    if len(others) != 1:
        beside = ", ".join(p.name for p in others) or "none"
        raise PotstillError(f"--data {path}: must be a table ({', '.join(_TABLES)}), or have one file beside it whose lines are its "
                            f"translation, with the same name but for the language, as {_like(stem, side)}; got {beside}. Rename it, or "
                            "give a folder.")  # fmt: skip
    return _Found({"train": {"source": path, "target": others[0]}}, f"{side} to {_parts(others[0])[1]}", {})


def _folder(folder: Path) -> _Found:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    tables = [p for p in files if p.suffix.lower() in _TABLES]
    if tables:
        named, left = _by_split(folder, {p.stem: p for p in tables})
        return _tables(named, left)
    stems: dict[str, dict[str, Path]] = {}
    for path in files:
        if _is_lines(path):
            stem, side = _parts(path)
            stems.setdefault(stem, {})[side] = path
    pairs = {stem: sides for stem, sides in stems.items() if len(sides) > 1}
    if not pairs:
        raise PotstillError(f"--data {folder}: must hold pairs of files whose lines belong together, as train.de and train.en, or a table "
                            f"({', '.join(_TABLES)}); got {', '.join(p.name for p in files[:8]) or 'no file'}.")  # fmt: skip
    for sides in pairs.values():
        if len(sides) > 2 or set(sides) != set(next(iter(pairs.values()))):
            raise PotstillError(f"--data {folder}: must hold two languages, the same for every split; got {', '.join(p.name for p in sides.values())}. "
                                "Put two of them in a folder of their own.")  # fmt: skip
    named, left = _by_split(folder, pairs)
    source, target = _direction(sorted(next(iter(pairs.values()))))
    lone = tuple(p.name for stem, sides in stems.items() if stem not in pairs for p in sides.values())
    splits = {field: {"source": sides[source], "target": sides[target]} for field, sides in named.items()}
    return _Found(splits, f"{source} to {target}", {}, (*left, *lone))


def _by_split(folder: Path, named: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return (field of the recipe -> what is for it, names of what is for none): names say what they are, a lone one is for training."""
    found: dict[str, Any] = {}
    left = []
    for name, what in named.items():
        low = name.lower()
        field = "test_files" if "test" in low else "validation_files" if "val" in low or "dev" in low else "train"
        if field == "train" and "train" not in low and len(named) > 1:
            raise PotstillError(f"--data {folder}: files must have train, validation or test in their names, so that their rows are used for "
                                f"what they are; {name or 'one'} has none. Rename it, or give one file.")  # fmt: skip
        if field in found:
            left.append(name)
        else:
            found[field] = what
    if "train" not in found:
        raise PotstillError(f"--data {folder}: must hold files with train in their name; got {', '.join(named)}.")
    return {field: found[field] for field in ("train", "validation_files", "test_files") if field in found}, tuple(left)


def _tables(files: dict[str, Path], left: tuple[str, ...] = ()) -> _Found:
    """Return tables with the columns that hold the two texts. Raises PotstillError where it is not plain which do."""
    from potstill.data._rows import columns_of

    path = files["train"]
    names = columns_of(path)
    source, target = likely(names, _SOURCE), likely(names, _TARGET)
    codes = [n for n in names if re.fullmatch(r"[a-zA-Z]{2,3}([_-][a-zA-Z]+)?", n) and n.lower() not in _NO_LANGUAGE]
    if source is None or target is None:
        two = codes if len(codes) == 2 else names if len(names) == 2 else None
        if two is None:
            raise PotstillError(f"--data {path}: must have a column of texts named source and one of their translations named target (or two "
                                f"named by their languages, or two columns in all); it has: {', '.join(names)}. {nearest('source', names)}Rename "
                                "them, or say data.source_column and data.target_column in a recipe.")  # fmt: skip
        source, target = _direction(two)
    columns = {f"{side}_column": name for side, name in (("source", source), ("target", target)) if name != side}
    return _Found({field: {"source": file} for field, file in files.items()}, f"{source} to {target}", columns, left)


def _direction(two: list[str]) -> tuple[str, str]:
    """Return (source, target): by their names, else into English, else as they stand."""
    source, target = likely(two, _SOURCE), likely(two, _TARGET)
    english = likely(two, ("en", "eng", "english", "en_us", "en_gb", "en-us", "en-gb"))
    target = target or (english if source is None else None)
    if source is None and target is None:
        return two[0], two[1]
    if target is None:
        target = next(n for n in two if n != source)
    return next(n for n in two if n != target), target


def _is_lines(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return bool(re.search(r"(\.txt|[._-][a-z]{2,3}|(^|[._-])(" + "|".join((*_SOURCE, *_TARGET)) + r"))$", name))


def _parts(path: Path) -> tuple[str, str]:
    """Return (what two files of a pair have in common, what tells them apart): train.de.gz -> "train", "de"."""
    name = re.sub(r"(\.gz|\.txt)+$", "", path.name, flags=re.IGNORECASE)
    found = re.fullmatch(r"(?:(.*)[._-])?([^._-]+)", name)
    return (found[1] or "", found[2]) if found else (name, "")


def _like(stem: str, side: str) -> str:
    other = "en" if side != "en" else "de"
    return f"{stem}.{other}" if stem else f"{other}.txt"


def _looked_at(source: Source) -> tuple[Any, tuple[str, str]]:
    """Return (bytes of each training text of either side, the first pair); reads every row, so that a bad one is named now."""
    lengths: list[Any] = []
    first = ("", "")
    for chunk in source.splits["train"].chunks():
        assert chunk.targets is not None
        if not lengths and len(chunk.samples):
            first = _text(chunk.samples[0]), _text(chunk.targets[0])
        lengths += [(side > 0).sum(axis=1) for side in (chunk.samples, chunk.targets)]
    return np.concatenate(lengths) if lengths else np.zeros(1, np.int64), first


def _text(row: Any) -> str:
    return bytes(row).rstrip(b"\0").decode("utf-8", "replace")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
