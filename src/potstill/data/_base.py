"""What a data source is. Shapes: N rows, H, W pixels, C channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from potstill.core.spec import Registry, Spec

Chunk = tuple[NDArray[Any], NDArray[Any], list[str]]
"""images [n, H, W, C] uint8, labels [n] int64 (-1 where a row has none), a name for each row (file, or 'row 17')."""

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
    image_shape: tuple[int, int, int]
    """H, W, C."""
    classes: list[str] | None = None
    """Names in label order; None where the source has only numbers."""


class DataSpec(Spec, ABC):
    """A source and how it is split. `open` reads nothing large before `chunks()` is called."""

    kind: str
    validation: Share = 0.1
    """Share of the training rows kept for validation, stratified, where the source has no validation split."""
    test: Share = 0.2
    """Share of all rows kept for the test, stratified, where the source has no test split."""
    labelled: Share | Count | None = None
    """Share or number of training rows (validation included) whose labels may be used; None means all.
    Validation labels count within it. The rest keep their pixels and are taught by the teacher alone."""
    limit: Count | None = None
    """Take at most this many training rows (validation included), stratified; None means all."""
    overlap: Literal["error", "drop"] = "error"
    """What to do with training rows whose pixels are also in the source's own test split: stop, or leave them out."""
    split_seed: int = 0
    """Seed of every choice of rows above."""

    @abstractmethod
    def open(self) -> Source:
        """Return the source. Raises DataError naming the file or row that is wrong."""


registry: Registry[DataSpec] = Registry("data")
