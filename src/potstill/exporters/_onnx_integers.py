"""What the operators of an integer model are in ONNX: QuantizeLinear and DequantizeLinear with the QuantSpec's own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.exporters._told import split

if TYPE_CHECKING:
    from torch import Tensor, nn

    from potstill.quant.spec import QuantSpec


def whole(module: nn.Module, quant: QuantSpec, example_BX: Tensor) -> nn.Module:
    """Return the model with its last part in integers.

    Raises:
        ExportError: it is no nn.Sequential of what is done before and the model.
    """
    from torch import nn

    from potstill.quant.real import realised

    before, model, read = split(module, example_BX)
    return nn.Sequential(before, realised(model, quant, read))


def table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return PyTorch operator -> its translation."""
    import torch
    from onnxscript import ir, opset18

    import potstill.quant.operators  # noqa: F401 - registers them

    op: Any = opset18

    def whole_number(value: int) -> Any:
        return ir.tensor(np.array(value, np.int32))

    def quantize(x: Any, scale: Any, zero: Any) -> Any:
        return op.QuantizeLinear(x, scale, zero)

    def dequantize(codes: Any, scale: Any, zero: Any) -> Any:
        return op.DequantizeLinear(codes, scale, zero)

    def dequantize_channels(codes: Any, scales: Any, zeros: Any, axis: int) -> Any:
        return op.DequantizeLinear(codes, scales, zeros, axis=axis)

    def dynamic_matmul(x: Any, codes: Any, scales: Any) -> Any:
        rounded, scale, zero = op.DynamicQuantizeLinear(x)
        middle = op.Cast(op.Constant(value_int=128), to=2)
        return op.Mul(op.Cast(op.MatMulInteger(rounded, codes, zero, middle), to=1), op.Mul(scales, scale))

    def unpack4(packed: Any, shape: Sequence[int]) -> Any:
        both = op.Cast(packed, to=6)
        high = op.Div(both, op.Constant(value=whole_number(16)))
        low = op.Sub(both, op.Mul(high, op.Constant(value=whole_number(16))))
        codes = op.Sub(op.Concat(low, high, axis=0), op.Constant(value=whole_number(8)))
        if math.prod(shape) % 2:
            zero, end = op.Constant(value_ints=[0]), op.Constant(value_ints=[math.prod(shape)])
            codes = op.Slice(codes, zero, end)
        return op.Cast(op.Reshape(codes, op.Constant(value_ints=list(shape))), to=3)

    def widen(x: Any) -> Any:
        return op.Cast(x, to=1)

    ours = torch.ops.potstill
    return {
        ours.quantize.default: quantize,
        ours.dequantize.default: dequantize,
        ours.dequantize_channels.default: dequantize_channels,
        ours.dynamic_matmul.default: dynamic_matmul,
        ours.unpack4.default: unpack4,
        ours.widen.default: widen,
    }


def optimise(program: Any) -> None:
    """Simplify the graph as the exporter would, but leave narrow numbers in the file: none is widened before it is loaded."""
    from onnxscript import ir
    from onnxscript.optimizer import optimize_ir

    narrow = {ir.DataType.FLOAT16, ir.DataType.INT8, ir.DataType.UINT8}

    def folds(node: ir.Node) -> bool | None:
        return False if any(_comes_from(value, narrow) for value in node.inputs) else None

    optimize_ir(program.model, should_fold=folds)


def shorten(proto: Any) -> None:
    """Leave out what runtimes find out themselves, shapes between the operators and names of nodes: of a small model more than half."""
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.name = ""


def _comes_from(value: Any, types: set[Any], depth: int = 12) -> bool:
    """Return whether a value is computed from weights of these types alone."""
    while value is not None and depth:
        if value.is_initializer():
            return value.dtype in types
        producer = value.producer()
        if producer is None or not producer.inputs:
            return False
        value, depth = producer.inputs[0], depth - 1
    return False
