"""Bytes of text to ids of tokens. Loads torch. Shapes: B rows, L bytes, T tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
        out = np.zeros((len(inputs_BX), self.max_tokens), np.int32)
        for row, encoding in zip(out, self.tokenizer.encode_batch(texts_of(inputs_BX.numpy())), strict=True):
            ids = encoding.ids[: self.max_tokens]
            row[: len(ids)] = ids
        return torch.from_numpy(out)


def texts_of(bytes_BL: NDArray[np.uint8]) -> list[str]:
    """Return the text of each row; a byte that is no UTF-8 becomes U+FFFD."""
    raw, length = np.ascontiguousarray(bytes_BL).tobytes(), bytes_BL.shape[1]
    return [
        raw[start : start + length].rstrip(b"\0").decode("utf-8", "replace") for start in range(0, len(raw), length)
    ]
