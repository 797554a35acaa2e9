"""Which values of a graph are rounded, which weights, and what is left alone. Loads torch.

A group is an operator, the BatchNorm after it and an activation after that, where each is read by the next alone; only its end
is rounded, as integer runtimes compute it. What is known from the input's ids alone (masks, lengths) is never rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import fx

from potstill.core.errors import ExportError, PotstillError, nearest
from potstill.quant.graph import Traced, is_float, path_of, place_names, plain
from potstill.quant.spec import STATIC, Scheme

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
RECURRENT = ("gru", "lstm", "rnn_tanh", "rnn_relu")
ACTIVATIONS = ("relu", "relu6", "hardtanh")
FIXED = {"softmax": (1 / 256, -128), "_softmax": (1 / 256, -128), "sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0)}
"""Operators whose range is known: (scale, zero point), as integer runtimes have it."""
SAME = ("avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d")
"""Operators rounded with the range of what they read."""
PASSES = ("reshape", "view", "flatten", "unflatten", "transpose", "permute", "slice", "select", "unsqueeze", "squeeze", "expand",
          "contiguous", "clone", "alias", "detach", "dropout", "max_pool1d", "max_pool2d", "relu", "amax", "getitem", "chunk", "split",
          "unbind", "narrow", "t", "movedim", "repeat", "numpy_T", "mT", "pad", "constant_pad_nd", "to", "gather", "index_select")  # fmt: skip
"""Operators that give some of the values that they read, or zero: on the grid already."""
INPUT = "input"
"""Place of what the model reads."""


@dataclass(frozen=True)
class Site:
    """A place whose values are rounded."""

    name: str
    node: str
    """Whose output it is."""
    fixed: tuple[float, int] | None = None
    """Scale and zero point where they are known."""


@dataclass(frozen=True)
class Layer:
    """An operator with weights that are kept in few bits."""

    path: str
    """Of its module; names it for the user."""
    weight: str
    """The module's own name of the parameter."""
    weight_node: str
    operator: str
    axis: int | None
    bits: int
    bias: str | None = None
    """Node of the bias."""
    norm: tuple[str | None, str | None, str, str, float] | None = None
    """Nodes of the BatchNorm that is folded in: scale, shift, mean, variance; epsilon."""


@dataclass
class Plan:
    """What is done to a graph."""

    scheme: Scheme
    sites: dict[str, Site] = field(default_factory=dict)
    """By name, in the order of the graph."""
    after: dict[str, str] = field(default_factory=dict)
    """Node -> site whose rounding everybody who reads it sees."""
    edges: dict[tuple[str, str], str] = field(default_factory=dict)
    """(reader, node) -> site whose rounding this reader alone sees: of a layer left in float, read by one that is not."""
    grid: dict[str, str] = field(default_factory=dict)
    """Node -> site on whose codes its values lie."""
    layers: dict[str, Layer] = field(default_factory=dict)
    """Node of the operator -> its weights."""
    constants: dict[str, Layer] = field(default_factory=dict)
    """Node of a parameter that is added to or multiplied with values -> how it is kept."""
    skipped: set[str] = field(default_factory=set)
    """BatchNorms that are folded in: they pass on what they read."""
    float_layers: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        """Return the paths of the layers with weights, in the order of the graph."""
        return list(dict.fromkeys(layer.path for layer in self.layers.values()))


def make_plan(traced: Traced, scheme: Scheme, float_layers: Sequence[str] = ()) -> Plan:
    """Return the plan of a scheme.

    Args:
        traced: the graph.
        scheme: of integers.
        float_layers: paths of modules, each with all in it, that stay in float.

    Raises:
        PotstillError: a path names no module with an operator in it.
        ExportError: a layer has no integer kernel and is not left in float.
    """
    planner = _Planner(traced, scheme, tuple(float_layers))
    planner.check_paths()
    for node in traced.nodes:
        planner.visit(node)
    return planner.plan


class _Planner:
    def __init__(self, traced: Traced, scheme: Scheme, float_layers: tuple[str, ...]) -> None:
        self.traced, self.static = traced, scheme in STATIC
        self.plan = Plan(scheme, float_layers=float_layers)
        self.names = place_names(traced.nodes)
        self.by_name = {n.name: n for n in traced.nodes}
        self.in_group: set[str] = set()
        self.valued = set(traced.parameters)
        self.used: dict[str, Layer] = {}
        source = next(n for n in traced.nodes[0].graph.nodes if n.name == traced.source)
        if is_float(source):
            self.valued.add(traced.source)
            if self.static and not self._all_float(source):
                self._round(source, INPUT)

    def check_paths(self) -> None:
        known = {n for node in self.traced.nodes for n in _above(path_of(node))}
        for path in self.plan.float_layers:
            if path not in known:
                raise PotstillError(
                    f"quantize.float_layers: must name modules of the student; got {path!r}. {nearest(path, known)}"
                    f"Allowed: {', '.join(sorted(known)[:20])}"
                )

    def visit(self, node: fx.Node) -> None:
        reads = [n.name for n in node.all_input_nodes]
        if any(name in self.valued for name in reads):
            self.valued.add(node.name)
        if node.name in self.in_group:
            return
        group = self._group(node)
        self.in_group |= {n.name for n in group}
        self.valued |= {n.name for n in group if node.name in self.valued}
        if not self._stays_float(node):
            self._weights(node, group)
        if self.static:
            self._values(node, group[-1])

    def _stays_float(self, node: fx.Node) -> bool:
        return any(path in self.plan.float_layers for path in _above(path_of(node)))

    def _all_float(self, source: fx.Node) -> bool:
        return all(self._stays_float(n) for n in source.users if n.op == "call_function")

    def _group(self, node: fx.Node) -> list[fx.Node]:
        """Return a node and what is computed with it before anything is rounded."""
        group = [node]
        if plain(node) in PASSES or not is_float(node):
            return group
        if plain(node) in (*CONVOLUTIONS, "linear"):
            then = _only_reader(node)
            if then is not None and plain(then) == "batch_norm" and then.args[0] is node:
                group.append(then)
        then = _only_reader(group[-1])
        if then is not None and plain(then) in ACTIVATIONS and plain(node) not in FIXED:
            group.append(then)
        return group

    def _weights(self, node: fx.Node, group: list[fx.Node]) -> None:
        kind = plain(node)
        if kind in RECURRENT:
            self._recurrent(node, kind)
        elif kind in (*CONVOLUTIONS, "linear", "embedding"):
            weight = node.args[0 if kind == "embedding" else 1]
            if not isinstance(weight, fx.Node) or weight.name not in self.traced.parameters:
                return
            bits = 4 if self.plan.scheme == "int4_conv" and kind in CONVOLUTIONS else 8
            bias = node.args[2] if kind != "embedding" and len(node.args) > 2 else None
            norm = None
            if len(group) > 1 and plain(group[1]) == "batch_norm":
                args = [a.name if isinstance(a, fx.Node) else None for a in group[1].args[1:5]]
                assert args[2] is not None and args[3] is not None
                norm = (args[0], args[1], args[2], args[3], float(group[1].args[7]))  # type: ignore[arg-type]
                self.plan.skipped.add(group[1].name)
            layer = Layer(
                self._owner(weight.name), self.traced.tensors[weight.name], weight.name, kind, 0, bits,
                bias.name if isinstance(bias, fx.Node) else None, norm,
            )  # fmt: skip
            self._keep(node.name, layer)
        elif self.static and kind in ("add", "mul", "sub"):
            for arg in node.args[:2]:
                if isinstance(arg, fx.Node) and arg.name in self.traced.parameters:
                    name = self.traced.tensors[arg.name]
                    self.plan.constants[arg.name] = Layer(self._owner(arg.name), name, arg.name, "constant", None, 8)

    def _recurrent(self, node: fx.Node, kind: str) -> None:
        path = path_of(node)
        if self.static:
            raise ExportError(
                f"quantize.scheme: {self.plan.scheme} needs integer kernels for every layer; got {kind!r} in module {path!r}, which "
                f"has none in the runtimes. Use scheme: int8_dynamic (its weights in 8 bits, computed in float) or float16, or "
                f"leave it in float with float_layers: [{path}]."
            )
        for weight in node.args[2] if isinstance(node.args[2], (list, tuple)) else ():
            value = weight.meta["val"] if isinstance(weight, fx.Node) else None
            if isinstance(weight, fx.Node) and value is not None and value.ndim == 2:
                layer = Layer(path, self.traced.tensors[weight.name], weight.name, kind, 0, 8)
                self.plan.constants[weight.name] = layer

    def _keep(self, node: str, layer: Layer) -> None:
        """A parameter that several operators read is kept in few bits only where all read it alike; else it stays in float."""
        before = self.used.setdefault(layer.weight, layer)
        if (before.operator, before.axis, before.norm) == (layer.operator, layer.axis, layer.norm):
            self.plan.layers[node] = layer
            return
        self.plan.layers = {n: other for n, other in self.plan.layers.items() if other.weight != layer.weight}

    def _owner(self, node: str) -> str:
        return self.traced.tensors[node].rpartition(".")[0]

    def _values(self, node: fx.Node, end: fx.Node) -> None:
        """Decide about the values that a group gives."""
        if node.name not in self.valued:
            return
        reads = next(
            (n for n in node.all_input_nodes if n.name in self.valued and n.name not in self.traced.parameters), None
        )
        kind, plan = plain(node), self.plan
        if kind in PASSES and len(node.all_input_nodes) >= 1 and _pads_zero(node):
            if reads is not None and reads.name in plan.grid:
                plan.grid[node.name] = plan.grid[reads.name]
            return
        if not is_float(end):
            return
        if node.name in plan.layers and reads is not None and reads.name not in plan.grid and kind != "embedding":
            plan.edges[node.name, reads.name] = self._site(reads)
        if self._stays_float(node) or self._masks(node):
            return
        if kind in SAME and reads is not None and reads.name in plan.grid and end is node:
            plan.after[node.name] = plan.grid[node.name] = plan.grid[reads.name]
            return
        self._round(end, self.names[end.name], FIXED.get(kind) if end is node else None)

    def _masks(self, node: fx.Node) -> bool:
        """Return whether a node adds what is known from ids alone, such as -10,000 where there is no token: the sum has no useful
        range, and what reads it (softmax, the largest value) is rounded instead."""
        return plain(node) in ("add", "sub", "rsub") and any(
            is_float(n) and n.name not in self.valued for n in node.all_input_nodes
        )

    def _site(self, node: fx.Node) -> str:
        name = INPUT if node.name == self.traced.source else self.names[node.name]
        self.plan.sites.setdefault(name, Site(name, node.name))
        return name

    def _round(self, node: fx.Node, name: str, fixed: tuple[float, int] | None = None) -> None:
        self.plan.sites[name] = Site(name, node.name, fixed)
        self.plan.after[node.name] = self.plan.grid[node.name] = name


def _only_reader(node: fx.Node) -> fx.Node | None:
    readers = [n for n in node.users if n.op == "call_function"]
    return readers[0] if len(node.users) == 1 and len(readers) == 1 else None


def _pads_zero(node: fx.Node) -> bool:
    """Return False of padding with something else than zero, whose result is on no grid."""
    if plain(node) not in ("pad", "constant_pad_nd"):
        return True
    given = [a for a in (*node.args[2:], *node.kwargs.values()) if a is not None]
    return all(a in ("constant", 0, 0.0) for a in given)


def _above(path: str) -> list[str]:
    """Return a path and those of the modules around it."""
    parts = path.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))] if path else []
