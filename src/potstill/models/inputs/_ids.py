"""Texts to ids of tokens and back, by a tokenizer of the package `tokenizers`. Loads no torch: a device does it too. Shapes: B rows, L
bytes, T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def ids_of(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> NDArray[np.int32]:
    """Return [B, T] ids, 0 where a text has ended, which is cut where it is longer."""
    out = np.zeros((len(texts), max_tokens), np.int32)
    for row, encoding in zip(out, tokenizer.encode_batch(list(texts)), strict=True):
        ids = encoding.ids[:max_tokens]
        row[: len(ids)] = ids
    return out


def strings_of(tokenizer: Any, tokens_BT: NDArray[Any], mark: int) -> list[str]:
    """Return the text of each row; the mark, padding and what is below 0 are left out."""
    kept = [[t for t in row if 0 < t < mark] for row in tokens_BT.tolist()]
    return [text.strip().replace("\0", "") for text in tokenizer.decode_batch(kept)]


def texts_of(bytes_BL: NDArray[np.uint8]) -> list[str]:
    """Return the text of each row; a byte that is no UTF-8 becomes U+FFFD."""
    raw, length = np.ascontiguousarray(bytes_BL).tobytes(), bytes_BL.shape[1]
    return [
        raw[start : start + length].rstrip(b"\0").decode("utf-8", "replace") for start in range(0, len(raw), length)
    ]
