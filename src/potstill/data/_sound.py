"""What sources of recordings share: one rate, one channel, one length. Shapes: n rows, T samples, C channels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core.errors import DataError, nearest
from potstill.core.samples import SampleKind
from potstill.data._base import Chunk, DataSpec, Source, SplitReader
from potstill.data._wav import decode_wav, read_header

_CHUNK = 512
_LONGEST = 10_000_000


class Recording(NamedTuple):
    """One row of a source, not decoded yet."""

    name: str
    """Its file or row, for errors."""
    label: int
    """-1 where it has none."""
    group: str | None
    data: Callable[[], bytes]
    """Its WAV file."""


Rows = Callable[[], Iterable[Recording]]


class SoundSpec(DataSpec):
    """Recordings brought to one length; of one rate and one channel, unless they may be changed."""

    seconds: float = Field(gt=0, le=600, examples=[0.25])
    """Length of a sample: shorter recordings get silence, longer ones are cut."""
    align: Literal["centre", "start"] = "centre"
    """What is kept where a recording is cut, and where it lies in silence."""
    rate_hz: int | None = Field(default=None, ge=1000, le=192_000)
    """Resample every recording to this rate; None needs them all alike."""
    downmix: bool = False
    """Average the channels of recordings with several; without it they are refused."""
    test_groups: tuple[str, ...] | None = None
    """Groups (speakers, say) whose rows are the test; None draws whole groups, or rows where there are no groups."""
    validation_groups: tuple[str, ...] | None = None
    """Groups whose rows are for validation; likewise."""

    def gives(self) -> SampleKind:
        return "audio"

    @abstractmethod
    def recordings(self) -> tuple[dict[str, Rows], list[str]]:
        """Return (rows of each split, read again at each call and cheap as long as `data` is not called; classes in label
        order). Raises DataError where the layout or a row is wrong."""

    def open(self) -> Source:
        """Return the source. Raises DataError: no rows, no such group, or groups that some rows lack."""
        rows, classes = self.recordings()
        found = _Found(rows, self)
        first = next(iter(rows["train"]()), None)
        if first is None:
            raise DataError("data train: must have rows; got none.")
        rate = self.rate_hz or read_header(first.data(), first.name).rate_hz
        steps = round(self.seconds * rate)
        if not 1 <= steps <= _LONGEST:
            raise DataError(f"data.seconds: must give 1 to {_LONGEST} samples; got {steps} at {rate} Hz.")
        numbers = {name: i for i, name in enumerate(found.groups)}
        readers = {
            split: SplitReader(num, self._reader(picked, rate, steps, first.name, numbers))
            for split, (num, picked) in found.splits.items()
        }
        return Source(readers, (steps,), classes, "audio", float(rate))

    def _reader(
        self, rows: Rows, rate: int, steps: int, first: str, groups: dict[str, int]
    ) -> Callable[[], Iterator[Chunk]]:
        def chunks() -> Iterator[Chunk]:
            part: list[Recording] = []
            samples: list[NDArray[np.int16]] = []
            for row in rows():
                samples.append(self._sample(row, rate, steps, first))
                part.append(row)
                if len(part) == _CHUNK:
                    yield _chunk(part, samples, groups)
                    part, samples = [], []
            if part:
                yield _chunk(part, samples, groups)

        return chunks

    def _sample(self, row: Recording, rate: int, steps: int, first: str) -> NDArray[np.int16]:
        """Return [steps] int16 of one recording."""
        found, sound_TC = decode_wav(row.data(), row.name)
        if sound_TC.shape[1] > 1 and not self.downmix:
            raise DataError(
                f"{row.name}: must have one channel; got {sound_TC.shape[1]}. Set data.downmix: true to average them."
            )
        sound = sound_TC.mean(axis=1)
        if found != rate:
            if self.rate_hz is None:
                raise DataError(f"{row.name}: must have the rate of all, {rate} Hz as {first} has; got {found} Hz. Set data.rate_hz to "
                                "bring every recording to one.")  # fmt: skip
            sound = resample(sound, found, rate)
        out = np.zeros(steps, np.int16)
        spare = len(sound) - steps
        cut = max(0, spare // 2) if self.align == "centre" else 0
        lead = max(0, -spare // 2) if self.align == "centre" else 0
        kept = sound[cut : cut + steps]
        out[lead : lead + len(kept)] = np.clip(np.rint(kept * 32768), -32768, 32767)
        return out


def resample(sound_T: NDArray[np.float64], from_hz: int, to_hz: int) -> NDArray[np.float64]:
    """Return sound at another rate: polyphase, a Kaiser-windowed sinc."""
    from scipy.signal import resample_poly

    common = math.gcd(from_hz, to_hz)
    out: NDArray[np.float64] = resample_poly(sound_T, to_hz // common, from_hz // common)
    return out


@dataclass
class _Found:
    """The rows of each split, and their groups; reads every row's name, label and group once."""

    rows: dict[str, Rows]
    spec: SoundSpec

    def __post_init__(self) -> None:
        listed = {split: [(r.name, r.group) for r in rows()] for split, rows in self.rows.items()}
        everything = [entry for part in listed.values() for entry in part]
        self.groups = sorted({group for _, group in everything if group is not None})
        bare = next((name for name, group in everything if group is None), None)
        if self.groups and bare is not None:
            raise DataError(f"{bare}: must have a group as other rows do; got none. Fill it in, or leave groups out.")
        self.splits: dict[str, tuple[int, Rows]] = {}
        named = {"test": self.spec.test_groups, "validation": self.spec.validation_groups}
        for split, wanted in named.items():
            self._check(split, wanted)
        taken = {group: split for split, wanted in named.items() for group in wanted or ()}
        for split, part in listed.items():
            for target in dict.fromkeys((split, *named)) if split == "train" else (split,):
                num = sum(1 for _, group in part if taken.get(group or "", split) == target)
                if num or target == split:
                    self.splits[target] = (num, _picked(self.rows[split], taken, target, split))

    def _check(self, split: str, wanted: tuple[str, ...] | None) -> None:
        if wanted is None:
            return
        where = f"data.{split}_groups"
        for name in wanted:
            if name not in self.groups:
                raise DataError(f"{where}: must name groups there are; got {name!r}. {nearest(name, self.groups)}There are: "
                                f"{', '.join(self.groups[:20]) or 'none'}.")  # fmt: skip
        if split in self.rows:
            raise DataError(f"{where}: must be left out where the source has a {split} split of its own; it has one.")
        both = set(wanted) & set((self.spec.validation_groups if split == "test" else self.spec.test_groups) or ())
        if both:
            raise DataError(f"{where}: must not share groups with the other; got {sorted(both)[0]!r} in both.")


def _picked(rows: Rows, taken: dict[str, str], target: str, split: str) -> Rows:
    return lambda: (row for row in rows() if split != "train" or taken.get(row.group or "", split) == target)


def _chunk(part: list[Recording], samples: list[NDArray[np.int16]], groups: dict[str, int]) -> Chunk:
    labels: NDArray[Any] = np.array([row.label for row in part], np.int64)
    numbers = np.array([groups[row.group] for row in part if row.group is not None], np.int64)
    return Chunk(np.stack(samples), labels, [row.name for row in part], groups=numbers if groups else None)
