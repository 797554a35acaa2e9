"""A tiny pretrained Transformer: a folder as the package `transformers` saves one, with weights as they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.core import atomic
from potstill.models.inputs.text import PAD, train
from potstill.testing import tiny

_WIDTH = 16


def tiny_encoder(folder: Path) -> Path:
    """Write a BERT of one layer and its tokenizer into a folder, and return it; the same each time.

    Raises:
        MissingExtraError: the package `transformers` is not installed.
    """
    import json

    import torch

    from potstill.models.inputs.pretrained_tokens import offline_library

    library: Any = offline_library()
    tokenizer = json.loads(train(tiny.stats_for("text"), 280, lowercase=True))
    atomic.write_bytes(folder / "tokenizer.json", json.dumps(tokenizer).encode())
    atomic.write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD}
    )
    config = library.BertConfig(
        vocab_size=280, hidden_size=_WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=2 * _WIDTH,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(5)
        library.BertModel(config, add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)
    return folder
