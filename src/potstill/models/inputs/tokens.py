"""Bytes of text to ids of tokens. Loads torch. Shapes: B rows, L bytes, T tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from potstill.models.inputs._ids import ids_of, texts_of
from potstill.models.inputs.preprocess import Preprocess


class Tokens(Preprocess):
    """The host tokenizes; the model reads ids.

    Args:
        inside: as `Preprocess`.
        tokenizer: of the package `tokenizers`; id 0 is padding.
        max_tokens: T.
    """

    def __init__(self, inside: nn.Module, tokenizer: Any, max_tokens: int) -> None:
        super().__init__(inside)
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def outside(self, inputs_BX: Tensor) -> Tensor:
        """[B, L] uint8, UTF-8 and zero where it has ended -> [B, T] int32 ids, 0 where the text has ended."""
        return torch.from_numpy(ids_of(self.tokenizer, texts_of(inputs_BX.numpy()), self.max_tokens))
