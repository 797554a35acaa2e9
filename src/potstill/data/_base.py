"""What a data source is. Shapes: N rows, X the shape of one sample, H horizon, V variables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from numpy.typing import NDArray
from pydantic import Field

from potstill.core.samples import SampleKind
from potstill.core.spec import Registry, Spec


class Chunk(NamedTuple):
    """Rows of a source, in order."""

    samples: NDArray[Any]
    """[n, *shape] of the kind's stored dtype (core/samples.py)."""
    labels: NDArray[Any]
    """[n] int64, -1 where a row has none. With `targets`, 0 where a row has one."""
    names: list[str]
    """Of each row: its file, or 'row 17'."""
    targets: NDArray[Any] | None = None
    """float32: [n, H, V], the values to be forecast, or [n, K] of 0 and 1, the classes that a row has; uint8 [n, L], the text to
    be written (UTF-8, zero after its end, all zero where there is none); None where every row has one class, its label."""
    weights: NDArray[Any] | None = None
    """[n] float32 > 0, what a row counts in the loss and in every metric; None counts all alike."""
    groups: NDArray[Any] | None = None
    """[n] int64 >= 0, the patient, person or speaker: rows of one group fall on one side of a split. None: every row alone."""


Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class SplitReader:
    """One split of a source, read once, in order, in chunks."""

    num_rows: int
    chunks: Callable[[], Iterator[Chunk]]


@dataclass(frozen=True)
class Source:
    """An opened source: "train" always; "validation" and "test" where the source has its own."""

    splits: dict[str, SplitReader]
    shape: tuple[int, ...]
    """Of a stored sample."""
    classes: list[str] | None = None
    """Names in label order; None where the source has only numbers. Of values, the names of their variables; of text, one name."""
    kind: SampleKind = "image"
    """What a sample is."""
    rate_hz: float | None = None
    """Samples a second of audio; of series where it is known."""
    target_shape: tuple[int, ...] | None = None
    """(H, V) of the values to be forecast; (K,) where a row may have several of K classes, or none; (L,) of the text to be written;
    None where a row has one class."""
    target_text: bool = False
    """Whether targets are text to be written: UTF-8, uint8."""


class DataSpec(Spec, ABC):
    """A source and how it is split. `open` reads nothing large before `chunks()` is called."""

    kind: str
    validation: Share = 0.1
    """Share of the training rows kept for validation, stratified, where the source has no validation split."""
    test: Share = 0.2
    """Share of all rows kept for the test, stratified, where the source has no test split."""
    labelled: Share | Count | None = None
    """Share or number of training rows (validation included) whose labels may be used; None means all.
    Validation labels count within it. The rest keep their samples and are taught by the teacher alone."""
    limit: Count | None = None
    """Take at most this many training rows (validation included), stratified; None means all."""
    overlap: Literal["error", "drop"] = "error"
    """What to do with training rows whose samples are also in the source's own test split: stop, or leave them out."""
    split_seed: int = 0
    """Seed of every choice of rows above."""

    def pairs(self) -> bool:
        """Return whether its rows have a text to be written, as translation needs."""
        return False

    def gives(self) -> SampleKind:
        """Return what its samples are, before it is opened."""
        return "image"

    @abstractmethod
    def open(self) -> Source:
        """Return the source. Raises DataError naming the file or row that is wrong."""


registry: Registry[DataSpec] = Registry("data")
