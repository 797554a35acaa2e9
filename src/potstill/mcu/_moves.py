"""Operators that only move codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from potstill.mcu._checks import dense, integers, one_to_four, values
from potstill.mcu.code import Call, Constant, Value
from potstill.mcu.model import Model, Op, Tensor


def _copy(
    model: Model,
    op: Op,
    dims: Sequence[int],
    source: Value,
    in_step: Sequence[int],
    target: Value,
    out_step: Sequence[int],
) -> Call:
    four, reads, writes = one_to_four(model, op, dims, in_step, out_step)
    size = math.prod(four)
    counts = (
        {"byte": size, "row": size // four[3]} if reads[3] == writes[3] == 1 else {"code": size, "row": size // four[3]}
    )
    return Call(
        op, "ps_copy_s8", [Constant("ps_copy_t", [four, reads, writes], struct=True), source, target], counts=counts
    )


def _same_numbers(model: Model, op: Op, x: Tensor, y: Tensor) -> None:
    if x.scale != y.scale or x.zero != y.zero:
        raise model.refuse(op, "must give codes of the scale and zero point that it reads", f"{x.scale:g}, {x.zero} and {y.scale:g}, {y.zero}")  # fmt: skip


def _moved(model: Model, op: Op, place: int = 0) -> tuple[Tensor, Tensor]:
    x, y = values(model, op, op.inputs[place], op.outputs[0])
    _same_numbers(model, op, x, y)
    return x, y


def transpose(model: Model, op: Op) -> Iterator[Call]:
    """Dimensions in another order."""
    x, y = _moved(model, op)
    order = integers(model, op, 1, "order")
    if sorted(order) != list(range(len(x.shape))) or tuple(x.shape[i] for i in order) != y.shape:
        raise model.refuse(op, "must name each dimension once", f"order {order} of {x.shape} -> {y.shape}")
    steps = dense(x.shape)
    yield _copy(
        model, op, y.shape, Value(op.inputs[0]), [steps[i] for i in order], Value(op.outputs[0]), dense(y.shape)
    )


def concatenation(model: Model, op: Op) -> Iterator[Call]:
    """Tensors one after the other along an axis."""
    (y,) = values(model, op, op.outputs[0])
    if op.whole("activation"):
        raise model.refuse(op, "must have no fused activation", f"{op.whole('activation')}")
    axis, at, steps = op.whole("axis") % len(y.shape), 0, dense(y.shape)
    for index in op.inputs:
        (x,) = values(model, op, index)
        _same_numbers(model, op, x, y)
        yield _copy(model, op, x.shape, Value(index), dense(x.shape), Value(op.outputs[0], at * steps[axis]), steps)
        at += x.shape[axis]
    if at != y.shape[axis]:
        raise model.refuse(op, f"must fill axis {axis} of {y.shape}", f"{at}")


def pad(model: Model, op: Op) -> Iterator[Call]:
    """A tensor with codes of zero around it."""
    x, y = _moved(model, op)
    pads = np.array(integers(model, op, 1, "paddings")).reshape(-1, 2)
    if len(pads) != len(x.shape) or (pads < 0).any() or tuple(pads.sum(1) + x.shape) != y.shape:
        raise model.refuse(
            op, "must have paddings [dimensions, 2] that fit", f"{pads.tolist()} for {x.shape} -> {y.shape}"
        )
    steps = dense(y.shape)
    at = sum(int(p) * s for p, s in zip(pads[:, 0], steps, strict=True))
    yield Call(op, "ps_fill_s8", [y.size, y.zero, Value(op.outputs[0])], counts={"byte": y.size})
    yield _copy(model, op, x.shape, Value(op.inputs[0]), dense(x.shape), Value(op.outputs[0], at), steps)


def split(model: Model, op: Op) -> Iterator[Call]:
    """A tensor's parts along an axis."""
    place, of_axis = (1, 0) if op.kind == "SPLIT" else (0, 2)
    x, _ = _moved(model, op, place)
    axis, at, steps = integers(model, op, of_axis, "axis")[0] % len(x.shape), 0, dense(x.shape)
    for index in op.outputs:
        (y,) = values(model, op, index)
        _same_numbers(model, op, x, y)
        yield _copy(model, op, y.shape, Value(op.inputs[place], at * steps[axis]), steps, Value(index), dense(y.shape))
        at += y.shape[axis]


def cut(model: Model, op: Op) -> Iterator[Call]:
    """A part of a tensor: SLICE and STRIDED_SLICE."""
    x, y = _moved(model, op)
    rank = len(x.shape)
    begin, second = integers(model, op, 1, "begin"), integers(model, op, 2, "end or size")
    if op.kind == "SLICE":
        ranges = [range(b, b + (s if s >= 0 else d - b)) for b, s, d in zip(begin, second, x.shape, strict=True)]
    else:
        strides = integers(model, op, 3, "strides")
        if op.whole("ellipsis_mask") or op.whole("new_axis_mask") or len(begin) != rank or 0 in strides:
            raise model.refuse(
                op, "must name every dimension, without ellipsis or new axes", f"masks {dict(op.options)}"
            )
        ranges = []
        for i, d in enumerate(x.shape):
            lone = op.whole("shrink_axis_mask") >> i & 1
            start = None if op.whole("begin_mask") >> i & 1 and not lone else begin[i]
            stop = None if op.whole("end_mask") >> i & 1 else second[i]
            ranges.append(
                range(d)[slice(start, stop, strides[i])] if not lone else range(begin[i] % d, begin[i] % d + 1)
            )
    dims, steps = [len(r) for r in ranges], dense(x.shape)
    if math.prod(dims) != y.size or any(r.start < 0 or r[-1] >= d for r, d in zip(ranges, x.shape, strict=True)):
        raise model.refuse(op, f"must take a part that lies in {x.shape}", f"{dims} -> {y.shape}")
    at = sum(r.start * s for r, s in zip(ranges, steps, strict=True))
    source = Value(op.inputs[0], at)
    yield _copy(
        model,
        op,
        dims,
        source,
        [r.step * s for r, s in zip(ranges, steps, strict=True)],
        Value(op.outputs[0]),
        dense(dims),
    )


def resize(model: Model, op: Op) -> Iterator[Call]:
    """Pixels of another number, each the nearest old one."""
    x, y = _moved(model, op)
    if len(x.shape) != 4 or x.shape[0] != 1:
        raise model.refuse(op, "must read [1, height, width, channels]", f"{x.shape}")
    picked = [nearest(i, o, bool(op.whole("align_corners")), bool(op.whole("half_pixel_centers"))) for i, o in zip(x.shape[1:3], y.shape[1:3], strict=True)]  # fmt: skip
    yield Call(op, "ps_resize_s8", [x.shape[2], x.shape[3], y.shape[1], y.shape[2], *(Constant("int16_t", p) for p in picked),
               Value(op.inputs[0]), Value(op.outputs[0])], counts={"byte": y.size, "row": y.shape[1] * y.shape[2]})  # fmt: skip


def nearest(size: int, out: int, corners: bool, centres: bool) -> list[int]:
    """Return which of `size` each of `out` is taken from, in TensorFlow's float32."""
    scale = np.float32(size - 1) / np.float32(out - 1) if corners and out > 1 else np.float32(size) / np.float32(out)
    at = (np.arange(out, dtype=np.float32) + np.float32(0.5 if centres else 0.0)) * scale
    # TensorFlow rounds halves away from zero.
    picked = np.floor(at + np.float32(0.5)) if corners else np.floor(at)
    return [int(v) for v in np.clip(picked, 0, size - 1)]
