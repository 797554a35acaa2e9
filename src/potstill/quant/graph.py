"""A module as a graph of PyTorch's operators, traced in eval mode with an open batch. Loads torch."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from potstill.core.errors import ExportError

_IN_PLACE = {"relu_": "relu", "relu6_": "relu6", "hardtanh_": "hardtanh", "add_": "add", "mul_": "mul", "sub_": "sub", "div_": "div",
             "silu_": "silu", "hardswish_": "hardswish", "sigmoid_": "sigmoid", "tanh_": "tanh", "gelu_": "gelu", "clamp_": "clamp",
             "dropout_": "dropout", "leaky_relu_": "leaky_relu", "elu_": "elu", "detach_": "detach"}  # fmt: skip
"""Operators that write over their input, and what gives the same without."""


@dataclass(frozen=True)
class Traced:
    """A graph and where its tensors come from."""

    module: nn.Module
    nodes: list[fx.Node]
    """Operators in order; those that only assert are left out."""
    source: str
    """Name of the node that is the input."""
    result: fx.Node
    """The node that is the output."""
    tensors: dict[str, str]
    """Name of a node -> the module's own name of the parameter or buffer that it is."""
    parameters: frozenset[str]
    """Of these, the nodes that are parameters."""
    constants: dict[str, Tensor] = field(default_factory=dict)
    """Name of a node -> a tensor that the module made while it was traced."""

    def tensor(self, node: str) -> Tensor:
        """Return the parameter, buffer or constant that a node is."""
        if node in self.constants:
            return self.constants[node]
        found = attribute(self.module, self.tensors[node])
        assert isinstance(found, Tensor)
        return found


def attribute(module: nn.Module, path: str) -> Any:
    """Return what a dotted path in a module names."""
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part)
    return found


def trace(module: nn.Module, example_BX: Tensor) -> Traced:
    """Return the graph of a module; it is left in eval mode.

    Args:
        module: [B, *X] -> [B, *Y].
        example_BX: at least 2 rows.

    Raises:
        ExportError: it cannot be traced, has several outputs, or writes over its inputs in a way that is not known.
    """
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = torch.export.Dim("batch", min=1)
            program = torch.export.export(module, (example_BX,), dynamic_shapes=({0: batch},))
    except Exception as err:
        said = next((line.strip() for line in str(err).splitlines() if line.strip()), "")
        raise ExportError(
            f"quantize: the student must be traceable by torch.export with an open batch; got {type(err).__name__}: "
            f"{said[:300]}. Change its forward, or use scheme: float16, which needs no graph."
        ) from err
    signature = program.graph_signature
    tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = dict(signature.inputs_to_lifted_tensor_constants)
    source = signature.user_inputs[0]
    if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1 or signature.buffers_to_mutate:
        raise ExportError(
            f"quantize: the student must turn one input into one output and write to no buffer; got {len(signature.user_inputs)} "
            f"inputs, {len(signature.user_outputs)} outputs and {len(signature.buffers_to_mutate)} buffers written."
        )
    nodes = [n for n in program.graph.nodes if n.op == "call_function" and not _asserts(n)]
    for node in nodes:
        if operator(node).endswith("_") and not operator(node).endswith("__") and operator(node) not in _IN_PLACE:
            raise ExportError(
                f"quantize: the student must write over no tensor that is read again; got operator {operator(node)!r} in module "
                f"{path_of(node)!r}. Write it without the trailing underscore."
            )
    result = next(n for n in program.graph.nodes if n.op == "output").args[0][0]
    return Traced(
        module, nodes, str(source), result, tensors, frozenset(signature.inputs_to_parameters),
        {name: program.constants[target] for name, target in lifted.items()},
    )  # fmt: skip


def _asserts(node: fx.Node) -> bool:
    return operator(node).startswith(("_assert", "sym_constrain"))


def operator(node: fx.Node) -> str:
    """Return the operator's name without library and overload: "conv2d"."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(packet.__name__ if packet is not None else getattr(node.target, "__name__", node.target))


def plain(node: fx.Node) -> str:
    """Return `operator`, of one in place the name of what gives the same."""
    return _IN_PLACE.get(operator(node), operator(node))


def function(node: fx.Node) -> Any:
    """Return what computes a node, without writing over anything."""
    name = operator(node)
    if name in _IN_PLACE:
        return getattr(getattr(torch.ops.aten, _IN_PLACE[name]), node.target._overloadname)  # type: ignore[union-attr]
    return node.target


def path_of(node: fx.Node) -> str:
    """Return the path of the innermost module whose forward a node is part of; "" of the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    found = str(list(stack.values())[-1][0]) if stack else ""
    return "" if found.startswith("_empty") else found


def is_float(node: fx.Node) -> bool:
    """Return whether a node gives one float32 tensor."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype == torch.float32


def place_names(nodes: list[fx.Node]) -> dict[str, str]:
    """Return node -> its name in a QuantSpec: path/operator, numbered from the second of a name on."""
    seen: Counter[str] = Counter()
    names = {}
    for node in nodes:
        name = f"{path_of(node)}/{plain(node)}"
        seen[name] += 1
        names[node.name] = name if seen[name] == 1 else f"{name}.{seen[name]}"
    return names
