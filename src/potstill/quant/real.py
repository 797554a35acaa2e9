"""A model of integers, as an exporter writes it: codes of weights as buffers, values rounded by operators. Loads torch."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from potstill.core.errors import ExportError
from potstill.quant import operators, rounding
from potstill.quant.fake import Fake
from potstill.quant.graph import Traced, attribute, function, trace
from potstill.quant.plan import Layer, Plan, make_plan
from potstill.quant.spec import STATIC, QuantSpec
from potstill.quant.walk import Walk


def realised(module: nn.Module, spec: QuantSpec, example_BX: Tensor) -> nn.Module:
    """Return the integer model that a module and a QuantSpec make; it can be exported, and run here slowly.

    Args:
        module: whose weights are to be kept in few bits.
        spec: of this module.
        example_BX: [B, *X] as the module reads it, at least 2 rows.

    Raises:
        ExportError: the spec is of another module.
    """
    if spec.scheme == "float16":
        return Narrow(module, spec)
    traced = trace(module, example_BX)
    plan = planned(traced, spec)
    return Real(traced, plan, spec).eval()


def faked(module: nn.Module, spec: QuantSpec, example_BX: Tensor) -> nn.Module:
    """Return a module that computes in float32 what `realised` computes in integers; arguments as there."""
    if spec.scheme == "float16":
        twin = copy.deepcopy(module)
        with torch.no_grad():
            for name in spec.weights:
                found = attribute(twin, name)
                found.copy_(found.to(torch.float16).to(torch.float32))
        return twin.eval()
    traced = trace(module, example_BX)
    return Fake(traced, planned(traced, spec), spec).eval()


def planned(traced: Traced, spec: QuantSpec) -> Plan:
    """Return the plan that a spec is of. Raises ExportError unless it is of this graph."""
    plan = make_plan(traced, spec.scheme, spec.float_layers)
    weights = {layer.weight for layer in (*plan.layers.values(), *plan.constants.values())}
    for what, ours, theirs in (("values", set(plan.sites), set(spec.values)), ("weights", weights, set(spec.weights))):
        if ours != theirs:
            missing, extra = sorted(ours - theirs), sorted(theirs - ours)
            raise ExportError(
                f"quant.json {what}: must be those of the student; missing {missing[:3]}, unknown {extra[:3]}. Quantise this "
                "student again."
            )
    return plan


class Narrow(nn.Module):
    """A module whose weights are kept as float16 and widened as they are read; any module, no graph is needed.

    Args:
        module: left alone.
        spec: names the weights.
    """

    def __init__(self, module: nn.Module, spec: QuantSpec) -> None:
        super().__init__()
        self.inner = copy.deepcopy(module).eval()
        self.names = list(spec.weights)
        for i, name in enumerate(self.names):
            self.register_buffer(f"half{i}", attribute(self.inner, name).detach().to(torch.float16))
            owner, _, leaf = name.rpartition(".")
            delattr(attribute(self.inner, owner) if owner else self.inner, leaf)

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, *X] -> [B, *Y]."""
        wide = {name: operators.widen(getattr(self, f"half{i}")) for i, name in enumerate(self.names)}
        out: Tensor = torch.func.functional_call(self.inner, wide, (inputs_BX,))
        return out


class _Numbers(nn.Module):
    """Buffers of one weight or place, named by what they are."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone().contiguous())


class Real(Walk):
    """The integer model.

    Args:
        traced: the graph.
        plan: of it.
        spec: of it.
    """

    def __init__(self, traced: Traced, plan: Plan, spec: QuantSpec) -> None:
        super().__init__(traced, plan)
        self.places, self.kept = nn.ModuleDict(), nn.ModuleDict()
        self.other, self._other = nn.ParameterList(), dict[str, int]()
        for name, value in spec.values.items():
            scale, zero = torch.tensor(value.scale), torch.tensor(value.zero_point, dtype=torch.int8)
            self.places[safe(name)] = _Numbers(scale=scale, zero=zero)
        fake = Fake(traced, plan, spec).eval()
        with torch.no_grad():
            for name, layer in plan.layers.items():
                self._keep(fake, layer, name)
            for layer in plan.constants.values():
                self._keep(fake, layer, None)
        for name in self.unrounded():
            self._other[name] = len(self.other)
            self.other.append(nn.Parameter(traced.tensor(name).detach().clone(), requires_grad=False))

    def _keep(self, fake: Fake, layer: Layer, node: str | None) -> None:
        """Register codes and scales of a layer, and its bias in steps of the input's scale."""
        weight, bias = fake.folded(layer)
        scales = fake.given_scales(layer)
        codes = rounding.weight_codes(weight, scales, layer.bits, layer.axis)
        key = safe(layer.weight)
        if key not in self.kept:
            if layer.operator == "linear" and self.plan.scheme not in STATIC:
                codes = (codes.t().to(torch.int32) + 128).to(torch.uint8)
            packed = pack4(codes) if layer.bits == 4 else codes
            numbers = {"codes": packed, "scales": scales}
            if self.plan.scheme in STATIC:
                numbers["zeros"] = torch.zeros_like(scales, dtype=torch.int8)
            self.kept[key] = _Numbers(**numbers)
        if bias is None or node is None:
            return
        site = fake.input_site(node)
        if site is None:
            self.kept[f"{key}@{node}"] = _Numbers(bias=bias)
            return
        steps = fake.range_of(site).params()[0] * scales
        whole = torch.round(bias / steps).clamp(-(2**31), 2**31 - 128).to(torch.int32)
        self.kept[f"{key}@{node}"] = _Numbers(codes=whole, scales=steps, zeros=torch.zeros_like(whole))

    def tensor(self, node: str) -> Any:
        layer = self.plan.constants.get(node)
        if layer is None:
            return self.other[self._other[node]]
        return self._wide(layer)

    def weights(self, layer: Layer, input_site: str | None) -> tuple[Any, Any]:
        return self._wide(layer), None

    def layer(self, node: fx.Node, layer: Layer, x: Tensor, site: str | None) -> Tensor:
        bias = self._bias(layer, node.name)
        if layer.operator == "linear" and self.plan.scheme not in STATIC:
            kept: Any = self.kept[safe(layer.weight)]
            out: Tensor = operators.dynamic_matmul(x, kept.codes, kept.scales)
            return out if bias is None else torch.add(out, bias)
        found: Tensor = function(node)(x, self._wide(layer), bias, *node.args[3:], **node.kwargs)
        return found

    def embedded(self, layer: Layer, ids: Tensor) -> Tensor:
        kept: Any = self.kept[safe(layer.weight)]
        at = ids.to(torch.int64)
        return torch.mul(operators.widen(kept.codes[at]), kept.scales[at].unsqueeze(-1))

    def rounded(self, site: str, x: Tensor, first: bool) -> Tensor:
        place: Any = self.places[safe(site)]
        out: Tensor = operators.dequantize(operators.quantize(x, place.scale, place.zero), place.scale, place.zero)
        return out

    def _bias(self, layer: Layer, node: str) -> Any:
        key = f"{safe(layer.weight)}@{node}"
        if key not in self.kept:
            return None
        kept: Any = self.kept[key]
        if hasattr(kept, "bias"):
            return kept.bias
        return operators.dequantize_channels(kept.codes, kept.scales, kept.zeros, 0)

    def _wide(self, layer: Layer) -> Tensor:
        """Return a weight in float32, by the operators that a runtime recognises."""
        kept: Any = self.kept[safe(layer.weight)]
        codes: Tensor = kept.codes
        if layer.bits == 4:
            codes = operators.unpack4(codes, list(attribute(self.traced.module, layer.weight).shape))
        if self.plan.scheme not in STATIC:
            return torch.mul(operators.widen(codes), rounding.along(kept.scales, layer.axis, codes.ndim))
        if layer.axis is None:
            out: Tensor = operators.dequantize(codes, kept.scales, kept.zeros)
            return out
        found: Tensor = operators.dequantize_channels(codes, kept.scales, kept.zeros, layer.axis)
        return found


def safe(name: str) -> str:
    """Return a name as a module may have it."""
    return name.replace(".", ":")


def pack4(codes: Tensor) -> Tensor:
    """Return [ceil(N / 2)] uint8 of N codes in [-7, 7]: the first half of them in the low halves of the bytes."""
    flat = codes.reshape(-1).to(torch.int32) + 8
    if len(flat) % 2:
        flat = torch.cat([flat, flat.new_full((1,), 8)])
    half = len(flat) // 2
    return (flat[:half] + 16 * flat[half:]).to(torch.uint8)
