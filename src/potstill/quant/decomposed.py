"""A model of integers in PyTorch's own quantised operators, `quantized_decomposed`, which converters to edge runtimes read: each value
and weight is rounded to codes and widened again where the plan says, with the numbers of the spec. Loads torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from potstill.quant import rounding
from potstill.quant.fake import Fake
from potstill.quant.graph import Traced, function, plain, trace
from potstill.quant.plan import RECURRENT, Layer, Plan
from potstill.quant.real import planned, safe
from potstill.quant.spec import STATIC, QuantSpec
from potstill.quant.walk import Walk


def decomposed(module: nn.Module, spec: QuantSpec, example_BX: Tensor, codes: bool = False) -> nn.Module:
    """Return the integer model that a module and a QuantSpec of ranges or of weights make.

    Args:
        module: whose weights are to be kept in few bits.
        spec: of this module; not of float16.
        example_BX: [B, *X] as the module reads it, at least 2 rows.
        codes: keep weights as codes, which are widened; else as the numbers that codes say, which are rounded first.

    Raises:
        ExportError: the spec is of another module.
    """
    traced = trace(module, example_BX)
    return Decomposed(traced, planned(traced, spec), spec, codes).eval()


class Decomposed(Walk):
    """The graph with every value and weight of the plan rounded by operators; weights are kept as their codes say them, in float32, or as
    these codes."""

    def __init__(self, traced: Traced, plan: Plan, spec: QuantSpec, codes: bool = False) -> None:
        super().__init__(traced, plan)
        self.spec, self.codes = spec, codes
        self.kept = nn.ParameterDict()
        self.other, self._other = nn.ParameterList(), dict[str, int]()
        fake = Fake(traced, plan, spec).eval()
        with torch.no_grad():
            for name, layer in plan.layers.items():
                self._keep(fake, layer, name)
            for layer in plan.constants.values():
                self._keep(fake, layer, None)
        for name in self.unrounded():
            self._other[name] = len(self.other)
            self.other.append(_fixed(traced.tensor(name)))

    def _keep(self, fake: Fake, layer: Layer, node: str | None) -> None:
        weight, bias = fake.folded(layer)
        scales = fake.given_scales(layer)
        key = safe(layer.weight)
        codes = rounding.weight_codes(weight, scales, layer.bits, layer.axis)
        wide = codes.to(torch.float32) * rounding.along(scales, layer.axis, weight.ndim)
        self.kept[key] = _fixed(codes.to(torch.int8) if self.codes else wide)
        self.kept[f"{key}/scales"] = _fixed(scales)
        self.kept[f"{key}/zeros"] = _fixed(torch.zeros_like(scales, dtype=torch.int64))
        if layer.operator == "embedding":
            self.kept[f"{key}/codes"] = _fixed(codes)
        if bias is None or node is None:
            return
        site = fake.input_site(node)
        if site is not None:
            bias = rounding.rounded_bias(bias, fake.range_of(site).params()[0] * scales)
        self.kept[f"{key}@{node}"] = _fixed(bias)

    def tensor(self, node: str) -> Any:
        layer = self.plan.constants.get(node)
        return self.other[self._other[node]] if layer is None else self._wide(layer)

    def weights(self, layer: Layer, input_site: str | None) -> tuple[Any, Any]:
        return self._wide(layer), None

    def layer(self, node: Any, layer: Layer, x: Tensor, site: str | None) -> Tensor:
        key = f"{safe(layer.weight)}@{node.name}"
        bias = self.kept.get(key)
        found: Tensor = function(node)(x, self._wide(layer), bias, *node.args[3:], **node.kwargs)
        return found

    def embedded(self, layer: Layer, ids: Tensor) -> Tensor:
        key, at = safe(layer.weight), ids.to(torch.int64)
        found: Tensor = self.kept[f"{key}/codes"][at].to(torch.float32) * self.kept[f"{key}/scales"][at].unsqueeze(-1)
        return found

    def rounded(self, site: str, x: Tensor, first: bool) -> Tensor:
        if self.plan.scheme not in STATIC:
            return x
        value = self.spec.values[site]
        return _per_tensor(x, value.scale, value.zero_point, rounding.LOW, rounding.HIGH)

    def called(self, node: Any, args: Any, kwargs: Any) -> Any:
        if plain(node) in RECURRENT:
            # A first state that is constant would be kept as codes, whose product with the weights LiteRT refuses: this one is computed.
            nothing = args[0].flatten()[:1] - args[0].flatten()[:1]
            args = (args[0], tree_map(lambda state: state + nothing, args[1]), *args[2:])
        return super().called(node, args, kwargs)

    def _wide(self, layer: Layer) -> Tensor:
        key = safe(layer.weight)
        top = rounding.top_of(layer.bits)
        ours: Any = torch.ops.quantized_decomposed
        given: Any = (self.kept[f"{key}/scales"], self.kept[f"{key}/zeros"], layer.axis, -top, top, torch.int8)
        round_, widen = ours.quantize_per_channel, ours.dequantize_per_channel
        if layer.axis is None:
            given = (self.spec.weights[layer.weight].scales[0], 0, -top, top, torch.int8)
            round_, widen = ours.quantize_per_tensor, ours.dequantize_per_tensor
        found: Tensor = widen(self.kept[key] if self.codes else round_(self.kept[key], *given), *given)
        return found


def _per_tensor(x: Tensor, scale: float, zero: int, low: int, high: int) -> Tensor:
    ours: Any = torch.ops.quantized_decomposed
    given = (scale, zero, low, high, torch.int8)
    found: Tensor = ours.dequantize_per_tensor(ours.quantize_per_tensor(x, *given), *given)
    return found


def _fixed(x: Tensor) -> nn.Parameter:
    return nn.Parameter(x.detach().clone(memory_format=torch.contiguous_format), requires_grad=False)
