"""ResNet for small pictures, cut by torch-pruning's own pruner, to be trained on as a module of one's own."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def cut_alone(depth: int, weights: str, params: float, round_to: int) -> nn.Module:
    """Return the model with published weights, cut by torch-pruning (group L2 norm, all layers ranked together) until at most a
    share `params` of its parameters is left."""
    from pathlib import Path

    import torch
    from torch import Tensor

    from potstill.models import ModelIO
    from potstill.models.resnet import ResNetSpec
    from potstill.models.tools.saved import load_weights

    spec: Any = ResNetSpec(depth=depth, shortcut="pad")  # type: ignore[arg-type]
    whole = spec.build(ModelIO((10,), (3, 32, 32))).eval()
    load_weights(whole, Path(weights), "weights")
    example: Tensor = torch.zeros(1, 3, 32, 32)
    num, low, high, found = sum(p.numel() for p in whole.parameters()), 0.0, 0.95, None
    for _ in range(10):
        middle = (low + high) / 2
        module = _cut(copy.deepcopy(whole), example, middle, round_to)
        if sum(p.numel() for p in module.parameters()) <= params * num:
            high, found = middle, module
        else:
            low = middle
    if found is None:
        raise ValueError(f"no ratio below 0.95 leaves {params} of the parameters")
    return found


def _cut(module: Any, example: Any, ratio: float, round_to: int) -> nn.Module:
    import torch_pruning as tp

    importance = tp.importance.GroupMagnitudeImportance(p=2)
    pruner = tp.pruner.BasePruner(
        module, example, importance=importance, global_pruning=True, pruning_ratio=ratio, max_pruning_ratio=0.9,
        ignored_layers=[module.linear], round_to=round_to,
    )  # fmt: skip
    pruner.step()
    module(example)
    found: nn.Module = module
    return found
