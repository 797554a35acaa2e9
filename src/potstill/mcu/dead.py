"""Channels that never change, or that nobody reads, taken out of a model: every answer stays the same to the last code.

A channel whose weights are all 0 never changes, and neither does what a depthwise layer makes of it; whoever reads it gets its share in
the bias. A channel that meets only weights of 0 is read by nobody. Tensors whose channels are the same ones (before and after a pool or a depthwise layer)
lose them together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from potstill.mcu.lower import VIEWS
from potstill.mcu.model import Model, Op, Tensor
from potstill.mcu.numbers import bounds, multiplier, scaled

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def without_dead_channels(model: Model) -> Model:
    """Return the model without channels that never change; the model itself where there are none to take out."""
    users = Counter(i for op in model.ops for i in op.inputs)
    if any(users[i] > 1 for op in model.ops if op.kind in _LAYERS for i in op.inputs[1:] if i >= 0):
        return model  # weights that two layers share stay as they are
    fixed = _fixed_codes(model)
    groups = _groups(model)
    members: dict[int, list[int]] = {}
    for t in fixed:
        members.setdefault(groups[t], []).append(t)
    stays = {groups[t] for t in (*model.inputs, *model.outputs)} | {groups[t] for t in _needed(model)}
    gone: dict[int, list[int]] = {}
    for group, tensors in members.items():
        width = model.tensors[tensors[0]].shape[-1]
        dead = [c for c in range(width) if all(_can_go(model, t, c, fixed[t].get(c)) for t in tensors)]
        dead = dead[int(len(dead) == width) :]  # one stays
        if group not in stays and dead:
            gone.update(dict.fromkeys(tensors, dead))
    return _rewritten(model, gone, fixed) if gone else model


def _codes_of(model: Model, op: Op) -> bool:
    ends = [model.tensors[i] for i in (op.inputs[0], op.outputs[0])]
    if any(t.dtype != "int8" or len(t.scales) != 1 or not t.shape or t.data is not None for t in ends):
        return False
    if op.kind not in _LAYERS:
        return True
    w = model.tensors[op.inputs[1]]
    biased = len(op.inputs) > 2 and op.inputs[2] >= 0 and model.tensors[op.inputs[2]].data is not None
    grouped = op.kind == "CONV_2D" and w.shape[-1:] != ends[0].shape[-1:]
    return (
        w.data is not None
        and len(w.scales) in (1, ends[1].shape[-1])
        and biased
        and not grouped
        and op.whole("activation") in range(4)
    )


def _linked(model: Model, op: Op) -> bool:
    """Return whether the channels of the output are those of the input."""
    if not _codes_of(model, op):
        return False
    x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
    if op.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        return True
    if op.kind == "DEPTHWISE_CONV_2D":
        return x.shape[-1] == y.shape[-1]
    return op.kind in VIEWS and x.shape[-1] == y.shape[-1] == x.size == y.size


def _groups(model: Model) -> dict[int, int]:
    """Return {tensor: the first tensor whose channels are the same ones}."""
    found = {i: i for i in range(len(model.tensors))}
    for op in model.ops:
        if _linked(model, op):
            found[op.outputs[0]] = found[op.inputs[0]]
    return found


def _needed(model: Model) -> set[int]:
    """Return the tensors that an operator reads or makes which needs every channel."""
    out: set[int] = set()
    for op in model.ops:
        if _linked(model, op):
            continue
        if op.kind in _LAYERS and _codes_of(model, op) and op.kind != "DEPTHWISE_CONV_2D":
            x, w = model.tensors[op.inputs[0]], model.tensors[op.inputs[1]]
            if op.kind == "FULLY_CONNECTED" and x.size != w.shape[-1]:
                out.add(op.inputs[0])
            if op.kind == "FULLY_CONNECTED" and x.shape[-1] != w.shape[-1]:
                out.add(op.inputs[0])
            continue
        out |= {*op.inputs, *op.outputs} - {-1}
    return out


def _can_go(model: Model, tensor: int, channel: int, code: int | None) -> bool:
    """Return whether the readers of a channel can do without it: it has one `code`, which adds the same everywhere, at the edge of an
    image too, or it adds nothing."""
    readers = [op for op in model.ops if tensor in op.inputs and not _linked(model, op)]
    if code is not None:
        return code == model.tensors[tensor].zero or not any(
            op.kind == "CONV_2D" and _padded(model, op) for op in readers
        )
    return bool(readers or any(tensor in op.inputs for op in model.ops)) and all(
        op.kind in ("CONV_2D", "FULLY_CONNECTED") and not _weights(model, op)[..., channel].any() for op in readers
    )


def _padded(model: Model, op: Op) -> bool:
    return op.whole("padding") == 0 and model.tensors[op.inputs[1]].shape[1:3] != (1, 1)


def _fixed_codes(model: Model) -> dict[int, dict[int, int]]:
    """Return {tensor: {channel: its one code}}."""
    fixed: dict[int, dict[int, int]] = {}
    for op in model.ops:
        found: dict[int, int] = {}
        before = fixed.get(op.inputs[0], {}) if op.inputs else {}
        if op.kind in _LAYERS and _codes_of(model, op):
            found = _of_layer(model, op, before)
        elif _linked(model, op):
            y = model.tensors[op.outputs[0]]
            low, high = (
                (bounds(op.whole("activation"), y.scales[0], y.zero) or (-128, 127))
                if "activation" in op.options
                else (-128, 127)
            )
            found = {c: min(max(code, low), high) for c, code in before.items()}
        fixed[op.outputs[0]] = found
    return fixed


def _of_layer(model: Model, op: Op, before: dict[int, int]) -> dict[int, int]:
    x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
    w, bias = _weights(model, op), _bias(model, op)
    flat = op.kind == "FULLY_CONNECTED" and x.shape[-1] != model.tensors[op.inputs[1]].shape[-1]
    silent = [] if flat else [c for c, code in before.items() if code == x.zero]
    if op.kind == "DEPTHWISE_CONV_2D":
        each = y.shape[-1] // x.shape[-1]
        still = [o for o in range(y.shape[-1]) if not w[..., o].any() or o // each in silent]
    else:
        rest = np.delete(w, silent, axis=-1).reshape(len(w), -1)
        still = [o for o in range(len(w)) if not rest[o].any()]
    limits = bounds(op.whole("activation"), y.scales[0], y.zero) or (-128, 127)
    scales = model.tensors[op.inputs[1]].scales
    out = {}
    for o in still:
        mult, right = multiplier(x.scale * float(scales[o if len(scales) > 1 else 0]) / y.scale)
        out[o] = min(max(scaled(int(bias[o]), mult, right) + y.zero, limits[0]), limits[1])
    return out


def _weights(model: Model, op: Op) -> NDArray[np.int8]:
    data = model.tensors[op.inputs[1]].data
    assert data is not None
    return data


def _bias(model: Model, op: Op) -> NDArray[np.int64]:
    data = model.tensors[op.inputs[2]].data
    assert data is not None
    return data.ravel().astype(np.int64)


def _rewritten(model: Model, gone: dict[int, list[int]], fixed: dict[int, dict[int, int]]) -> Model:
    tensors = [
        replace(t, shape=(*t.shape[:-1], t.shape[-1] - len(gone[i]))) if i in gone else t
        for i, t in enumerate(model.tensors)
    ]
    ops = []
    for op in model.ops:
        read, made = gone.get(op.inputs[0], []), gone.get(op.outputs[0], [])
        if op.kind in _LAYERS and (read or made):
            tensors += _narrower(model, op, read, made, fixed.get(op.inputs[0], {}))
            op = replace(op, inputs=(op.inputs[0], len(tensors) - 2, len(tensors) - 1))
        ops.append(op)
    return replace(model, tensors=tuple(tensors), ops=tuple(ops))


def _narrower(model: Model, op: Op, read: list[int], made: list[int], codes: dict[int, int]) -> list[Tensor]:
    """Return a layer's weights and bias without the inputs `read` and the outputs `made`; what the inputs added is in the bias."""
    tensor, x = model.tensors[op.inputs[1]], model.tensors[op.inputs[0]]
    w, bias = _weights(model, op), _bias(model, op)
    if op.kind == "DEPTHWISE_CONV_2D":
        w = np.delete(w, made, axis=-1)
    else:
        for c in read:
            bias = bias + (codes.get(c, x.zero) - x.zero) * w[..., c].reshape(len(w), -1).astype(np.int64).sum(1)
        w = np.delete(np.delete(w, read, axis=-1), made, axis=0)
    bias = np.delete(bias, made)
    scales = np.delete(tensor.scales, made) if len(tensor.scales) > 1 else tensor.scales
    zeros = np.delete(tensor.zero_points, made) if len(tensor.zero_points) > 1 else tensor.zero_points
    biases = model.tensors[op.inputs[2]]
    return [
        replace(tensor, shape=w.shape, data=w, scales=scales, zero_points=zeros),
        replace(biases, shape=(len(bias),), data=bias.astype(np.int32)),
    ]
