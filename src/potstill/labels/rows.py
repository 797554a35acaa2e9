"""One batch of teacher outputs, decoded on demand. Shapes: B rows, K classes, L tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import StoreError
from potstill.core.outputs import StoreOutput, TeacherOutput
from potstill.labels.codecs import CodecSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class RowReader(Protocol):
    """A store on disk, or a live one."""

    num_rows: int
    width: int
    """K."""
    views: int
    codec: CodecSpec

    @property
    def output(self) -> StoreOutput:
        """Return what the rows are."""
        ...

    def read(self, view: int, rows_B: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the codec's fields of rows of one view."""
        ...


class StoreRows:
    """Teacher outputs of a batch, as objectives read them.

    Args:
        store: on disk or live.
        view: which augmented version.
        rows_B: [B] int64.
        device: where tensors go.
    """

    def __init__(
        self, store: RowReader, view: int, rows_B: NDArray[np.int64], device: torch.device | str = "cpu"
    ) -> None:
        self._store, self._device = store, device
        if store.output == "features":
            raise StoreError("labels: must be a store of the teacher's outputs; got one of its features.")
        self._fields = store.read(view, rows_B)
        self.output: TeacherOutput = store.output

    def logits(self, temperature: float = 1.0, standardized: bool = False) -> Tensor:
        """Return [B, K] float32 raw logits, standardised per row if asked.

        Raises:
            StoreError: the teacher gave something else.
        """
        if self.output == "probabilities":
            raise StoreError(
                "labels: this objective needs the teacher's logits; the store holds probabilities, which have lost "
                "them. Use soft-label at temperature 1, or a teacher that gives logits."
            )
        self._must_hold("logits")
        return self._tensor(self._decode(temperature, standardized))

    def first_logits(self, places: int, temperature: float = 1.0) -> Tensor:
        """Return [B, places * K] float32 raw logits of each row's first tokens; of a store of logits [L, K] laid flat.

        Raises:
            StoreError: the teacher gave something else, or the codec keeps no token by itself.
        """
        self._must_hold("logits")
        codec, width = self._store.codec, self._store.width
        if not codec.per_token:
            raise StoreError(
                f"labels: must be kept by token; got codec {codec.kind!r}. Set labels.codec to token-topk."
            )
        length = next(iter(self._fields.values())).shape[1]
        cut = {name: array[:, :places] for name, array in self._fields.items()}
        return self._tensor(codec.decode(cut, width // length * places, temperature))

    def probabilities(self) -> Tensor:
        """Return [B, K] float32, rows summing to 1."""
        import torch

        if self.output != "probabilities":
            self._must_hold("logits")
        values = self._tensor(self._decode(1.0, False))
        return torch.softmax(values, dim=1) if self.output == "logits" else values

    def values(self) -> Tensor:
        """Return [B, H * V] float32. Raises StoreError where the store holds something else."""
        self._must_hold("values")
        return self._tensor(self._decode(1.0, False))

    def tokens(self) -> Tensor:
        """Return [B, L] int64, -1 where padding. Raises StoreError where the store holds something else."""
        self._must_hold("tokens")
        return self._tensor(self._decode(1.0, False)).long()

    def _must_hold(self, output: TeacherOutput) -> None:
        if self.output != output:
            raise StoreError(
                f"labels: this objective needs the teacher's {output}; the store holds {self.output}. Use an objective that "
                f"reads these, or a teacher that gives {output}."
            )

    def _decode(self, temperature: float, standardized: bool) -> NDArray[Any]:
        return self._store.codec.decode(self._fields, self._store.width, temperature, standardized)

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        import torch

        return torch.from_numpy(values).to(self._device)
