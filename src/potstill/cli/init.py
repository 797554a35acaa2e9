"""`potstill init`: look at the data, write a recipe that fits it."""

from __future__ import annotations

import os
from pathlib import Path

from potstill.core import atomic
from potstill.core.errors import DataError, PotstillError, nearest

_TEMPLATE = """\
# Written by `potstill init`. What each field may be: potstill list objectives|models|data|codecs, potstill schema
name: {name}
description: {what}

data:
{data}
  validation: 0.1          # share of the training rows kept for choosing
{extra}
augment:                   # the same for teacher and student
  - kind: shift
    pixels: {shift}
{flip}
teacher:                   # trained here; or kind: torch (your module), kind: onnx (a black box)
  kind: train
  model: {{kind: resnet, depth: 20, width: {teacher_width}, input: {{size: {size}}}}}
  training: {{epochs: {epochs}, batch_size: {batch}}}

labels:
  views: 4                 # augmented versions of each picture that the teacher labels
  codec: {{kind: float16}}

student:
  kind: ds-cnn             # depthwise separable: runs on microcontrollers too
  width: {student_width}
  input: {{size: {size}}}

steps:
  - kind: distill
    objectives:
      - kind: soft-label
        temperature: 2.0
        weight: 0.9
      - kind: hard-label
        weight: 0.1
    training: {{epochs: {epochs}, batch_size: {batch}}}

controls: [hard-label]     # the same student without a teacher
seeds: 3                   # trainings of each, for the interval
"""


def write_recipe(task: str, data: Path, out: Path, *, force: bool) -> str:
    """Write a recipe for the data at `data` and return what to do next.

    Raises:
        PotstillError: the task or the data is not one that is known, or the recipe is there already.
    """
    from potstill.tasks import registry as tasks

    if task not in tasks.kinds():
        raise PotstillError(
            f"init: must be a task there is; got {task!r}. {nearest(task, tasks.kinds())}Allowed: "
            + ", ".join(tasks.kinds())
        )
    if out.exists() and not force:
        raise PotstillError(f"--out {out}: must be new; it exists. Choose another name, or pass --force.")
    if not data.exists():
        siblings = [p.name for p in data.parent.iterdir()] if data.parent.is_dir() else []
        raise PotstillError(
            f"--data {data}: must be a file or folder that exists. {nearest(data.name, siblings)}".rstrip()
        )
    lines, found, size = _describe(data, out.resolve().parent)
    rows = found["rows"]
    small = size <= 40
    text = _TEMPLATE.format(
        name=_name_of(data), what=f"{found['classes']} classes, {rows} pictures to learn from", data=lines,
        extra=f"  size: {size}                # pictures are brought to this many pixels\n" if found["resize"] else "",
        shift=max(1, size // 16), flip="  # - kind: flip           # if left and right look alike\n",
        teacher_width=16 if small else 32, student_width=16 if small else 32, size=size,
        epochs=30 if rows > 5000 else 60, batch=128 if rows > 2000 else 32,
    )  # fmt: skip
    atomic.write_bytes(out, text.encode())
    return f"Wrote {out}: {found['classes']} classes, {rows} training pictures.\nNext: potstill plan {out}"


def _describe(data: Path, base: Path) -> tuple[str, dict[str, int], int]:
    """Return (YAML lines of the data section, counts, model input size)."""
    from pydantic import TypeAdapter, ValidationError

    from potstill.data import AnyData, DataSpec

    shown = os.path.relpath(data.resolve(), base)
    candidates: list[dict[str, object]] = []
    if data.is_dir():
        parquet = sorted(p.name for p in data.glob("*.parquet"))
        if any("idx" in p.name and "ubyte" in p.name for p in data.iterdir()):
            candidates.append({"kind": "idx", "path": shown})
        elif parquet:
            train = next((p for p in parquet if "train" in p), parquet[0])
            test = next((p for p in parquet if "test" in p), None)
            entry: dict[str, object] = {"kind": "parquet", "train": f"{shown}/{train}"}
            candidates.append({**entry, "test": f"{shown}/{test}"} if test else entry)
        else:
            candidates += [{"kind": "image-folder", "path": shown}, {"kind": "image-folder", "path": shown, "size": 64}]
    elif data.suffix == ".parquet":
        candidates.append({"kind": "parquet", "train": shown})
    elif data.suffix in (".npz", ".npy"):
        candidates.append({"kind": "npz", "path": shown})
    problem: Exception | None = None
    for candidate in candidates:
        try:
            spec: DataSpec = TypeAdapter(AnyData).validate_python(candidate, context={"base": base})
            source = spec.open()
        except (DataError, ValidationError) as err:
            problem = problem or err
            continue
        height, width, _ = source.image_shape
        counts = {
            "rows": source.splits["train"].num_rows,
            "classes": len(source.classes or []),
            "resize": int("size" in candidate),
        }
        lines = "\n".join(f"  {k}: {v}" for k, v in candidate.items() if k != "size")
        return lines, counts, int(min(height, width))
    if isinstance(problem, PotstillError):
        raise problem
    raise PotstillError(
        f"--data {data}: must be a folder with one folder of images a class, IDX files, a .parquet file with images, or "
        f"an .npz of arrays; got none of them{f' ({problem})' if problem else ''}."
    )


def _name_of(data: Path) -> str:
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in data.resolve().name).strip("-._")
    return (name or "run")[:60]
