"""How many bytes a model's weights take, and the float16 scheme, which needs no ranges. Loads torch."""

from __future__ import annotations

from torch import nn

from potstill.quant.spec import QuantSpec, Weights


def half(module: nn.Module) -> QuantSpec:
    """Return the spec that keeps every float parameter of two or more dimensions as float16."""
    names = [n for n, p in module.named_parameters() if p.ndim >= 2 and p.is_floating_point()]
    return QuantSpec(scheme="float16", weights={name: Weights(bits=16) for name in names})


def weight_bytes(module: nn.Module, spec: QuantSpec | None = None) -> dict[str, int]:
    """Return bytes of the weights: parameters of two or more dimensions, in float32 and as a spec keeps them, and of the scales that
    come with these; biases and norms are left out."""
    weights = {n: p for n, p in module.named_parameters() if p.ndim >= 2}
    kept = {} if spec is None else spec.weights
    return {
        "float32": sum(4 * p.numel() for p in weights.values()),
        "kept": sum((p.numel() * (kept[n].bits if n in kept else 32) + 7) // 8 for n, p in weights.items()),
        "scales": sum(4 * len(w.scales) for w in kept.values()),
    }
