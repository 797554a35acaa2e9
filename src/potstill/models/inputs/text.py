"""Text brought to a model: UTF-8 bytes to ids of tokens, by a tokenizer that is trained on the training split."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats
from potstill.core.spec import InputPath
from potstill.models._io import ModelIO
from potstill.models.inputs._base import InputSpec, Steps

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess

PAD = "\0"
"""The token of id 0, which fills a row. No text has this character: it would end there."""
_LEAST = 257
"""Padding and every byte: such a vocabulary can spell anything."""


class TextInput(InputSpec):
    """How text is brought to a model: byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; bytes as in Radford et al.
    2019), trained here; nothing is unknown to it. The host makes the ids, so an exported model reads int32 [B, max_tokens]."""

    kind: Literal["text"] = "text"
    vocabulary_size: int = Field(default=2000, ge=_LEAST)
    """Tokens, padding included; the tokenizer may find fewer. Embeddings are most of a small model's parameters."""
    max_tokens: int = Field(default=32, ge=1)
    """Tokens that a model reads of a text: longer ones are cut, shorter ones filled with 0."""
    lowercase: bool = True
    """Read all letters as small ones."""
    file: InputPath | None = None
    """A `tokenizer.json` of your own in place of one trained here; its id 0 must be padding."""
    tokenizer: str | None = None
    """The tokenizer itself, as JSON; None trains one, or reads `file`. It is kept with the model."""

    def resolved(self, io: ModelIO, stats: DataStats) -> TextInput:
        self.must_read(io, "input")
        found = self.tokenizer
        if found is None:
            found = self._read() if self.file is not None else train(stats, self.vocabulary_size, self.lowercase)
        size = len(opened(found, "input.tokenizer").get_vocab(with_added_tokens=True))
        return self.model_copy(update={"tokenizer": found, "file": None, "vocabulary_size": size})

    def preprocess(self, io: ModelIO) -> Preprocess:
        from torch import nn

        from potstill.models.inputs.tokens import Tokens

        return Tokens(nn.Identity(), opened(self.tokenizer or "", "input.tokenizer"), self.max_tokens)

    def told(self, io: ModelIO) -> tuple[Steps, Steps]:
        return [
            {
                "do": "tokenize",
                "max_tokens": self.max_tokens,
                "padding": 0,
                "tokenizer": json.loads(self.tokenizer or "null"),
            }
        ], []

    def seen(self, io: ModelIO) -> ModelIO:
        return replace(io, shape=(self.max_tokens,), dtype="int32")

    def _read(self) -> str:
        assert self.file is not None
        where = f"input.file {self.file.name}"
        try:
            text = self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise ShapeError(f"{where}: must be a tokenizer.json; got {err}.") from err
        vocabulary = opened(text, where).get_vocab(with_added_tokens=True)
        first = next((token for token, number in vocabulary.items() if number == 0), None)
        if first is None or "pad" not in first.lower() + ("pad" if first == PAD else ""):
            raise ShapeError(
                f"{where}: its id 0 must be padding, which models mask; got {first!r}. Renumber its tokens."
            )
        return text


def train(stats: DataStats, size: int, lowercase: bool) -> str:
    """Return a byte-level BPE tokenizer as JSON; the same texts give the same bytes in any process.

    Args:
        stats: of the training split, which has its texts.
        size: tokens, padding (id 0) and 256 bytes included.
        lowercase: bring letters to lower case first; both ways look-alikes are made alike (NFKC).

    Raises:
        ShapeError: there are no texts.
        MissingExtraError: the package `tokenizers` is not installed.
    """
    library = _library()
    first = next(stats.texts(), None)
    if first is None:
        raise ShapeError("input.tokenizer: must have texts to be trained on; the data has none. Give input.file.")
    normalizers = [library.normalizers.NFKC(), *([library.normalizers.Lowercase()] if lowercase else [])]
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.normalizer = library.normalizers.Sequence(normalizers)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = library.decoders.ByteLevel()
    # Of the trainers there, only this one gives the same bytes twice: WordPiece numbers letters in the order of a hash map.
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD], show_progress=False,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(stats.texts(), trainer)
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))


def _library() -> Any:
    import os

    from potstill.core.extras import require

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # before its first use: threads and forks do not mix
    for part in ("decoders", "models", "normalizers", "pre_tokenizers", "trainers"):
        require(f"tokenizers.{part}", "hf", "input of kind text")
    return require("tokenizers", "hf", "input of kind text")


def opened(text: str, where: str) -> Any:
    """Return a tokenizer of its JSON, neither padding nor cutting. Raises ShapeError where it is none."""
    library = _library()
    try:
        tokenizer = library.Tokenizer.from_str(text)
    except Exception as err:  # the package raises plain Exceptions
        raise ShapeError(f"{where}: must be a tokenizer as the package `tokenizers` writes it; got {err}.") from err
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
