"""Paddings joined with the convolution that reads them: no padded copy is ever made."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from potstill.mcu.model import Model, Op


def without_pads(model: Model) -> Model:
    """Return the model with each PAD of an image's sides inside the one convolution after it; every answer stays the same."""
    readers = Counter(i for op in model.ops for i in op.inputs)
    pads = {op.outputs[0]: op for op in model.ops if _of_an_image(model, op) and readers[op.outputs[0]] == 1}
    ops: list[Op] = []
    joined: set[int] = set()
    for op in model.ops:
        pad = pads.get(op.inputs[0]) if op.inputs else None
        if (
            pad is None
            or op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D")
            or op.whole("padding") == 0
            or pad.outputs[0] in model.outputs
        ):
            ops.append(op)
            continue
        around = model.tensors[pad.inputs[1]].data
        assert around is not None
        options = {**op.options, "pad_top": float(around[1][0]), "pad_left": float(around[2][0])}
        ops.append(replace(op, inputs=(pad.inputs[0], *op.inputs[1:]), options=options))
        joined.add(pad.index)
    return replace(model, ops=tuple(op for op in ops if op.index not in joined)) if joined else model


def _of_an_image(model: Model, op: Op) -> bool:
    if op.kind != "PAD":
        return False
    x, y, around = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]], model.tensors[op.inputs[1]].data
    if around is None or around.shape != (4, 2) or x.dtype != "int8" or len(x.scales) != 1 or len(y.scales) != 1:
        return False
    return x.scale == y.scale and x.zero == y.zero and not np.any(around[[0, 3]]) and not np.any(around < 0)
