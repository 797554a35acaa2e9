"""The memory layout in which a family runs fastest."""

from __future__ import annotations

import torch
from torch import nn

from potstill.models._base import ModelSpec
from potstill.models.inputs.preprocess import Preprocess


def laid_out(spec: ModelSpec, module: nn.Module, preprocess: Preprocess) -> tuple[nn.Module, Preprocess]:
    """Return both in the memory layout that the family runs fastest in."""
    if spec.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        preprocess.memory_format = torch.channels_last
    return module, preprocess
