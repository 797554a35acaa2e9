"""Integer arithmetic of each operator in NumPy, written from the rules of TensorFlow Lite's reference kernels and from nothing that
generates C: what generated code is compared with beside TensorFlow Lite Micro, from which its tables of unary operators come.

Every result is rounded twice: to the high half of a doubled product, then by a shift; both to nearest, halves away from zero in the
shift. Shapes are those of the operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.mcu.model import Model, Op, Tensor

Codes = NDArray[Any]
APPROXIMATE = frozenset({"LOGISTIC", "TANH", "HARD_SWISH", "EXP", "RSQRT", "SQRT", "ELU", "SOFTMAX"})
"""Operators that TensorFlow Lite Micro computes in fixed point: the reference rounds the real value, so codes may be one apart."""


def run(model: Model, inputs: Sequence[Codes]) -> list[Codes]:
    """Return what a model of int8 codes (float32 at its edges) gives for one array per input."""
    held: dict[int, Codes] = {i: t.data for i, t in enumerate(model.tensors) if t.data is not None}
    held.update(zip(model.inputs, (np.asarray(x) for x in inputs), strict=True))
    for op in model.ops:
        found = _RULES[op.kind](model, op, [held[i] for i in op.inputs if i >= 0])
        for i, value in zip(op.outputs, found, strict=True):
            held[i] = np.asarray(value).astype(model.tensors[i].dtype).reshape(model.tensors[i].shape)
    return [held[i] for i in model.outputs]


def _scaled(x: Codes, factor: float) -> Codes:
    """Return x * factor, as a Q0.31 product and a shift round it."""
    if factor == 0:
        return np.zeros_like(x, dtype=np.int64)
    power = math.floor(math.log2(factor)) + 1
    while factor >= 2.0**power:
        power += 1
    while factor < 2.0 ** (power - 1):
        power -= 1
    q = int(Fraction(factor) / Fraction(2) ** power * (1 << 31) + Fraction(1, 2))
    if q == 1 << 31:
        q, power = q // 2, power + 1
    return _fixed(x, q, power)


def _fixed(x: Codes, q: int, power: int) -> Codes:
    v = np.asarray(x, np.int64) << max(0, power)
    assert np.abs(v).max(initial=0) < 1 << 31
    doubled = (v * q + (1 << 30)) >> 31
    return _halved(doubled, max(0, -power))


def _halved(x: Codes, bits: int) -> Codes:
    """Return x / 2^bits to nearest, halves away from zero."""
    if bits == 0:
        return x
    size = (np.abs(x) + (1 << (bits - 1))) >> bits
    return np.where(x < 0, -size, size)


def _limits(op: Op, y: Tensor) -> tuple[int, int]:
    low, high = {0: (-math.inf, math.inf), 1: (0, math.inf), 2: (-1, 1), 3: (0, 6)}[op.whole("activation")]

    def code(v: float) -> float:
        if math.isinf(v):
            return v
        steps = np.float32(v) / y.scales[0]
        return y.zero + math.copysign(math.floor(abs(float(steps)) + 0.5), v)

    return int(max(-128, code(low))), int(min(127, code(high)))


def _out(op: Op, y: Tensor, x: Codes) -> Codes:
    return np.asarray(np.clip(x + y.zero, *_limits(op, y)))


def _ends(model: Model, op: Op) -> tuple[Tensor, Tensor]:
    return model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]


def _requantised(model: Model, op: Op, sums: Codes) -> list[Codes]:
    """Return codes of sums whose last dimension is the outputs'."""
    x, y = _ends(model, op)
    scales = np.broadcast_to(model.tensors[op.inputs[1]].scales, sums.shape[-1:])
    columns = [_scaled(sums[..., i], float(x.scale) * float(s) / float(y.scale)) for i, s in enumerate(scales)]
    return [_out(op, y, np.stack(columns, -1))]


def _patches(op: Op, x: Codes, y: Tensor, kernel: tuple[int, int], fill: int) -> Codes:
    """Return [batch, out_h, out_w, k_h, k_w, channels]."""
    picked = x.astype(np.int64)
    for axis, (side, k, out, stride, spread) in enumerate(
        zip(
            x.shape[1:3],
            kernel,
            y.shape[1:3],
            (op.whole("stride_h"), op.whole("stride_w")),
            (int(op.options.get("dilation_h", 1)), int(op.options.get("dilation_w", 1))),
            strict=True,
        )
    ):
        missing = max(0, (out - 1) * stride + (k - 1) * spread + 1 - side) if op.whole("padding") == 0 else 0
        around = [(0, 0)] * picked.ndim
        around[1 + 2 * axis] = (missing // 2, missing - missing // 2)
        picked = np.pad(picked, around, constant_values=fill)
        at = np.arange(out)[:, None] * stride + np.arange(k)[None] * spread
        picked = np.take(picked, at, axis=1 + 2 * axis)
    return np.asarray(picked.transpose(0, 1, 3, 2, 4, 5))


def _bias(given: Sequence[Codes]) -> Codes:
    return given[2].astype(np.int64) if len(given) > 2 else np.zeros(1, np.int64)


def _conv(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    x, y = _ends(model, op)
    w = given[1].astype(np.int64)
    if op.kind == "CONV_2D":
        patches = _patches(op, given[0], y, (w.shape[1], w.shape[2]), x.zero) - x.zero
        return _requantised(model, op, np.einsum("bhwklc,oklc->bhwo", patches, w) + _bias(given))
    patches = _patches(op, given[0], y, (w.shape[1], w.shape[2]), x.zero) - x.zero
    wide = np.repeat(patches, w.shape[3] // x.shape[3], axis=-1)
    return _requantised(model, op, np.einsum("bhwklo,klo->bhwo", wide, w[0]) + _bias(given))


def _dense(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    x, _ = _ends(model, op)
    rows = given[0].astype(np.int64).reshape(-1, given[1].shape[1]) - x.zero
    return _requantised(model, op, rows @ given[1].astype(np.int64).T + _bias(given))


def _pool(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    _, y = _ends(model, op)
    outside = 1 << 20
    patches = _patches(op, given[0], y, (op.whole("filter_h"), op.whole("filter_w")), outside)
    inside = patches != outside
    if op.kind == "MAX_POOL_2D":
        best = np.where(inside, patches, -128).max((3, 4))
    else:
        total, count = np.where(inside, patches, 0).sum((3, 4)), inside.sum((3, 4))
        size = (np.abs(total) + count // 2) // count
        best = np.where(total > 0, size, -size)
    return [np.clip(best, *_limits(op, y))]


def _add(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    a, b, y = model.tensors[op.inputs[0]], model.tensors[op.inputs[1]], model.tensors[op.outputs[0]]
    if y.dtype == "float32":
        apply: dict[str, Any] = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}
        return [apply[op.kind](given[0].astype(np.float32), given[1].astype(np.float32))]
    first, second = (v.astype(np.int64) - t.zero for v, t in zip(given, (a, b), strict=True))
    if op.kind == "MUL":
        return [_out(op, y, _scaled(first * second, a.scale * b.scale / y.scale))]
    twice = 2 * max(a.scale, b.scale)
    first, second = _scaled(first << 20, a.scale / twice), _scaled(second << 20, b.scale / twice)
    total = first + second if op.kind == "ADD" else first - second
    return [_out(op, y, _scaled(total, twice / ((1 << 20) * y.scale)))]


def _mean(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    x, y = _ends(model, op)
    axes = tuple(int(a) % given[0].ndim for a in given[1].ravel())
    total = given[0].astype(np.int64).sum(axes)
    n = math.prod(x.shape[a] for a in axes)
    total = total - x.zero * n
    fraction, power = math.frexp(x.scale / y.scale)
    q = round(fraction * (1 << 31))
    if op.kind == "MEAN":
        more = min(n.bit_length() - 1, 32, 31 + power)
        q, power = (q << more) // n, power - more
    return [np.clip(_fixed(total, q, power) + y.zero, -128, 127)]


def _real(function: Callable[[Codes], Codes]) -> Callable[[Model, Op, list[Codes]], list[Codes]]:
    def rule(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
        x, y = _ends(model, op)
        if op.kind == "SOFTMAX":
            value = (given[0].astype(np.float64)) * x.scale * float(op.options["beta"])
        else:
            value = (given[0].astype(np.float64) - x.zero) * x.scale
        with np.errstate(all="ignore"):
            steps = function(value) / y.scale
        rounded = np.floor(np.abs(steps) + 0.5) * np.sign(steps) + y.zero
        return [np.clip(np.nan_to_num(rounded, posinf=127, neginf=-128), -128, 127)]

    return rule


def _softmax(v: Codes) -> Codes:
    powers = np.exp(v - v.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _rectified(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    x, y = _ends(model, op)
    v = given[0].astype(np.int64) - x.zero
    factor = x.scale / y.scale
    below = float(np.float32(op.options["alpha"])) * x.scale / y.scale if op.kind == "LEAKY_RELU" else 0.0
    return [np.clip(np.where(v < 0, _scaled(v, below), _scaled(v, factor)) + y.zero, -128, 127)]


def _quantise(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    x, y = _ends(model, op)
    if x.dtype == "int8":
        return [np.clip(_scaled(given[0].astype(np.int64) - x.zero, x.scale / y.scale) + y.zero, -128, 127)]
    steps = given[0].astype(np.float32) / y.scales[0]
    return [np.clip(np.floor(np.abs(steps) + np.float32(0.5)) * np.sign(steps) + y.zero, -128, 127)]


def _dequantise(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    x, _ = _ends(model, op)
    return [(given[0].astype(np.int32) - x.zero).astype(np.float32) * x.scales[0]]


def _split(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    data, axis = (given[1], given[0]) if op.kind == "SPLIT" else (given[0], given[2])
    at = int(axis.ravel()[0]) % data.ndim
    ends = np.cumsum([model.tensors[i].shape[at] for i in op.outputs])[:-1]
    return list(np.split(data, ends, at))


def _strided(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    picked = []
    for i, (b, e, s) in enumerate(zip(*(v.ravel().tolist() for v in given[1:4]), strict=True)):
        if op.whole("shrink_axis_mask") >> i & 1:
            picked.append(slice(b, b + 1 or None))
        else:
            picked.append(
                slice(None if op.whole("begin_mask") >> i & 1 else b, None if op.whole("end_mask") >> i & 1 else e, s)
            )
    return [given[0][tuple(picked)]]


def _resize(model: Model, op: Op, given: list[Codes]) -> list[Codes]:
    x, y = _ends(model, op)
    corners, centres = op.whole("align_corners"), op.whole("half_pixel_centers")
    out = given[0]
    for axis in (1, 2):
        size, num = x.shape[axis], y.shape[axis]
        step = np.float32(size - 1) / np.float32(num - 1) if corners and num > 1 else np.float32(size) / np.float32(num)
        at = [(np.float32(i) + np.float32(0.5 * bool(centres))) * step for i in range(num)]
        rows = [min(size - 1, int(math.floor(float(a) + 0.5) if corners else math.floor(float(a)))) for a in at]
        out = np.take(out, rows, axis)
    return [out]


def _moved(function: Callable[[Op, list[Codes]], Codes]) -> Callable[[Model, Op, list[Codes]], list[Codes]]:
    return lambda model, op, given: [function(op, given)]


_RULES: dict[str, Callable[[Model, Op, list[Codes]], list[Codes]]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _conv),
    "FULLY_CONNECTED": _dense,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _pool),
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), _add),
    **dict.fromkeys(("MEAN", "SUM"), _mean),
    "SOFTMAX": _real(_softmax),
    "LOGISTIC": _real(lambda v: 1 / (1 + np.exp(-v))),
    "TANH": _real(np.tanh),
    "HARD_SWISH": _real(lambda v: v * np.clip(v + 3, 0, 6) / 6),
    "ELU": _real(lambda v: np.where(v < 0, np.expm1(v), v)),
    **dict.fromkeys(("LEAKY_RELU", "RELU"), _rectified),
    "RELU6": _real(lambda v: np.clip(v, 0, 6)),
    "RELU_N1_TO_1": _real(lambda v: np.clip(v, -1, 1)),
    "ABS": _real(np.abs),
    "RSQRT": _real(lambda v: 1 / np.sqrt(v)),
    "QUANTIZE": _quantise,
    "DEQUANTIZE": _dequantise,
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _moved(lambda op, v: v[0])),
    "TRANSPOSE": _moved(lambda op, v: v[0].transpose(v[1].ravel())),
    "CONCATENATION": _moved(lambda op, v: np.concatenate(v, op.whole("axis"))),
    "PAD": lambda model, op, v: [np.pad(v[0], v[1], constant_values=_ends(model, op)[0].zero)],
    "SLICE": _moved(lambda op, v: v[0][tuple(slice(b, None if s < 0 else b + s) for b, s in zip(v[1], v[2], strict=True))]),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    "STRIDED_SLICE": _strided,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
}  # fmt: skip
"""Operator -> (model, operator, arrays of its inputs) -> arrays of its outputs."""
