"""Exchange neighbouring words. Shapes: B rows, W words."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.samples import SampleKind
from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class WordSwapSpec(AugmentSpec):
    """Exchange a word with the next one, in a share `p` of the texts (Wei and Zou 2019, arXiv:1901.11196; there any two words);
    words are what stands between spaces."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("text",)
    kind: Literal["word-swap"] = "word-swap"
    p: float = Field(default=0.3, gt=0, le=1)
    """Probability that a text has two neighbours exchanged; one of a single word never has."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch

        from potstill.data.augment._words import Words

        words = Words(batch.inputs_BX.numpy())
        draws = draw.uniform(2)
        place = np.tile(np.arange(words.most, dtype=np.float64), (len(draws), 1))
        rows = np.flatnonzero((draws[:, 0] < self.p) & (words.counts_B > 1))
        first = np.minimum((draws[rows, 1] * (words.counts_B[rows] - 1)).astype(np.int64), words.counts_B[rows] - 2)
        place[rows, first], place[rows, first + 1] = first + 1.0, first.astype(np.float64)
        return replace(batch, inputs_BX=torch.from_numpy(words.arranged(place)))
