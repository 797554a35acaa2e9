"""What lowering asks of an operator before it becomes calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.mcu.model import Model, Op, Tensor

_MAX_SIDE = 1 << 15


def codes(model: Model, op: Op, *tensors: int) -> list[Tensor]:
    """Return tensors of int8 codes with one scale. Raises ExportError of any other."""
    found = [model.tensors[i] for i in tensors]
    for t in found:
        if t.dtype != "int8":
            raise model.refuse(op, "must read and give int8 codes", f"{t.dtype} in {t.name!r}. Quantise it whole "
                               "(int8_static_per_channel), and keep what is in float on the host")  # fmt: skip
        if len(t.scales) != 1 or not 0 < t.scale < 1e30 or not -128 <= t.zero <= 127:
            raise model.refuse(op, "must have one positive scale and a zero point of a code for each tensor of values", f"{len(t.scales)} scales in {t.name!r}")  # fmt: skip
        if any(d >= _MAX_SIDE for d in t.shape):
            raise model.refuse(op, f"must have sides below {_MAX_SIDE}", f"shape {t.shape}")
    return found


def values(model: Model, op: Op, *tensors: int) -> list[Tensor]:
    """Return `codes` that are computed. Raises ExportError of a constant."""
    found = codes(model, op, *tensors)
    for t in found:
        if t.data is not None:
            raise model.refuse(op, "must read a tensor that is computed", f"the constant {t.name!r}")
    return found


def constant(model: Model, op: Op, place: int, what: str) -> NDArray[Any]:
    """Return the data of an input. Raises ExportError where it is computed or is not there."""
    index = op.inputs[place] if place < len(op.inputs) else -1
    if index < 0 or model.tensors[index].data is None:
        raise model.refuse(op, f"must have constant {what}", "one that is computed" if index >= 0 else "none")
    data = model.tensors[index].data
    assert data is not None
    return data


def integers(model: Model, op: Op, place: int, what: str) -> list[int]:
    """Return the whole numbers of a constant input."""
    data = constant(model, op, place, what)
    if not np.issubdtype(data.dtype, np.integer):
        raise model.refuse(op, f"must have whole numbers as {what}", str(data.dtype))
    return [int(v) for v in data.ravel()]


def weights(model: Model, op: Op, num: int, axis: int) -> tuple[NDArray[np.int8], NDArray[Any], NDArray[np.int64]]:
    """Return (weights as in the file, scales [num] or [1], bias [num]) of a layer with `num` outputs along `axis`."""
    data = constant(model, op, 1, "weights")
    tensor = model.tensors[op.inputs[1]]
    if data.dtype != np.int8 or np.any(tensor.zero_points) or len(tensor.scales) not in (1, num):
        raise model.refuse(op, "must have int8 weights with zero points of 0 and one scale, or one for each output", f"{data.dtype}, {len(tensor.scales)} scales")  # fmt: skip
    if len(tensor.scales) > 1 and tensor.axis != axis:
        raise model.refuse(op, f"must have its scales along axis {axis}", f"axis {tensor.axis}")
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return data, tensor.scales, np.zeros(num, np.int64)
    bias = constant(model, op, 2, "bias")
    if bias.dtype != np.int32 or bias.size != num:
        raise model.refuse(op, f"must have an int32 bias of {num}", f"{bias.dtype} of {bias.size}")
    return data, tensor.scales, bias.ravel().astype(np.int64)


def limits(model: Model, op: Op, y: Tensor) -> tuple[int, int]:
    """Return the (lowest, highest) code that the fused activation leaves."""
    from potstill.mcu.numbers import bounds

    found = bounds(op.whole("activation"), y.scales[0], y.zero)
    if found is None:
        raise model.refuse(
            op, "must have no fused activation, or ReLU, ReLU6 or ReLU1", f"activation {op.whole('activation')}"
        )
    return found


def one_to_four(model: Model, op: Op, dims: Sequence[int], *steps: Sequence[int]) -> list[list[int]]:
    """Return dimensions and their steps as exactly four loops: those of 1 left out, neighbours joined where all steps allow."""
    kept: list[tuple[int, list[int]]] = []
    for d, *by in zip(dims, *steps, strict=True):
        if d == 1:
            continue
        if kept and all(before == d * now for before, now in zip(kept[-1][1], by, strict=True)):
            kept[-1] = (kept[-1][0] * d, by)
        else:
            kept.append((d, by))
    if len(kept) > 4:
        raise model.refuse(op, "must come down to four loops", f"{len(kept)} of shape {tuple(dims)}")
    kept = [(1, [0] * len(steps))] * (4 - len(kept)) + kept
    if kept[-1][0] == 1 and not any(kept[-1][1]):
        kept[-1] = (1, [1] * len(steps))
    return [[d for d, _ in kept], *([by[i] for _, by in kept] for i in range(len(steps)))]


def dense(shape: Sequence[int]) -> list[int]:
    """Return the step of each dimension of a tensor without gaps."""
    steps, step = [0] * len(shape), 1
    for i in reversed(range(len(shape))):
        steps[i], step = step, step * shape[i]
    return steps
