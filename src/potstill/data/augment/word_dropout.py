"""Leave words out. Shapes: B rows, W words."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class WordDropoutSpec(AugmentSpec):
    """Leave each word out with probability `p`, but never all (Iyyer et al. 2015, doi:10.3115/v1/P15-1162); words are what
    stands between spaces."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("text",)
    kind: Literal["word-dropout"] = "word-dropout"
    p: float = Field(default=0.15, gt=0, lt=1)
    """Probability of each word."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        from potstill.data.augment._words import Words

        words = Words(batch.inputs_BX.numpy())
        # Draws are made for as many words as a row of bytes can have, so that they do not depend on the batch.
        draws = draw.uniform((words.length + 1) // 2)[:, : words.most]
        numbers = np.arange(words.most)[None, :]
        out = draws < self.p
        last = np.where(numbers < words.counts_B[:, None], draws, -1.0).argmax(axis=1)
        out[np.arange(len(out)), last] = False
        place = np.where(out, np.inf, np.broadcast_to(numbers, out.shape).astype(np.float64))
        return replace(batch, inputs_BX=torch.from_numpy(words.arranged(place)))
