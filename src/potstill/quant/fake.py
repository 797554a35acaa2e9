"""A model that computes in float32 what integers will compute: for calibration, training and evaluation. Loads torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from potstill.quant import rounding
from potstill.quant.graph import Traced, attribute, function
from potstill.quant.plan import Layer, Plan, Site
from potstill.quant.spec import STATIC, QuantSpec, ValueRange, Weights
from potstill.quant.walk import Walk

MEMORY = 0.01
"""Weight of a batch in the moving average of ranges."""


class Range(nn.Module):
    """The range of one place: watched as a moving average of each batch's least and largest value, until it is frozen."""

    low: Tensor
    high: Tensor
    known: Tensor

    def __init__(self, fixed: tuple[float, int] | None) -> None:
        super().__init__()
        self.fixed = fixed
        for name in ("low", "high", "known"):
            self.register_buffer(name, torch.zeros(()))

    def params(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero point)."""
        if self.fixed is not None:
            return self.low.new_tensor(self.fixed[0]), self.low.new_tensor(float(self.fixed[1]))
        return rounding.range_params(self.low, self.high)

    @torch.no_grad()
    def watch(self, x: Tensor) -> None:
        """Take a batch into the average; the first one sets it."""
        low, high = torch.aminmax(x.detach())
        memory = torch.where(self.known > 0, MEMORY, 1.0)
        self.low.lerp_(low, memory)
        self.high.lerp_(high, memory)
        self.known.fill_(1.0)

    @torch.no_grad()
    def set(self, low: float, high: float) -> None:
        """Set the range, such as a calibration found it."""
        self.low.fill_(low)
        self.high.fill_(high)
        self.known.fill_(1.0)


class Fake(Walk):
    """The module with every weight and value of the plan rounded; its parameters are the module's own, and train.

    In training mode ranges are watched for the first `watched` forward passes and then stay as they are; BatchNorm uses its
    statistics as they are throughout. `state_dict` has the parameters, the ranges and the count of passes.

    Args:
        traced: the graph.
        plan: of it.
        spec: numbers to use; None derives weights' scales from the weights at hand and ranges from what was watched or set.
        watched: forward passes in training mode during which ranges follow the values.
    """

    passes: Tensor

    def __init__(self, traced: Traced, plan: Plan, spec: QuantSpec | None = None, watched: int = 0) -> None:
        super().__init__(traced, plan)
        self.model = traced.module
        self.spec, self.watched = spec, watched
        self.sites = list(plan.sites)
        self.ranges = nn.ModuleList(Range(_params_of(site, spec)) for site in plan.sites.values())
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.listener: Callable[[str, Tensor], None] | None = None
        """Called with every place and its float values; nothing is rounded meanwhile."""
        self.only: set[str] | None = None
        """Weights and sites that are rounded; None rounds all."""
        self._number = {name: i for i, name in enumerate(self.sites)}
        self._kept = {
            layer.weight: self._scales_given(layer) for layer in (*plan.layers.values(), *plan.constants.values())
        }

    def range_of(self, site: str) -> Range:
        """Return the range of a place."""
        found: Any = self.ranges[self._number[site]]
        assert isinstance(found, Range)
        return found

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, *X] -> [B, *Y], on the codes of the output's place."""
        out = super().forward(inputs_BX)
        if self.training:
            self.passes.add_(1)
        return out

    def tensor(self, node: str) -> Tensor:
        layer = self.plan.constants.get(node)
        found = self._read(node)
        if layer is None or not self._rounds(layer.weight):
            return found
        return rounding.rounded_weight(found, self._scales(layer, found), layer.bits, layer.axis)

    def weights(self, layer: Layer, input_site: str | None) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.folded(layer)
        if not self._rounds(layer.weight):
            return weight, bias
        step = None if input_site is None or not self._rounds(input_site) else self.range_of(input_site).params()[0]
        scales = self._scales(layer, weight, bias, step)
        if bias is not None and step is not None:
            bias = rounding.rounded_bias(bias, step * scales)
        return rounding.rounded_weight(weight, scales, layer.bits, layer.axis), bias

    def layer(self, node: fx.Node, layer: Layer, x: Tensor, site: str | None) -> Tensor:
        if self.plan.scheme in STATIC or layer.operator != "linear" or not self._rounds(layer.weight):
            return super().layer(node, layer, x, site)
        scale, zero = rounding.batch_params(x)
        weight, bias = self.weights(layer, None)
        out: Tensor = function(node)(rounding.rounded(x, scale, zero, 0, 255), weight, bias)
        return out

    def rounded(self, site: str, x: Tensor, first: bool) -> Tensor:
        if not first or (self.only is not None and site not in self.only):
            return x
        if self.listener is not None:
            self.listener(site, x)
            return x
        found = self.range_of(site)
        if self.training and found.fixed is None and int(self.passes) < self.watched:
            found.watch(x)
        scale, zero = found.params()
        return rounding.rounded(x, scale, zero)

    def numbers(self) -> QuantSpec:
        """Return the numbers that are used now, as a runtime needs them."""
        values = {}
        with torch.no_grad():
            for name in self.sites:
                scale, zero = self.range_of(name).params()
                values[name] = ValueRange(scale=float(scale), zero_point=int(zero))
            weights: dict[str, Weights] = {}
            for node, layer in self.plan.layers.items():
                weight, bias = self.folded(layer)
                site = self.input_site(node)
                step = None if site is None else self.range_of(site).params()[0]
                weights[layer.weight] = _kept(layer, self._scales(layer, weight, bias, step))
            for node, layer in self.plan.constants.items():
                weights[layer.weight] = _kept(layer, self._scales(layer, self._read(node)))
        output = self.plan.grid.get(self.traced.result.name)
        return QuantSpec(
            scheme=self.plan.scheme, values=values, weights=weights, float_layers=self.plan.float_layers, output=output
        )

    def input_site(self, node: str) -> str | None:
        """Return the place whose codes a layer reads, None where it reads float values."""
        source = self._input_of[node]
        return self.plan.edges.get((node, source)) or self.plan.grid.get(source)

    def output_site(self, node: str) -> str | None:
        """Return the place whose codes a layer answers in: that of the end of its group."""
        found = next(n for n in self.traced.nodes if n.name == node)
        while found.name not in self.plan.grid:
            readers = list(found.users)
            if len(readers) != 1 or readers[0].op != "call_function":
                return None
            found = readers[0]
        return self.plan.grid[found.name]

    def _rounds(self, name: str) -> bool:
        return self.listener is None and (self.only is None or name in self.only)

    def _read(self, node: str) -> Tensor:
        if node in self.traced.constants:
            return self.traced.constants[node].to(self.passes.device)
        found: Tensor = attribute(self.model, self.traced.tensors[node])
        return found

    def folded(self, layer: Layer) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a layer as they are, the BatchNorm after it folded in."""
        weight = attribute(self.model, layer.weight)
        bias = None if layer.bias is None else self._read(layer.bias)
        if layer.norm is None:
            return weight, bias
        *nodes, eps = layer.norm
        gamma, beta, mean, variance = (None if n is None else self._read(str(n)) for n in nodes)
        assert mean is not None and variance is not None
        return rounding.folded(weight, bias, (gamma, beta, mean, variance, float(eps)))

    def given_scales(self, layer: Layer) -> Tensor:
        """Return the scales that the spec has for a layer."""
        found = self._kept[layer.weight]
        assert found is not None
        return found

    def _scales_given(self, layer: Layer) -> Tensor | None:
        if self.spec is None:
            return None
        given = self.spec.weights[layer.weight].scales
        return torch.tensor(given if layer.axis is not None else given[0], dtype=torch.float32)

    def _scales(self, layer: Layer, weight: Tensor, bias: Tensor | None = None, step: Tensor | None = None) -> Tensor:
        given = self._kept[layer.weight]
        if given is not None:
            return given
        scales = rounding.weight_scales(weight, layer.bits, layer.axis)
        return scales if bias is None or step is None else rounding.room_for_bias(scales, bias, step)


def _params_of(site: Site, spec: QuantSpec | None) -> tuple[float, int] | None:
    if spec is None:
        return site.fixed
    return spec.values[site.name].scale, spec.values[site.name].zero_point


def _kept(layer: Layer, scales: Tensor) -> Weights:
    return Weights(bits=layer.bits, axis=layer.axis, scales=tuple(scales.reshape(-1).tolist()))  # type: ignore[arg-type]
