"""`potstill init`: look at the data, write a recipe that fits it."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.cli import inits
from potstill.cli._section import spec_of, yaml_of
from potstill.core import atomic
from potstill.core.errors import DataError, PotstillError, nearest

if TYPE_CHECKING:
    from potstill.data import DataSpec, Source
    from potstill.data._decode import Headers

_SMALL = 4
"""Pixels that every model of the zoo can read."""
_LARGE = 96
"""Pictures with a longer side are brought to `_SIZE`: a student for a small device reads no more."""
_SIZE = 64
_FEW = 10
_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic")

_TEMPLATE = """\
# Written by `potstill init`. Each field is described in docs/reference.md; try it out with `potstill plan`.
name: {name}
description: {what}

data:
{data}
augment:                   # the same for teacher and student
  - kind: shift
    pixels: {shift}
  # - kind: flip           # add it if left and right do not matter

# Trained here, on your pictures. One that knows more teaches more: kind: torch is your module, kind: onnx any file.
teacher:
  kind: train
  model: {{kind: resnet, depth: {teacher_depth}, width: 16{model_input}}}
  training: {{epochs: {epochs}, batch_size: {batch}}}

labels:
  views: 4                 # augmented versions of each picture that the teacher labels
  codec: {{kind: float16}}

student:
  kind: ds-cnn             # depthwise separable: runs on microcontrollers too
  width: 16
  depth: 4
  stem_stride: {stem_stride}           # 2 halves the picture in the first layer
  downsample: {downsample}            # how often later layers halve it
{student_input}
steps:
  - kind: distill
    objectives:
      - kind: soft-label
        temperature: 1.0
        weight: 0.9
      - kind: hard-label
        weight: 0.1
    training: {{epochs: {epochs}, batch_size: {batch}}}

controls: [hard-label]     # the same student without a teacher
seeds: 3                   # trainings of each, for the interval
"""


@dataclass(frozen=True)
class _Found:
    """What there is at --data."""

    lines: list[str]
    """Of the recipe's data section, not indented."""
    classes: list[str]
    rows: int
    """Training rows, those that become validation and test included."""
    others: dict[str, int]
    """Rows of the source's own validation and test splits."""
    pictures: str
    """Such as "28×28 pixels, grey"."""
    side: int
    """Shorter side, in pixels, of what the models read."""
    model_size: int | None
    """Set where the models must bring the pictures to a size, because the source cannot."""
    unlabelled: int = 0
    fewest: tuple[int, str] | None = None
    """Pictures of the smallest class, and its name, where that is known."""


def write_recipe(task: str, data: Path, out: Path, *, force: bool) -> str:
    """Write a recipe for the data at `data` and return what was found and what to do next.

    Raises:
        PotstillError: the task or the data is not one that is known, or the recipe is there already.
    """
    from potstill.recipe.load import from_text
    from potstill.tasks import registry as tasks

    if task not in tasks.kinds():
        raise PotstillError(
            f"init: must be a task there is; got {task!r}. {nearest(task, tasks.kinds())}Allowed: "
            + ", ".join(tasks.kinds())
        )
    if out.is_dir():
        raise PotstillError(f"--out {out}: must be a file; it is a folder. Try --out {out / 'recipe.yaml'}")
    if out.exists() and not force:
        raise PotstillError(f"--out {out}: must be new; it exists. Choose another name, or pass --force.")
    if not data.exists():
        siblings = [p.name for p in data.parent.iterdir()] if data.parent.is_dir() else []
        raise PotstillError(
            f"--data {data}: must be a file or folder that exists; got none. {nearest(data.name, siblings)}".rstrip()
        )
    base = out.resolve().parent
    if task == "image-classification":
        found = _look(data, base)
        text, said = _recipe(_name_of(data), found), _said(found)
    else:
        text, said = _own(task)(data, _shown(data, base), base, _name_of(data))
    from_text(text, str(out), base)
    atomic.write_bytes(out, text.encode())
    return f"{said}\nWrote {out}\nNext: potstill plan {shlex.quote(str(out))}"


def _own(task: str) -> Callable[[Path, str, Path, str], tuple[str, str]]:
    """Return the function of cli/inits that writes a task's recipe. Raises PotstillError where there is none."""
    name = task.replace("-", "_")
    known = sorted(m.name for m in pkgutil.iter_modules(inits.__path__) if not m.name.startswith("_"))
    if name not in known:
        can = ", ".join(["image-classification", *(m.replace("_", "-") for m in known)])
        raise PotstillError(
            f"init: cannot write a recipe for {task!r}; it can for {can}. Begin with one of the folder recipes/."
        )
    found: Callable[[Path, str, Path, str], tuple[str, str]] = importlib.import_module(
        f"potstill.cli.inits.{name}"
    ).recipe
    return found


def _recipe(name: str, found: _Found) -> str:
    side, rows = found.side, found.rows
    model_input = f", input: {{size: {found.model_size}}}" if found.model_size else ""
    return _TEMPLATE.format(
        name=yaml_of(name),
        what=f"{len(found.classes)} classes, {rows} pictures to learn from",
        data="".join(f"  {line}\n" for line in found.lines),
        shift=max(1, side // 16),
        teacher_depth=8 if side < 16 else 20 if side < 48 else 14,
        model_input=model_input,
        stem_stride=2 if side >= 48 else 1,
        downsample=2 if side >= 16 else 1 if side >= 4 else 0,
        student_input=f"  input: {{size: {found.model_size}}}\n" if found.model_size else "",
        epochs=100 if rows < 500 else 60 if rows < 5000 else 30 if rows < 20_000 else 15,
        batch=16 if rows < 200 else 32 if rows < 2000 else 128,
    )


def _said(found: _Found) -> str:
    names = ", ".join(found.classes[:8]) + (", ..." if len(found.classes) > 8 else "")
    others = "".join(f", {num} for the {split}" for split, num in found.others.items())
    unlabelled = f", {found.unlabelled} of them without a label" if found.unlabelled else ""
    few = ""
    if found.fewest is not None and found.fewest[0] < _FEW:
        few = f"Note: class {found.fewest[1]!r} has {found.fewest[0]} pictures; fewer than {_FEW} rarely pass the teacher's check\n"
    return (
        f"Found {len(found.classes)} classes: {names}\n"
        f"      {found.rows} pictures to learn from{unlabelled}{others}; {found.pictures}\n"
        f"{few}"
    ).rstrip("\n")


def _shown(data: Path, base: Path) -> str:
    """Return a path as a recipe in `base` says it."""
    shown = os.path.relpath(data.resolve(), base)
    if "$" in shown:
        raise PotstillError(
            f"--data {data}: must have no $ in its path, which a recipe reads as a variable. Rename it."
        )
    return shown


def _look(data: Path, base: Path) -> _Found:
    """Return what there is at `data`; paths are written relative to `base`."""
    shown = _shown(data, base)
    if data.is_dir():
        names = sorted(p.name for p in data.iterdir() if p.is_file())
        if any("idx" in name and "ubyte" in name for name in names):
            return _plain_source({"kind": "idx", "path": shown}, base)
        parquet = [p for p in (data, data / "data") if any(p.glob("*.parquet"))]
        if parquet:
            return _parquet(parquet[0], base)
        return _image_folder(data, shown, base)
    if data.suffix == ".parquet":
        return _parquet_files({"train": [shown]}, base)
    if data.suffix == ".npz":
        return _plain_source({"kind": "npz", "path": shown}, base)
    hint = ""
    if data.suffix.lower() in _PICTURES or "ubyte" in data.name:
        hint = " Give the folder that it is in."
    elif data.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        hint = " Unpack it first."
    raise PotstillError(
        f"--data {data}: must be a folder with one folder of pictures a class, a folder of IDX files, a .parquet file with "
        f"pictures, or an .npz of arrays; got a file {data.suffix or 'without a suffix'}.{hint}"
    )


def _image_folder(data: Path, shown: str, base: Path) -> _Found:
    from potstill.data._folders import UNLABELLED
    from potstill.data.image_folder import ImageFolderSpec

    arrays = sorted(data.glob("*.npz"))
    try:
        spec = spec_of({"kind": "image-folder", "path": shown}, base)
        assert isinstance(spec, ImageFolderSpec)
        headers = spec.headers()
    except DataError as err:
        if arrays:
            raise DataError(f"{err} Or give a file in it: --data {arrays[0]}") from err
        raise
    lines = ["kind: image-folder", f"path: {yaml_of(shown)}", *_picture_lines(headers)]
    counts = spec.counts()
    unlabelled = counts.pop(UNLABELLED, 0)
    return replace(_found(spec, lines, headers), unlabelled=unlabelled, fewest=min((n, c) for c, n in counts.items()))


def _parquet(folder: Path, base: Path) -> _Found:
    """Look at a folder of parquet files, which say in their names what they are: train-00000-of-00001.parquet."""
    files: dict[str, list[str]] = {"train": [], "validation_file": [], "test_file": []}
    paths = sorted(folder.glob("*.parquet"))
    for path in paths:
        name = path.name.lower()
        field = "test_file" if "test" in name else "validation_file" if "val" in name else "train"
        if field == "train" and "train" not in name and len(paths) > 1:
            raise PotstillError(
                f"{path}: must have train, validation or test in its name, so that its rows are used for what they are; got "
                f"{path.name}. Rename it, or give one file: --data {path}"
            )
        files[field].append(os.path.relpath(path.resolve(), base))
    if not files["train"]:
        raise PotstillError(f"{folder}: must hold a parquet file with train in its name; got {paths[0].name}. Rename it, "
                            f"or give one file: --data {paths[0]}")  # fmt: skip
    return _parquet_files({field: found for field, found in files.items() if found}, base)


def _parquet_files(files: dict[str, list[str]], base: Path) -> _Found:
    from potstill.data.parquet import ParquetSpec, find_columns

    image, label = find_columns(base / files["train"][0])
    section: dict[str, Any] = {field: found[0] if len(found) == 1 else found for field, found in files.items()}
    section |= {"image_column": image} if image != "image" else {}
    section |= {"label_column": label} if label != "label" else {}
    spec = spec_of({"kind": "parquet", **section}, base)
    assert isinstance(spec, ParquetSpec)
    headers = spec.headers()
    lines = ["kind: parquet", *(f"{field}: {yaml_of(value)}" for field, value in section.items())]
    return _found(spec, [*lines, *_picture_lines(headers)], headers)


def _plain_source(section: dict[str, Any], base: Path) -> _Found:
    """Look at a source whose pictures are arrays, all alike."""
    from potstill.data._decode import summarise

    spec = spec_of(section, base)
    height, width, channels = spec.open().shape
    headers = summarise([(height, width, channels)])
    lines = [f"{field}: {yaml_of(value)}" for field, value in section.items()]
    return _found(spec, lines, headers, by_model=True)


def _found(spec: DataSpec, lines: list[str], headers: Headers, *, by_model: bool = False) -> _Found:
    source = spec.open()
    size = _size_for(headers)
    kept = [name for name in ("validation", "test") if name in source.splits]
    return _Found(
        lines=[*lines, *_split_lines(source)],
        classes=source.classes or [],
        rows=source.splits["train"].num_rows,
        others={name: source.splits[name].num_rows for name in kept},
        pictures=_pictures(headers),
        side=size or headers.shortest,
        model_size=size if by_model else None,
    )


def _split_lines(source: Source) -> list[str]:
    lines = []
    if "validation" not in source.splits:
        lines.append("validation: 0.1          # share of the training pictures kept for choosing")
    if "test" not in source.splits:
        lines.append("test: 0.2                # share of all pictures kept for the test")
    if source.splits["train"].num_rows > 20_000:
        lines.append("# limit: 10000           # fewer pictures, for a quick first try")
    return lines


def _size_for(headers: Headers) -> int | None:
    """Return the height and width that pictures must be brought to, or None where they can stay as they are."""
    if headers.shape is not None and _SMALL <= headers.shortest and headers.longest <= _LARGE:
        return None
    return _SIZE if headers.typical >= _SIZE else max(8, headers.typical // 8 * 8)


def _picture_lines(headers: Headers) -> list[str]:
    """Return what a recipe must say so that every picture has one size and as many channels."""
    lines = []
    size = _size_for(headers)
    if size is not None:
        lines.append(f"# pictures of {_sides(headers)} pixels are brought to this size")
        if headers.num_oblong:
            lines[0] += ";"
            lines.append(f"# {_share(headers.num_oblong, headers.num)} are not square and are stretched to it")
        lines.append(f"size: {size}")
    if 0 < headers.num_grey < headers.num:
        lines.append(f"grey: false              # {_share(headers.num_grey, headers.num)} are grey, the others are not")
    return lines


def _pictures(headers: Headers) -> str:
    colour = "grey" if headers.num_grey == headers.num else "colour" if not headers.num_grey else "colour and grey"
    return f"{_sides(headers)} pixels, {colour}"


def _sides(headers: Headers) -> str:
    if headers.shape is not None:
        return f"{headers.shape[0]}×{headers.shape[1]}"
    return f"{headers.shortest} to {headers.longest}"


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else f"{part} of {whole} looked at"


def _name_of(data: Path) -> str:
    """Return a recipe's name: of the folder or file, in the characters that one may have."""
    stem = data.resolve().stem if data.is_file() else data.resolve().name
    return re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-._")[:60] or "run"
