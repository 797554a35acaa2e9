"""Operators with weights, pools, means and softmax as calls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.mcu._checks import integers, limits, values, weights
from potstill.mcu.code import Call, Constant, Raw, Scratch, Value
from potstill.mcu.model import Model, Op, Tensor
from potstill.mcu.numbers import LIMIT, mean_multiplier, multiplier, multipliers, window

_MAX_BATCH = 64
_MAX_CLASSES = 256
"""Beyond it the sum of a softmax has no room in 32 bits."""


def _batch(model: Model, op: Op, x: Tensor) -> int:
    if len(x.shape) != 4 or x.shape[0] > _MAX_BATCH:
        raise model.refuse(
            op, f"must read [batch, height, width, channels] with a batch of at most {_MAX_BATCH}", f"{x.shape}"
        )
    return x.shape[0]


def _window(model: Model, op: Op, kernel: tuple[int, int], in_zero: int) -> Constant:
    x, y = (model.tensors[i] for i in (op.inputs[0], op.outputs[0]))
    (_, h, w, c), same = x.shape, op.whole("padding") == 0
    strides = op.whole("stride_h"), op.whole("stride_w")
    dilations = op.options.get("dilation_h", 1), op.options.get("dilation_w", 1)
    sides = [window(same, *each) for each in zip((h, w), kernel, strides, map(int, dilations), strict=True)]
    if "pad_top" in op.options:  # of a PAD that was joined
        pads = [op.whole("pad_top"), op.whole("pad_left")]
    else:
        pads = [pad for _, pad in sides]
        if tuple(out for out, _ in sides) != y.shape[1:3]:
            raise model.refuse(
                op, f"must give the sides that its window makes, {[out for out, _ in sides]}", f"{y.shape}"
            )
    low, high = limits(model, op, y)
    return Constant("ps_window_t", [h, w, c, *y.shape[1:], *kernel, *strides, *map(int, dilations), *pads, in_zero, y.zero, low, high], struct=True)  # fmt: skip


def _scaled(
    model: Model, op: Op, x: Tensor, y: Tensor, w_ON: NDArray[Any], scales: NDArray[Any], bias: NDArray[np.int64]
) -> tuple[list[Constant], str]:
    """Return ([bias with the zero point in it, multipliers, right shifts], suffix of the kernel)."""
    each = np.repeat(scales, len(w_ON)) if len(scales) == 1 else scales
    pairs = multipliers(x.scale, each, y.scale)
    total = np.abs(w_ON.astype(np.int64)).sum(1)
    largest = np.abs(bias) + (128 + abs(x.zero)) * total
    lefts = np.array([max(0, -right) for _, right in pairs])
    if np.any(largest << lefts >= 1 << 31):
        raise model.refuse(op, "must keep its sums below 2^31", f"sums of up to {int(largest.max())}")
    wide = largest.max() >= LIMIT or lefts.any()
    folded = bias - x.zero * w_ON.astype(np.int64).sum(1)
    one = slice(0, 1) if len(scales) == 1 and op.kind == "FULLY_CONNECTED" else slice(None)
    return [
        Constant("int32_t", folded),
        Constant("int32_t", [m for m, _ in pairs][one]),
        Constant("int8_t", [r for _, r in pairs][one]),
    ], "_wide" if wide else ""


def _filled(rows: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return rows with zeros to a multiple of four."""
    out = np.zeros((len(rows), -(-rows.shape[1] // 4) * 4), np.int8)
    out[:, : rows.shape[1]] = rows
    return out


def conv(model: Model, op: Op) -> Iterator[Call]:
    """A convolution of one group."""
    x, y = values(model, op, op.inputs[0], op.outputs[0])
    batch, num = _batch(model, op, x), y.shape[-1]
    data, scales, bias = weights(model, op, num, 0)
    if data.ndim != 4 or data.shape[3] != x.shape[3] or data.shape[0] != num:
        raise model.refuse(op, "must have one group", f"weights {data.shape} for {x.shape[3]} channels. Use depthwise and 1 x 1 layers")  # fmt: skip
    kernel = (data.shape[1], data.shape[2])
    rows = data.reshape(num, -1)
    numbers, suffix = _scaled(model, op, x, y, rows, scales, bias)
    shape = _window(model, op, kernel, x.zero)
    held = _filled(rows)
    gathers = kernel != (1, 1) or x.shape[3] % 4 != 0 or any(shape.values[12:14]) or "pad_top" in op.options
    pixels = y.shape[1] * y.shape[2]
    paired = pixels // 2 * 2 * (num // 2 * 2) * held.shape[1]
    counts = {
        "mac": paired, "rest": pixels * held.size - paired, "code": pixels * num, "gathered": gathers * pixels * rows.shape[1],
        "gather": gathers * pixels * kernel[0], "pixel": pixels,
    }  # fmt: skip
    weight = Constant("int8_t", held)
    for n in range(batch):
        source, target = Value(op.inputs[0], n * x.size // batch), Value(op.outputs[0], n * y.size // batch)
        yield Call(op, f"ps_conv_s8{suffix}", [shape, source, weight, *numbers, Scratch() if gathers else 0, target],
                   2 * held.shape[1] * gathers, pixels * rows.size, counts=counts)  # fmt: skip


def depthwise(model: Model, op: Op) -> Iterator[Call]:
    """A convolution of as many groups as channels."""
    x, y = values(model, op, op.inputs[0], op.outputs[0])
    batch, num, c = _batch(model, op, x), y.shape[-1], x.shape[3]
    data, scales, bias = weights(model, op, num, 3)
    if data.ndim != 4 or data.shape[0] != 1 or data.shape[3] != num or num % c:
        raise model.refuse(op, "must have weights [1, height, width, outputs], outputs a multiple of channels", f"{data.shape} for {c} channels")  # fmt: skip
    kernel = (data.shape[1], data.shape[2])
    numbers, suffix = _scaled(model, op, x, y, data.reshape(-1, num).T, scales, bias)
    shape = _window(model, op, kernel, x.zero)
    pixels, taps = y.shape[1] * y.shape[2], kernel[0] * kernel[1]
    quick = num == c
    fours = num // 4 * 4 if quick else 0
    counts = {"mac": pixels * taps * fours, "code": pixels * fours, "slow": pixels * taps * (num - fours),
              "slow_code": pixels * (num - fours), "tap": pixels * taps, "taps": taps}  # fmt: skip
    weight = Constant("int8_t", data.reshape(-1))
    for n in range(batch):
        source, target = Value(op.inputs[0], n * x.size // batch), Value(op.outputs[0], n * y.size // batch)
        yield Call(op, f"ps_depthwise_s8{suffix}", [shape, source, weight, *numbers, Raw("taps"), Scratch(), target],
                   c, pixels * num * taps, counts=counts)  # fmt: skip


def fully_connected(model: Model, op: Op) -> Iterator[Call]:
    """A product with constant weights."""
    x, y = values(model, op, op.inputs[0], op.outputs[0])
    if op.whole("format"):
        raise model.refuse(op, "must have weights in their default order", f"format {op.whole('format')}")
    num = y.shape[-1]
    data, scales, bias = weights(model, op, num, 0)
    if data.ndim != 2 or len(data) != num or x.size % data.shape[1] or x.size // data.shape[1] * num != y.size:
        raise model.refuse(
            op, "must have weights [outputs, inputs] that fit", f"{data.shape} between {x.shape} and {y.shape}"
        )
    rows, n_in = x.size // data.shape[1], data.shape[1]
    numbers, suffix = _scaled(model, op, x, y, data, scales, bias)
    low, high = limits(model, op, y)
    each = "_each" if len(scales) > 1 else ""
    yield Call(op, f"ps_dense_s8{each}{suffix}", [rows, n_in, num, Value(op.inputs[0]), Constant("int8_t", data), *numbers, y.zero, low, high, Value(op.outputs[0])], macs=rows * n_in * num,
               counts={"mac": rows * n_in * num, "code": rows * num})  # fmt: skip


def pool(model: Model, op: Op) -> Iterator[Call]:
    """An average or a maximum of a moving window."""
    x, y = values(model, op, op.inputs[0], op.outputs[0])
    batch = _batch(model, op, x)
    if x.scale != y.scale or x.zero != y.zero or x.shape[3] != y.shape[3]:
        raise model.refuse(op, "must give codes of the scale that it reads", f"{x.scale:g} and {y.scale:g}")
    kernel = (op.whole("filter_h"), op.whole("filter_w"))
    name = "average" if op.kind == "AVERAGE_POOL_2D" else "max"
    shape = _window(model, op, kernel, x.zero)
    for n in range(batch):
        source, target = Value(op.inputs[0], n * x.size // batch), Value(op.outputs[0], n * y.size // batch)
        yield Call(op, f"ps_{name}_pool_s8", [shape, source, target],
                   counts={"read": y.size // batch * math.prod(kernel), "code": y.size // batch})  # fmt: skip


def mean(model: Model, op: Op) -> Iterator[Call]:
    """A mean, or a sum, over neighbouring dimensions."""
    x, y = values(model, op, op.inputs[0], op.outputs[0])
    rank = len(x.shape)
    axes = {a % rank for a in integers(model, op, 1, "axes")}
    kept = [i for i in range(rank) if x.shape[i] > 1]
    inside = [i in axes for i in kept]
    if sum(a != b for a, b in zip([False, *inside], [*inside, False], strict=True)) > 2:
        raise model.refuse(op, "must reduce neighbouring dimensions", f"axes {sorted(axes)} of {x.shape}")
    n = math.prod(x.shape[i] for i in axes)
    inner = math.prod(x.shape[i] for i in kept if i not in axes and all(i > a for a in axes if x.shape[a] > 1))
    mult, right = multiplier(x.scale / y.scale)
    if op.kind == "MEAN":
        mult, right = mean_multiplier(mult, right, n)
    if (n * 256) << max(0, -right) >= 1 << 31:
        raise model.refuse(op, "must keep its sums below 2^31", f"{n} values")
    yield Call(op, "ps_mean_s8", [y.size // inner, n, inner, x.zero, y.zero, mult, right, Value(op.inputs[0]), Value(op.outputs[0])],
               counts={"read": x.size, "code": y.size})  # fmt: skip


def softmax(model: Model, op: Op) -> Iterator[Call]:
    """A softmax over the last dimension, in fixed point."""
    x, y = values(model, op, op.inputs[0], op.outputs[0])
    depth = x.shape[-1]
    if y.scale != 1 / 256 or y.zero != -128:
        raise model.refuse(op, "must give codes of scale 1/256 and zero point -128", f"{y.scale:g} and {y.zero}")
    if depth > _MAX_CLASSES:
        raise model.refuse(
            op,
            f"must have at most {_MAX_CLASSES} classes",
            f"{depth}. Leave it out: the order of the classes is the same",
        )
    mult, right = multiplier(min(float(op.options["beta"]) * x.scale * (1 << 26), (1 << 31) - 1.0))
    if not 0 <= -right <= 30:
        raise model.refuse(op, "must have a scale from 2^-27 to 16", f"{x.scale:g}")
    lowest = -math.floor(31.0 * (1 << 26) / (1 << -right))
    yield Call(op, "ps_softmax_s8", [x.size // depth, depth, mult, -right, lowest, Value(op.inputs[0]), Value(op.outputs[0])],
               over=(op.inputs[0],), counts={"code": x.size})  # fmt: skip
