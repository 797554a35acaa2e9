"""A saved student as it answers: quantised where the step before left `quant.json` beside its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.quant.spec import QuantSpec, read

if TYPE_CHECKING:
    from torch import Tensor

    from potstill.models.tools.saved import LoadedModel


def answering(folder: Path) -> tuple[LoadedModel, QuantSpec | None]:
    """Return (a saved model whose module rounds what its quantisation rounds, the numbers); as it is, and None, where it is in
    float32."""
    from potstill.models.tools.saved import load_model

    model = load_model(folder)
    spec = read(folder)
    if spec is None:
        return model, None
    from potstill.quant.real import faked

    return replace(model, module=faked(model.module, spec, example(model))), spec


def example(model: Any) -> Tensor:
    """Return [2, *X] of zeros, as a model reads them: for its graph, which depends on no value."""
    import torch

    return torch.zeros(2, *model.io.shape, dtype=getattr(torch, model.io.dtype))
