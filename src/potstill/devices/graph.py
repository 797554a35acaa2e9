"""A model as operators and tensors, whatever file it came from, and what it costs. Counts are of one sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from potstill.devices.cost import INT8, Cost

ALIASES = frozenset({"Identity", "Dropout", "DequantizeLinear"})
"""Operators that a runtime does not run as such; their output is their input."""
VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators whose output is the input's bytes."""
ACTIVATIONS = frozenset({
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Gelu", "Mish", "Swish",
    "BatchNormalization",
})  # fmt: skip
"""Operators that join the convolution or product before them."""
ELEMENTWISE = ACTIVATIONS | {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Softmax",
    "LayerNormalization",
    "Sqrt",
    "Exp",
    "Neg",
    "Abs",
    "Pow",
    "Erf",
}
"""Operators that may write over an input that ends there."""


@dataclass(frozen=True)
class Tensor:
    """A tensor that is computed, or an input."""

    elements: int
    itemsize: float
    """Bytes of an element."""

    @property
    def bytes(self) -> int:
        """Bytes of the whole."""
        return int(self.elements * self.itemsize)


@dataclass(frozen=True)
class Op:
    """An operator; weights are not among what it reads."""

    kind: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    macs: int = 0
    macs_class: str = ""
    """conv, pw, dw, fc, attention (a product of two activations) or recurrent."""


@dataclass(frozen=True)
class Graph:
    """Operators in an order in which they can run."""

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    params: int
    vector_params: int
    """Those of biases and scales, which stay wider than 8 bits in an integer model."""
    weight_bytes: int
    dtype: str
    """Of the weights: float32, float16 or int8."""


def cost_of(graph: Graph, name: str) -> Cost:
    """Return what a graph costs.

    Layers are counted as ncnn counts them, whose rows know no other count: operators, with activations and BatchNorm in the convolution
    or product before them, every input, and a split of every tensor with several readers. Activations are the elements of all that
    these give, splits left out. The peak is the most that whole inputs and outputs of an operator and all that later ones wait for take
    at once, in the file's order, elementwise operators writing over an input that ends there: a runtime that works in patches or in
    place of others needs less, its own buffers come on top.
    """
    graph = _folded(_without_aliases(graph))
    readers = Counter(name for op in graph.ops for name in op.reads)
    macs: dict[str, int] = {}
    for op in graph.ops:
        if op.macs:
            macs[op.macs_class] = macs.get(op.macs_class, 0) + op.macs
    splits = sum(count > 1 for count in readers.values())
    given = sum(graph.tensors[n].elements for op in graph.ops for n in op.gives)
    return Cost(
        name=name,
        dtype=_dtype(graph),
        macs_by_class=macs,
        layers=len(graph.ops) + len(graph.inputs) + splits,
        activation_elements=given + sum(graph.tensors[n].elements for n in graph.inputs),
        params=graph.params,
        vector_params=graph.vector_params,
        weight_bytes=graph.weight_bytes,
        peak_activation_bytes=_peak(graph),
    )


def _dtype(graph: Graph) -> str:
    """Return the weights' dtype; int8 only where the largest operator reads integers too, else float32 is what is computed in."""
    largest = max(graph.ops, key=lambda op: op.macs, default=None)
    wide = largest is not None and any(graph.tensors[n].itemsize > 1 for n in largest.reads)
    return "float32" if graph.dtype == INT8 and wide else graph.dtype


def _without_aliases(graph: Graph) -> Graph:
    """Drop operators that only rename: a dequantised tensor is the one in integers, and so is one that is only quantised."""
    readers = Counter(name for op in graph.ops for name in op.reads)
    bound = {*graph.inputs, *graph.outputs}
    name_of: dict[str, str] = {}
    made_by: dict[str, int] = {}
    kept: list[Op] = []
    for op in graph.ops:
        source = op.reads[0] if op.reads else ""
        if op.kind in ALIASES:
            name_of[op.gives[0]] = name_of.get(source, source)
        elif op.kind == "QuantizeLinear" and source in made_by and readers[source] == 1 and source not in bound:
            place = made_by[source]
            kept[place] = replace(
                kept[place], gives=tuple(op.gives[0] if n == source else n for n in kept[place].gives)
            )
        else:
            made_by.update(dict.fromkeys(op.gives, len(kept)))
            kept.append(replace(op, reads=tuple(name_of.get(n, n) for n in op.reads)))
    return replace(graph, ops=tuple(kept), outputs=tuple(name_of.get(n, n) for n in graph.outputs))


def _folded(graph: Graph) -> Graph:
    """Join activations and BatchNorm with the operator of MACs before them whose only reader they are."""
    readers = Counter(name for op in graph.ops for name in op.reads)
    made_by: dict[str, int] = {}
    kept: list[Op] = []
    for op in graph.ops:
        source = op.reads[0] if len(op.reads) == 1 else ""
        place = made_by.get(source, -1)
        if (
            op.kind in ACTIVATIONS
            and place >= 0
            and kept[place].macs
            and readers[source] == 1
            and source not in graph.outputs
        ):
            kept[place] = replace(kept[place], gives=op.gives)
        else:
            place = len(kept)
            kept.append(op)
        made_by.update(dict.fromkeys(op.gives, place))
    return replace(graph, ops=tuple(kept))


def _peak(graph: Graph) -> int:
    """Return the most bytes that are live at any operator."""
    root: dict[str, str] = {}
    for op in graph.ops:
        if op.kind in VIEWS and op.reads:
            root[op.gives[0]] = root.get(op.reads[0], op.reads[0])

    def roots(names: Iterable[str]) -> set[str]:
        return {root.get(n, n) for n in names}

    first = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = {}
    for now, op in enumerate(graph.ops):
        for name in roots(op.gives):
            first.setdefault(name, now)
        last.update(dict.fromkeys(roots([*op.reads, *op.gives]), now))
    last.update(dict.fromkeys(roots(graph.outputs), len(graph.ops)))
    most = 0
    for now, op in enumerate(graph.ops):
        live = sum(graph.tensors[n].bytes for n, start in first.items() if start <= now <= last.get(n, -1))
        if op.kind in ELEMENTWISE and op.gives:
            made = root.get(op.gives[0], op.gives[0])
            size = graph.tensors[made].bytes
            ends = any(last[n] == now and graph.tensors[n].bytes >= size for n in roots(op.reads) - {made})
            live -= size if ends else 0
        most = max(most, live)
    return most
