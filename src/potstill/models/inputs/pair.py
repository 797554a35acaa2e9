"""Two texts brought to a model that writes the second: UTF-8 bytes to ids by one joint tokenizer, and what it wrote to text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from potstill.models._io import ModelIO
from potstill.models.inputs.text import TextInput, opened

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess


class PairInput(TextInput):
    """How a text is brought to a model that writes another, and how it writes. One byte-level BPE is trained on both sides of
    the training split. The model reads ids [2, max_tokens]: the text, and what was written so far after a mark."""

    writes: Literal[True] = True
    """Tells this input from that of a model that only reads a text: a module of your own says it."""
    vocabulary_size: int = Field(default=4000, ge=257)
    """Tokens of both languages together, padding included; the tokenizer may find fewer. A mark for start and end is added."""
    max_tokens: int = Field(default=40, ge=2)
    """Most tokens of either text, the end's mark included: longer ones are cut, in training and in what is written."""
    lowercase: bool = False
    """Read, and so write, all letters as small ones."""
    beam: int = Field(default=1, ge=1)
    """Texts that are followed while one is written; 1 takes the likeliest token each time (greedy)."""
    length_penalty: float = Field(default=1.0, ge=0)
    """A written text's log-probability is divided by its number of tokens to this power; 1 is the mean, 0 favours short ones.
    Wu et al. 2016, arXiv:1609.08144, section 7, has a shifted form of it."""

    def preprocess(self, io: ModelIO) -> Preprocess:
        from torch import nn

        from potstill.models.inputs.pair_tokens import PairTokens

        return PairTokens(nn.Identity(), opened(self.tokenizer or "", "input.tokenizer"), self, io.outputs[0])

    def seen(self, io: ModelIO) -> ModelIO:
        return replace(
            io, shape=(2, self.max_tokens), outputs=(self.max_tokens, self.vocabulary_size + 1), dtype="int32"
        )

    def shares_tokens(self, other: object) -> bool:
        """Return whether the other input makes the same ids of the same data: then two models' tokens can be compared."""
        same = ("vocabulary_size", "max_tokens", "lowercase", "file", "tokenizer")
        return isinstance(other, PairInput) and all(getattr(self, n) == getattr(other, n) for n in same)
