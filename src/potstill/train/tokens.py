"""A batch of two texts as a model is trained on it: fed one text and told the next token. Shapes: B rows, L tokens, W bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from potstill.core.errors import StoreError
from potstill.labels.rows import StoreRows
from potstill.objectives import LossInputs

if TYPE_CHECKING:
    from potstill.models.inputs.pair_tokens import PairTokens


def feed(preprocess: Any, inputs_BW: Tensor, targets_BW: Tensor, x: LossInputs, device: torch.device) -> Tensor:
    """Return ids [B, 2, L] that student and teacher read, and fill what `x` says of the tokens; L is the longest text's.

    What is fed after the source is the true text, or what the teacher wrote where its store holds that: a row has one of the
    two, so that the teacher's other outputs are of the same places.

    Args:
        preprocess: a PairTokens, the student's own.
        inputs_BW: sources as the data gives them.
        targets_BW: true texts, zero where not known.
        x: its `teacher` is a StoreRows, or None.
        device: where tensors go.
    """
    pair: PairTokens = preprocess
    rows = x.teacher
    told = rows is not None and rows.output == "tokens"
    tokens = pair.targets(_bytes(rows) if told else targets_BW)
    ids = pair.beside(inputs_BW, tokens)
    longest = max(2, int((ids[:, 0] > 0).sum(dim=1).max()), int((tokens >= 0).sum(dim=1).max()))
    tokens, ids = tokens[:, :longest].to(device), ids[:, :, :longest].to(device)
    x.token_mask_BL, x.targets_BHV = tokens >= 0, None
    if told:
        x.teacher = Told(tokens)
    else:
        x.tokens_BL = tokens
        if isinstance(rows, StoreRows):
            x.teacher = First(rows, longest)
    return ids


def tap_masks(module: nn.Module, ids_B2L: Tensor, mask_BL: Tensor | None, names: dict[str, str]) -> dict[str, Tensor]:
    """Return, by the name of a pair, which tokens are real at the student's place of it.

    Args:
        module: the student; says by `token_masks` on what its parts work.
        ids_B2L: as it was fed.
        mask_BL: of the tokens that are learnt.
        names: name of a pair -> the student's place.
    """
    of_parts = getattr(module, "token_masks", None)
    if of_parts is None or mask_BL is None:
        return {}
    masks = of_parts(ids_B2L, mask_BL)
    return {name: mask for name, place in names.items() for part, mask in masks.items() if place.startswith(f"{part}.")}


def _bytes(rows: Any) -> Tensor:
    """Return [B, W] uint8, what the teacher wrote."""
    out: Tensor = rows.tokens().clamp(min=0).to(torch.uint8).cpu()
    return out


@dataclass
class Told:
    """What the teacher wrote, in the student's tokens; nothing else of it is kept."""

    ids_BL: Tensor
    output: Any = "tokens"

    def tokens(self) -> Tensor:
        """Return [B, L] int64, -1 where padding."""
        return self.ids_BL

    def logits(self, temperature: float = 1.0, standardized: bool = False) -> Tensor:
        """Refuse: the store holds what was written."""
        raise StoreError(
            "labels: hold what the teacher wrote, not its logits. Use another labels.codec, or sequence-level alone."
        )

    probabilities = values = logits


class First:
    """Teacher outputs of each row's first places.

    Args:
        rows: [B, T * K] as the store has them.
        places: how many are kept.
    """

    def __init__(self, rows: StoreRows, places: int) -> None:
        self._rows, self._places = rows, places
        self.output = rows.output

    def logits(self, temperature: float = 1.0, standardized: bool = False) -> Tensor:
        """Return [B, places * K] float32 raw logits."""
        return self._rows.first_logits(self._places, temperature)

    def tokens(self) -> Tensor:
        """Refuse: these are logits."""
        return self._rows.tokens()

    probabilities = values = tokens
