"""Running a traced graph with other weights and with rounded values between its operators. Loads torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from potstill.quant.graph import Traced, function, plain
from potstill.quant.plan import PASSES, Layer, Plan


class Walk(nn.Module):
    """[B, *X] -> [B, *Y], operator by operator; what is done with weights and values is for who inherits to say.

    Args:
        traced: the graph.
        plan: of it.
    """

    def __init__(self, traced: Traced, plan: Plan) -> None:
        super().__init__()
        self.traced, self.plan = traced, plan
        self._input_of = {n.name: _first(n, traced) for n in traced.nodes}
        self._last = _last_readers(traced)

    def unrounded(self) -> list[str]:
        """Return the parameters, buffers and constants that are read as they are, by node, each once."""
        plan, traced = self.plan, self.traced
        in_layers = {
            n for layer in plan.layers.values() for n in (layer.weight_node, layer.bias, *(layer.norm or ())[:4])
        }
        found: dict[str, None] = {}
        for node in traced.nodes:
            for name in (read.name for read in node.all_input_nodes):
                free = name in traced.tensors or name in traced.constants
                skip = node.name in plan.skipped or (node.name in plan.layers and name in in_layers)
                if free and not skip and name not in plan.constants:
                    found[name] = None
        return [*found]

    @abstractmethod
    def weights(self, layer: Layer, input_site: str | None) -> tuple[Any, Any]:
        """Return (weight, bias) of a layer, the BatchNorm after it folded in.

        Args:
            layer: of the plan.
            input_site: whose codes it reads, None where it reads float values.
        """

    @abstractmethod
    def tensor(self, node: str) -> Any:
        """Return a parameter, buffer or constant that is read as it is, or as the plan keeps it."""

    @abstractmethod
    def rounded(self, site: str, x: Tensor, first: bool) -> Tensor:
        """Return values rounded at a site; `first` where they are not on its codes already."""

    def layer(self, node: fx.Node, layer: Layer, x: Tensor, site: str | None) -> Tensor:
        """Return what a convolution or linear layer gives."""
        weight, bias = self.weights(layer, site)
        out: Tensor = function(node)(x, weight, bias, *node.args[3:], **node.kwargs)
        return out

    def embedded(self, layer: Layer, ids: Tensor) -> Tensor:
        """Return rows of a table."""
        return F.embedding(ids, self.weights(layer, None)[0])

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, *X] -> [B, *Y]."""
        plan, env = self.plan, {self.traced.source: inputs_BX}
        if self.traced.source in plan.after:
            env[self.traced.source] = self.rounded(plan.after[self.traced.source], inputs_BX, True)
        for node in self.traced.nodes:
            out = self._computed(node, env)
            if node.name in plan.after:
                out = self.rounded(plan.after[node.name], out, True)
            elif (
                node.name in plan.grid
                and plain(node) in PASSES
                and isinstance(out, Tensor)
                and plain(node) != "dropout"
            ):
                out = self.rounded(plan.grid[node.name], out, False)
            env[node.name] = out
            for name in self._last.get(node.name, ()):
                del env[name]
        result: Tensor = env[self.traced.result.name]
        return result

    def _computed(self, node: fx.Node, env: dict[str, Any]) -> Any:
        plan, kind = self.plan, plain(node)
        layer = plan.layers.get(node.name)
        if layer is not None and kind == "embedding":
            return self.embedded(layer, self._value(node.args[1], env))
        if layer is not None:
            source = self._input_of[node.name]
            x = self._value(node.args[0], env)
            site = plan.edges.get((node.name, source))
            if site is not None:
                x = self.rounded(site, x, True)
            return self.layer(node, layer, x, site or plan.grid.get(source))
        if node.name in plan.skipped:
            return self._value(node.args[0], env)
        if kind == "dropout":
            x = self._value(node.args[0], env)
            # Left out where it does nothing: between codes and what reads them, converters no longer see that these belong together.
            return F.dropout(x, float(node.args[1]), True) if self.training else x  # type: ignore[arg-type]
        args = fx.node.map_aggregate(node.args, lambda a: self._value(a, env))
        kwargs = fx.node.map_aggregate(node.kwargs, lambda a: self._value(a, env))
        return self.called(node, args, kwargs)

    def called(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Return what an operator without weights of the plan gives, or a recurrent one."""
        return function(node)(*args, **kwargs)

    def _value(self, arg: Any, env: dict[str, Any]) -> Any:
        if not isinstance(arg, fx.Node):
            return arg
        return env[arg.name] if arg.name in env else self.tensor(arg.name)


def _first(node: fx.Node, traced: Traced) -> str:
    """Return the name of the first thing a node reads that was computed."""
    found = next(
        (n.name for n in node.all_input_nodes if n.name not in traced.tensors and n.name not in traced.constants), ""
    )
    return found


def _last_readers(traced: Traced) -> dict[str, list[str]]:
    """Return node -> the values that nobody reads after it."""
    last: dict[str, str] = {}
    for node in traced.nodes:
        last[node.name] = node.name
        for read in node.all_input_nodes:
            last[read.name] = node.name
    out: dict[str, list[str]] = {}
    held = {*traced.tensors, *traced.constants, traced.result.name}
    for value, reader in last.items():
        if value not in held:
            out.setdefault(reader, []).append(value)
    return out
