"""From a graph to calls of kernels; what no kernel does is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from potstill.mcu import _layers, _moves, _pointwise
from potstill.mcu.code import Call, Program
from potstill.mcu.model import Model, Op
from potstill.mcu.oracle import tables

Tables: TypeAlias = Callable[[Model, Sequence[Op]], dict[int, list[int]]]
"""What unary operators make of each code, by the operator's index."""
VIEWS = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
_LOWERED: dict[str, Callable[[Model, Op], Iterator[Call]]] = {
    "CONV_2D": _layers.conv,
    "DEPTHWISE_CONV_2D": _layers.depthwise,
    "FULLY_CONNECTED": _layers.fully_connected,
    "AVERAGE_POOL_2D": _layers.pool,
    "MAX_POOL_2D": _layers.pool,
    "MEAN": _layers.mean,
    "SUM": _layers.mean,
    "SOFTMAX": _layers.softmax,
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), _pointwise.binary),
    "QUANTIZE": _pointwise.quantise,
    "DEQUANTIZE": _pointwise.dequantise,
    "TRANSPOSE": _moves.transpose,
    "CONCATENATION": _moves.concatenation,
    "PAD": _moves.pad,
    "SPLIT": _moves.split,
    "SPLIT_V": _moves.split,
    "SLICE": _moves.cut,
    "STRIDED_SLICE": _moves.cut,
    "RESIZE_NEAREST_NEIGHBOR": _moves.resize,
}
_INSTEAD = {
    "BATCH_MATMUL": "Attention multiplies two computed tensors: use ds-cnn, resnet, mobilenet-v2 or tcn",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "Use a convolution over time: tcn or ds-cnn-1d",
    "LSTM": "Use a convolution over time: tcn or ds-cnn-1d",
    "WHILE": "A recurrent layer loops: use a convolution over time, tcn or ds-cnn-1d",
    "GELU": "Use ReLU, SiLU or hard-swish",
    "GATHER": "Look tokens up on the host",
    "EMBEDDING_LOOKUP": "Look tokens up on the host",
    "RESIZE_BILINEAR": "Use the nearest neighbour",
}
KINDS = frozenset(_LOWERED) | VIEWS | _pointwise.UNARY
"""Operators that are expressed in C."""


def lower(model: Model, tables_of: Tables = tables) -> Program:
    """Return the calls of a model.

    Args:
        model: checked by the reader.
        tables_of: gives the tables of unary operators.

    Raises:
        ExportError: an operator, a type or a shape has no kernel; names its place, its layer, the reason and what to use instead.
    """
    calls: list[Call] = []
    _check_kinds(model)
    table = tables_of(model, [op for op in model.ops if _tabled(model, op)])
    views: dict[int, int] = {}
    for op in model.ops:
        if op.kind in VIEWS:
            x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
            if x.data is not None or x.size != y.size or x.dtype != y.dtype:
                raise model.refuse(op, "must keep the elements of a tensor that is computed", f"{x.shape} -> {y.shape}")
            views[op.outputs[0]] = op.inputs[0]
        elif op.index in table:
            calls += _pointwise.unary(model, op, table[op.index])
        else:
            calls += _LOWERED[op.kind](model, op)
    for i in (*model.inputs, *model.outputs):
        if model.tensors[i].data is not None or model.tensors[i].dtype not in ("int8", "float32"):
            raise model.refuse(
                model.ops[-1],
                "must read and give int8 or float32",
                f"{model.tensors[i].dtype} {model.tensors[i].name!r}",
            )
    taps = max((call.counts["taps"] for call in calls if "taps" in call.counts), default=0)
    return Program(model, tuple(calls), views, taps)


def _check_kinds(model: Model) -> None:
    for op in model.ops:
        if op.kind not in KINDS:
            more = _INSTEAD.get(op.kind, "")
            raise model.refuse(
                op, f"must be one of {', '.join(sorted(KINDS))}", op.kind + (f". {more}" if more else "")
            )


def _tabled(model: Model, op: Op) -> bool:
    return op.kind in _pointwise.UNARY or (op.kind == "QUANTIZE" and model.tensors[op.inputs[0]].dtype == "int8")
