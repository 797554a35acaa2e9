"""The tokenizer of a pretrained Transformer's folder, and the package that reads it. Loads torch. Shapes: B rows, L bytes,
T tokens."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.extras import require
from potstill.models.inputs._ids import texts_of
from potstill.models.inputs.preprocess import Preprocess

_OFFLINE = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}  # fmt: skip
_TOKENIZERS = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"
)  # fmt: skip


def offline_library() -> Any:
    """Return the package `transformers`, told to stay off every network. Raises MissingExtraError where it is not there."""
    os.environ.update(_OFFLINE)  # before its first import
    require("transformers", "hf", "a pretrained Transformer")
    return importlib.import_module("transformers")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the package's bars and reports away from the user's terminal, and torch's generator as it is."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder. Raises PotstillError where there is none, or it has no padding."""
    library = offline_library()
    if not any((folder / name).is_file() for name in _TOKENIZERS):  # the package would make an empty one, silently
        raise PotstillError(f"{folder}: must hold a tokenizer ({', '.join(_TOKENIZERS)}); it has none of these files.")
    try:
        with quiet():
            found = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as err:
        raise PotstillError(
            f"{folder}: must hold a tokenizer (tokenizer.json); got {str(err).splitlines()[0]}"
        ) from err
    if found.pad_token_id is None:
        raise PotstillError(f"{folder}: its tokenizer must have a padding token; got none. Use an encoder's.")
    return found


class PretrainedTokens(Preprocess):
    """The host tokenizes as the model's makers did.

    Args:
        inside: as `Preprocess`.
        folder: of the model.
        max_tokens: T.
    """

    def __init__(self, inside: nn.Module, folder: Path, max_tokens: int) -> None:
        super().__init__(inside)
        self.tokenizer, self.max_tokens = load_tokenizer(folder), max_tokens

    def outside(self, inputs_BX: Tensor) -> Tensor:
        """[B, L] uint8 -> [B, T] int32 ids, padding where the text has ended."""
        ids = self.tokenizer(
            texts_of(inputs_BX.numpy()), padding="max_length", truncation=True, max_length=self.max_tokens,
            return_attention_mask=False, return_token_type_ids=False,
        )["input_ids"]  # fmt: skip
        return torch.from_numpy(np.asarray(ids, np.int32))
