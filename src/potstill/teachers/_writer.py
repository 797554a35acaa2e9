"""A torch module that writes texts as a labeller. Shapes: B rows, W bytes, L tokens, K tokens to choose from."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from potstill.models import ModelIO
from potstill.models.inputs.pair_tokens import PairTokens
from potstill.teachers._base import OutputKind


class WritingLabeller:
    """Eval mode, no gradient, float32.

    Args:
        module: ids [B, 2, L] -> logits [B, L, K].
        preprocess: its own.
        io: what the module takes and gives.
    """

    output: OutputKind = "logits"

    def __init__(self, module: nn.Module, preprocess: PairTokens, io: ModelIO) -> None:
        self.module = module.eval().requires_grad_(False)
        self.preprocess = preprocess.eval()
        self.num_classes, self.row_width = io.num_classes, io.row_width
        self.num_bytes = preprocess.num_bytes
        """Of a text that it writes."""

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, W] uint8, what it writes for these sources, by the search of its own input section."""
        self.module.eval()
        return self.preprocess.answers(self.module, torch.from_numpy(inputs_BX))

    @torch.inference_mode()
    def fed(self, inputs_BW: Tensor, targets_BW: Tensor) -> NDArray[Any]:
        """Return [B, L, K] float32 logits of each token of the true texts, given those before it."""
        self.module.eval()
        ids = self.preprocess.beside(inputs_BW, self.preprocess.targets(targets_BW))
        out: NDArray[Any] = self.module(ids).float().numpy()
        return out
