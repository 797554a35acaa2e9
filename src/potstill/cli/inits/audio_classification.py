"""`potstill init audio-classification`: look at recordings, write a recipe that fits them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.cli._section import spec_of, yaml_of
from potstill.core.errors import DataError, PotstillError, nearest

if TYPE_CHECKING:
    from potstill.data import DataSpec
    from potstill.data._wav import WavHeader

_LOOKED_AT = 2000
_LONGEST_S = 10.0
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_AUDIO = ("audio", "file", "path", "filename", "wav", "recording")
_LABEL = ("label", "class", "category", "word", "target", "y")
_GROUP = ("speaker", "group", "person", "subject", "user", "client_id", "speaker_id")

_TEMPLATE = """\
# Written by `potstill init`. Each field is described in docs/reference.md; try it out with `potstill plan`.
name: {name}
description: {what}

task: {{kind: audio-classification}}

data:
{data}
augment:                   # of the samples themselves: teacher and student hear the same
  - {{kind: sound-shift, share: 0.08}}
  - {{kind: sound-speed, share: 0.1}}
  - {{kind: sound-noise, lowest_db: 10, highest_db: 40}}
  - {{kind: sound-mask, time: 0.1, band: 0.1}}

# Trained here, on spectrograms of your recordings. One that knows more teaches more: kind: onnx is any file, kind:
# speech-embedding Google's, with a head fitted to your labels.
teacher:
  kind: train
  model: {{kind: ds-cnn, width: 64, depth: 6, stem_stride: 2, downsample: 2, input: &sound {{kind: audio, mels: {mels}}}}}
  training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.005}}

labels:
  views: 4                 # augmented versions of each recording that the teacher labels
  codec: {{kind: float16}}

student:
  kind: ds-cnn             # depthwise separable: runs on microcontrollers too
  width: 24
  depth: 5
  stem_stride: 2
  downsample: 2
  input: *sound

steps:
  - kind: distill
    objectives:
      - kind: soft-label
        temperature: 2.0
        weight: 0.9
      - kind: hard-label
        weight: 0.1
    training: {{epochs: {epochs}, batch_size: {batch}, learning_rate: 0.005}}

controls: [hard-label]     # the same student without a teacher
seeds: 3                   # trainings of each, for the interval
"""


@dataclass(frozen=True)
class Heard:
    """What the headers of some recordings say together."""

    rates: Counter[int]
    seconds: list[float]
    num_stereo: int

    @property
    def usual_rate(self) -> int:
        """The commonest rate, the lower one of two as common."""
        return min(self.rates, key=lambda rate: (-self.rates[rate], rate))

    def length(self) -> float:
        """Return a length that 95 % of the recordings do not pass, in tenths of a second, at most 10 s."""
        return min(_LONGEST_S, math.ceil(float(np.quantile(self.seconds, 0.95)) * 10 - 1e-9) / 10)


def recipe(data: Path, shown: str, base: Path, name: str) -> tuple[str, str]:
    """Return (a recipe's text, what was found) for recordings.

    Args:
        data: a folder with one folder of WAV files a class, or a table that names or holds them.
        shown: its path as the recipe says it.
        base: folder of the recipe.
        name: of the recipe.

    Raises:
        PotstillError: it is neither, or its recordings cannot be read.
    """
    section: dict[str, Any] = {"kind": "audio-folder", "path": shown, "seconds": 1.0}
    if not data.is_dir():
        section = {"kind": "audio-table", "train": shown, "seconds": 1.0, **_columns(data)}
    spec = spec_of(section, base)
    heard = _headers(spec)
    section["seconds"] = heard.length()
    if len(heard.rates) > 1:
        section["rate_hz"] = heard.usual_rate
    if heard.num_stereo:
        section["downmix"] = True
    spec = spec_of(section, base)
    source = spec.open()
    rows = source.splits["train"].num_rows
    lines = [f"{field}: {yaml_of(value)}" for field, value in section.items()]
    grouped = "group_column" in section
    if "validation" not in source.splits:
        lines.append(f"validation: {0.15 if grouped else 0.1}{' # whole groups' if grouped else ''}")
    if "test" not in source.splits:
        lines.append(f"test: {0.25 if grouped else 0.2}{' # whole groups' if grouped else ''}")
    if section["kind"] == "audio-folder":
        lines.append(
            "# group_pattern: '^([a-z]+)_'  # whose recording it is, where file names say so: none on both sides of a split"
        )
    classes = source.classes or []
    text = _TEMPLATE.format(
        name=yaml_of(name), what=f"{len(classes)} classes, {rows} recordings to learn from",
        data="".join(f"  {line}\n" for line in lines), mels=40 if heard.usual_rate >= 8000 else 24,
        epochs=80 if rows < 500 else 40 if rows < 5000 else 20, batch=16 if rows < 200 else 32 if rows < 5000 else 64,
    )  # fmt: skip
    names = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    return text, (
        f"Found {len(classes)} classes: {names}\n      {rows} recordings to learn from; {_said(heard)}, brought to "
        f"{section['seconds']:g} s"
    )


def _said(heard: Heard) -> str:
    rates = ", ".join(f"{rate} Hz" for rate in sorted(heard.rates))
    stereo = f", {heard.num_stereo} of {len(heard.seconds)} looked at with several channels" if heard.num_stereo else ""
    return f"{rates}{stereo}, {min(heard.seconds):.1f} to {max(heard.seconds):.1f} s"


def _headers(spec: DataSpec) -> Heard:
    """Return what the recordings' headers say; every so many rows, at most about 2,000."""
    rates: Counter[int] = Counter()
    seconds: list[float] = []
    stereo = 0
    for header in _looked_at(spec):
        rates[header.rate_hz] += 1
        seconds.append(header.seconds)
        stereo += header.channels > 1
    if not seconds:
        raise DataError("data: must have recordings; got none.")
    return Heard(rates, seconds, stereo)


def _looked_at(spec: Any) -> list[WavHeader]:
    from potstill.data._wav import read_header

    rows = [row for split in spec.recordings()[0].values() for row in split()]
    thin = -(-len(rows) // _LOOKED_AT)
    return [read_header(row.data(), row.name) for row in rows[::thin]]


def _columns(data: Path) -> dict[str, str]:
    """Return which columns of a table are which, by name.

    Raises:
        PotstillError: it is no table, or it is not plain which.
    """
    from potstill.data._rows import columns_of

    if data.suffix.lower() not in _TABLES:
        raise PotstillError(
            f"--data {data}: must be a folder with one folder of WAV files a class, or a table of recordings "
            f"({', '.join(_TABLES)}); got {data.suffix or 'a file without a suffix'}."
        )
    names = columns_of(data)
    out: dict[str, str] = {}
    for field, usual in (("audio_column", _AUDIO), ("label_column", _LABEL), ("group_column", _GROUP)):
        found = next((n for u in usual for n in names if n.lower() == u), None)
        if found is not None:
            out[field] = found
        elif field != "group_column":
            raise PotstillError(f"{data}: must have a column named {usual[0]}; it has: {', '.join(names)}. {nearest(usual[0], names)}"
                                f"Rename it, or say data.{field} in a recipe.")  # fmt: skip
    return out
