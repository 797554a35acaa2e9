"""Pretrained Transformers from a local folder, through the package `transformers`: no network, no code from the folder, no
pickle. Loads torch. Shapes: B rows, T tokens, F features, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.models.inputs.pretrained_tokens import offline_library, quiet


def load_encoder(folder: Path) -> Any:
    """Return the encoder of a folder with config.json and safetensors, without a head.

    Raises:
        PotstillError: the folder holds something else.
        MissingExtraError: the package `transformers` is not installed.
    """
    _must_be_model(folder)
    library = offline_library()
    try:
        with quiet():
            found = library.AutoModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
                attn_implementation="eager",
            )  # fmt: skip
    except Exception as err:  # whatever the package raises of a wrong folder
        raise PotstillError(
            f"{folder}: must hold a Transformer (config.json, model.safetensors); got {str(err).splitlines()[0]}"
        ) from err
    if getattr(found, "pooler", None) is not None:
        found.pooler = None  # trained for another task; the last layer is pooled here
    return found


class PretrainedClassifier(nn.Module):
    """An encoder, the mean or the first of its last layer's tokens, normalised, and a head.

    Args:
        encoder: ids and mask -> `last_hidden_state`.
        pad: id of padding.
        mean: average over tokens; else the first one.
        num_classes: K.
        hidden: units of the head's layer; 0 for a linear head.
        dropout: share of that layer left out in training.
    """

    def __init__(self, encoder: Any, pad: int, num_classes: int, *, mean: bool, hidden: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.pad, self.mean = encoder, pad, mean
        self.head = head(int(encoder.config.hidden_size), num_classes, hidden, dropout)

    def features(self, ids_BT: Tensor) -> Tensor:
        """[B, T] ids -> [B, F]."""
        mask = (ids_BT != self.pad).to(torch.int64)
        states = self.encoder(input_ids=ids_BT.to(torch.int64), attention_mask=mask).last_hidden_state
        if not self.mean:
            return states[:, 0]  # type: ignore[no-any-return]
        weight = mask.unsqueeze(2).to(states.dtype)
        return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)  # type: ignore[no-any-return]

    def forward(self, ids_BT: Tensor) -> Tensor:
        """[B, T] ids -> logits [B, K]."""
        out: Tensor = self.head(self.features(ids_BT))
        return out


def head(num_features: int, num_classes: int, hidden: int, dropout: float) -> nn.Sequential:
    """Return a head over features: normalised, then one hidden layer, or none."""
    layers: list[nn.Module] = [nn.LayerNorm(num_features, elementwise_affine=False)]
    if hidden:
        layers += [nn.Linear(num_features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes)]
    else:
        layers += [nn.Dropout(dropout), nn.Linear(num_features, num_classes)]
    return nn.Sequential(*layers)


def _must_be_model(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise PotstillError(
            f"{folder}: must hold a Transformer, with config.json; it has none. Name the folder itself."
        )
