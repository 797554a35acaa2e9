"""Operators that work value by value, and those between codes and float32 at the edges of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from potstill.mcu._checks import codes, dense, limits, one_to_four, values
from potstill.mcu.code import Arg, Call, Constant, Raw, Value
from potstill.mcu.model import Model, Op, Tensor
from potstill.mcu.numbers import multiplier

UNARY = frozenset({"LOGISTIC", "TANH", "HARD_SWISH", "RELU", "RELU6", "LEAKY_RELU", "ELU", "ABS", "RSQRT"})  # fmt: skip
"""Operators of one int8 tensor, each code by itself, that TensorFlow Lite Micro has: they become a table of its answers."""
_FLOAT = {"ADD": "PS_FLOAT_ADD", "SUB": "PS_FLOAT_SUB", "MUL": "PS_FLOAT_MUL", "DIV": "PS_FLOAT_DIV"}


def _steps(model: Model, op: Op, t: Tensor, shape: Sequence[int]) -> list[int]:
    """Return the steps of an operand that is repeated along the output's shape."""
    own = (1,) * (len(shape) - len(t.shape)) + t.shape
    if len(own) > len(shape) or any(a not in (1, b) for a, b in zip(own, shape, strict=True)):
        raise model.refuse(op, f"must repeat its operands to {tuple(shape)}", f"{t.shape}")
    return [0 if a == 1 else s for a, s in zip(own, dense(own), strict=True)]


def binary(model: Model, op: Op) -> Iterator[Call]:
    """A sum, difference or product of two tensors, one of which may be constant, and one repeated."""
    first = model.tensors[op.inputs[0]], model.tensors[op.inputs[1]], model.tensors[op.outputs[0]]
    if first[2].dtype == "float32":
        yield from _float_binary(model, op)
        return
    a, b, y = codes(model, op, *op.inputs[:2], op.outputs[0])
    if op.kind == "DIV":
        raise model.refuse(op, "must not divide codes", "DIV on int8. Multiply by a constant, or divide on the host")
    low, high = limits(model, op, y)
    product = op.kind == "MUL"
    if product:
        scaled = [(0, 0), (0, 0), multiplier(a.scale * b.scale / y.scale)]
    else:
        twice = 2 * max(a.scale, b.scale)
        scaled = [multiplier(a.scale / twice), multiplier(b.scale / twice), multiplier(twice / ((1 << 20) * y.scale))]
    if any(right < 0 for _, right in scaled):
        raise model.refuse(
            op, "must give codes of no finer a scale than its factors need", f"{a.scale:g}, {b.scale:g} -> {y.scale:g}"
        )
    dims, a_step, b_step, _ = one_to_four(
        model, op, y.shape, _steps(model, op, a, y.shape), _steps(model, op, b, y.shape), dense(y.shape)
    )
    shape = Constant("ps_binary_t", [dims, a_step, b_step, a.zero, b.zero, y.zero, low, high, *(m for m, _ in scaled),
                                     *(r for _, r in scaled), int(op.kind == "SUB")], struct=True)  # fmt: skip
    over = tuple(i for i, t in zip(op.inputs, (a, b), strict=False) if t.data is None and t.size == y.size)
    yield Call(op, "ps_mul_s8" if product else "ps_add_s8", [shape, _operand(model, op.inputs[0]), _operand(model, op.inputs[1]),
               Value(op.outputs[0])], over=over, counts={"code": y.size, "row": y.size // dims[3]})  # fmt: skip


def _operand(model: Model, index: int) -> Arg:
    data = model.tensors[index].data
    return Value(index) if data is None else Constant("int8_t", data)


def _float_binary(model: Model, op: Op) -> Iterator[Call]:
    commutes = op.kind in ("ADD", "MUL")
    x, c = op.inputs[:2]
    if commutes and model.tensors[x].data is not None:
        x, c = c, x
    a, b, y = model.tensors[x], model.tensors[c], model.tensors[op.outputs[0]]
    if (
        a.data is not None
        or b.data is None
        or a.size != y.size
        or {a.dtype, b.dtype} != {"float32"}
        or op.whole("activation")
    ):
        raise model.refuse(op, "must be in int8, or in float32 at an edge of the model with a constant and no activation", f"{a.dtype} and {b.dtype}. Quantise it whole "
                           "(int8_static_per_channel), or keep what is in float on the host")  # fmt: skip
    dims, b_step, _ = one_to_four(model, op, y.shape, _steps(model, op, b, y.shape), dense(y.shape))
    shape = Constant("ps_copy_t", [dims, b_step, [0, 0, 0, 0]], struct=True)
    yield Call(op, "ps_float_binary", [Raw(_FLOAT[op.kind]), shape, Value(x), Constant("float", b.data), Value(op.outputs[0])],
               over=(x,), counts={"code": y.size})  # fmt: skip


def quantise(model: Model, op: Op) -> Iterator[Call]:
    """Codes of float32."""
    x, y = model.tensors[op.inputs[0]], *codes(model, op, op.outputs[0])
    if x.dtype != "float32" or x.data is not None:
        raise model.refuse(op, "must make int8 codes of float32 or int8 that is computed", x.dtype)
    yield Call(op, "ps_quantize_s8", [x.size, Raw(real(y.scale)), y.zero, Value(op.inputs[0]), Value(op.outputs[0])],
               counts={"code": x.size})  # fmt: skip


def dequantise(model: Model, op: Op) -> Iterator[Call]:
    """float32 of codes."""
    (x,) = values(model, op, op.inputs[0])
    y = model.tensors[op.outputs[0]]
    if y.dtype != "float32":
        raise model.refuse(op, "must make float32 of int8 codes", y.dtype)
    yield Call(op, "ps_dequantize_s8", [x.size, Raw(real(x.scale)), x.zero, Value(op.inputs[0]), Value(op.outputs[0])],
               counts={"code": x.size})  # fmt: skip


def unary(model: Model, op: Op, table: Sequence[int]) -> Iterator[Call]:
    """What each code becomes, by a table of 256."""
    x, _ = values(model, op, op.inputs[0], op.outputs[0])
    yield Call(op, "ps_table_s8", [x.size, Constant("int8_t", table), Value(op.inputs[0]), Value(op.outputs[0])],
               over=(op.inputs[0],), counts={"code": x.size})  # fmt: skip


def real(value: float) -> str:
    """Return a float32 as C, exactly."""
    return f"{float(np.float32(value)).hex()}f"
