"""Recurrence over tokens: the text student with a memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import TextInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class TextGruSpec(ModelSpec):
    """A GRU forwards and one backwards over embeddings (Cho et al. 2014, arXiv:1406.1078), pooled over a text: maximum and
    mean."""

    kind: Literal["text-gru"] = "text-gru"
    input: TextInput = Field(default_factory=TextInput)
    """Vocabulary and length that it reads."""
    dim: int = Field(default=96, ge=1)
    """Width of a token."""
    width: int = Field(default=96, ge=1)
    """Units of each direction."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of embeddings, and of pooled values, left out of each training step."""

    def build(self, io: ModelIO) -> nn.Module:
        from potstill.models._text import TextGru

        return TextGru(self.input.vocabulary_size, io.num_classes, dim=self.dim, width=self.width, dropout=self.dropout)
