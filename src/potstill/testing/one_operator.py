"""Random models of one operator each, for comparing generated code, TensorFlow Lite Micro and the reference in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.mcu.model import Model, Op, Tensor
from potstill.mcu.numbers import window

Rng = np.random.Generator


class Draft:
    """Tensors that a random model is made of."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.tensors = rng, list[Tensor]()

    def numbers(self) -> tuple[float, int]:
        """Return a scale and a zero point."""
        return float(np.float32(np.exp(self.rng.uniform(-5, -1)))), int(self.rng.integers(-128, 128))

    def codes(self, shape: Sequence[int], scale: float, zero: int, data: NDArray[Any] | None = None) -> int:
        """Add a tensor of codes."""
        return self._add(
            Tensor("", tuple(map(int, shape)), "int8", np.array([scale], np.float32), np.array([zero]), 0, data)
        )

    def weights(self, shape: Sequence[int], scales: NDArray[np.float32], axis: int) -> int:
        """Add random weights."""
        data = self.rng.integers(-127, 128, tuple(map(int, shape))).astype(np.int8)
        return self._add(Tensor("", data.shape, "int8", scales, np.zeros(len(scales), np.int64), axis, data))

    def whole(self, data: Any, scales: NDArray[np.float32] | None = None) -> int:
        """Add constant int32 numbers."""
        held = np.asarray(data, np.int32)
        if scales is None:
            return self._add(Tensor("", held.shape, "int32", data=held))
        return self._add(Tensor("", held.shape, "int32", scales, np.zeros(len(scales), np.int64), 0, held))

    def floats(self, shape: Sequence[int], data: NDArray[Any] | None = None) -> int:
        """Add a tensor of float32."""
        return self._add(Tensor("", tuple(map(int, shape)), "float32", data=data))

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(
            Tensor(
                f"t{len(self.tensors)}",
                tensor.shape,
                tensor.dtype,
                tensor.scales,
                tensor.zero_points,
                tensor.axis,
                tensor.data,
            )
        )
        return len(self.tensors) - 1

    def model(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], **options: float) -> Model:
        """Return the model of one operator over these tensors."""
        op = Op(0, kind, tuple(inputs), tuple(outputs), options)
        read = tuple(i for i in inputs if i >= 0 and self.tensors[i].data is None)
        return Model(f"{kind.lower()}.tflite", tuple(self.tensors), (op,), read, tuple(outputs))


def random_model(kind: str, seed: Sequence[int]) -> Model:
    """Return a random model of one operator of a kind, one of `MAKERS`; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    return MAKERS[kind](Draft(rng), kind, int(rng.choice([0, 1, 3, 2], p=[0.4, 0.3, 0.2, 0.1])))


def side_by_side(models: Sequence[Model], name: str) -> Model:
    """Return one model that has all inputs and outputs of several, in their order."""
    tensors: list[Tensor] = []
    ops: list[Op] = []
    ends: tuple[list[int], list[int]] = ([], [])
    for model in models:
        base = len(tensors)
        tensors += model.tensors
        for op in model.ops:
            inputs, outputs = (tuple(i + base if i >= 0 else i for i in end) for end in (op.inputs, op.outputs))
            ops.append(Op(len(ops), op.kind, inputs, outputs, op.options))
        for end, more in zip(ends, (model.inputs, model.outputs), strict=True):
            end += [i + base for i in more]
    return Model(name, tuple(tensors), tuple(ops), tuple(ends[0]), tuple(ends[1]))


def _sides(d: Draft, biggest: int, dilated: bool) -> tuple[Any, ...]:
    """Return (height, width), kernel, strides, dilations, same, output sides."""
    while True:
        h, w = d.rng.integers(1, biggest, 2)
        kernel, strides = d.rng.integers(1, 6, 2), d.rng.integers(1, 4, 2)
        spread = d.rng.integers(1, 3, 2) if dilated and d.rng.random() < 0.3 else np.ones(2, int)
        same = bool(d.rng.random() < 0.6)
        if d.rng.random() < 0.3:
            kernel[:] = 1
        out = [
            window(same, int(n), int(k), int(s), int(e))[0]
            for n, k, s, e in zip((h, w), kernel, strides, spread, strict=True)
        ]
        if min(out) > 0:
            return (int(h), int(w)), kernel, strides, spread, same, out


def _window_options(kernel: Any, strides: Any, spread: Any, same: bool, act: int) -> dict[str, float]:
    return {"padding": 0 if same else 1, "stride_h": int(strides[0]), "stride_w": int(strides[1]), "dilation_h": int(spread[0]),
            "dilation_w": int(spread[1]), "activation": act}  # fmt: skip


def _convolution(d: Draft, kind: str, act: int) -> Model:
    (h, w), kernel, strides, spread, same, out = _sides(d, 14, True)
    c, batch = int(d.rng.integers(1, 20)), int(d.rng.choice([1, 1, 1, 2]))
    deep = kind == "DEPTHWISE_CONV_2D"
    num = c * int(d.rng.choice([1, 1, 1, 2, 3])) if deep else int(d.rng.integers(1, 20))
    scales = np.exp(d.rng.uniform(-7, -3, num if d.rng.random() < 0.85 else 1)).astype(np.float32)
    taps = int(kernel[0] * kernel[1]) * (1 if deep else c)
    (xs, xz), (_, yz) = d.numbers(), d.numbers()
    ys = float(np.float32(xs * scales.mean() * 60 * math.sqrt(taps) * np.exp(d.rng.uniform(-1.5, 1))))
    x = d.codes((batch, h, w, c), xs, xz)
    weight = d.weights((1, *kernel, num) if deep else (num, *kernel, c), scales, 3 if deep else 0)
    bias = d.whole((d.rng.normal(0, 1, num) * 3000 * math.sqrt(taps)).astype(np.int32), np.float32(xs) * scales)
    y = d.codes((batch, *out, num), ys, yz)
    more = {"multiplier": num // c} if deep else {}
    return d.model(kind, (x, weight, bias), (y,), **_window_options(kernel, strides, spread, same, act), **more)


def _fully_connected(d: Draft, kind: str, act: int) -> Model:
    n_in, num, rows = int(d.rng.integers(1, 130)), int(d.rng.integers(1, 40)), int(d.rng.choice([1, 1, 3]))
    scales = np.exp(d.rng.uniform(-7, -3, num if d.rng.random() < 0.5 else 1)).astype(np.float32)
    (xs, xz), (_, yz) = d.numbers(), d.numbers()
    ys = float(np.float32(xs * scales.mean() * 60 * math.sqrt(n_in) * np.exp(d.rng.uniform(-1, 1))))
    x, weight = d.codes((rows, n_in), xs, xz), d.weights((num, n_in), scales, 0)
    bias = (
        d.whole((d.rng.normal(0, 1, num) * 5000).astype(np.int32), np.float32(xs) * scales)
        if d.rng.random() < 0.8
        else -1
    )
    return d.model(kind, (x, weight, bias), (d.codes((rows, num), ys, yz),), activation=act)


def _pool(d: Draft, kind: str, act: int) -> Model:
    (h, w), kernel, strides, spread, same, out = _sides(d, 12, False)
    c, (xs, xz) = int(d.rng.integers(1, 12)), d.numbers()
    options = _window_options(kernel, strides, spread, same, act)
    del options["dilation_h"], options["dilation_w"]
    return d.model(
        kind,
        (d.codes((1, h, w, c), xs, xz),),
        (d.codes((1, *out, c), xs, xz),),
        filter_h=int(kernel[0]),
        filter_w=int(kernel[1]),
        **options,
    )


def _shape(d: Draft, rank: int = 4, biggest: int = 7) -> tuple[int, ...]:
    return (1, *(int(v) for v in d.rng.integers(1, biggest, rank - 1)))


def _binary(d: Draft, kind: str, act: int) -> Model:
    shape = _shape(d)
    other = shape if d.rng.random() < 0.5 else tuple(n if d.rng.random() < 0.5 else 1 for n in shape)
    (xs, xz), (zs, zz), (_, yz) = d.numbers(), d.numbers(), d.numbers()
    ys = float(np.float32((xs * zs * 100 if kind == "MUL" else xs + zs) * np.exp(d.rng.uniform(-1, 1))))
    held = d.rng.integers(-128, 128, other).astype(np.int8) if d.rng.random() < 0.3 else None
    x, z = d.codes(shape, xs, xz), d.codes(other, zs, zz, held)
    pair = (x, z) if d.rng.random() < 0.7 or held is not None else (z, x)
    return d.model(kind, pair, (d.codes(shape, ys, yz),), activation=act)


def _unary(d: Draft, kind: str, _act: int) -> Model:
    shape, (xs, xz), (_, z) = _shape(d), d.numbers(), d.numbers()
    s = float(np.float32(xs * np.exp(d.rng.uniform(0 if kind == "HARD_SWISH" else -1, 1))))
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "RELU6": (xs, xz)}  # RELU6 keeps its codes' scale
    ys, yz = fixed.get(kind, (s, z))
    options = {"alpha": float(np.float32(0.1))} if kind == "LEAKY_RELU" else {}
    return d.model(kind, (d.codes(shape, xs, xz),), (d.codes(shape, ys, yz),), **options)


def _softmax(d: Draft, kind: str, _act: int) -> Model:
    shape = (int(d.rng.integers(1, 4)), int(d.rng.integers(2, 60)))
    x = d.codes(shape, float(np.float32(np.exp(d.rng.uniform(-5, 0)))), d.numbers()[1])
    return d.model(kind, (x,), (d.codes(shape, 1 / 256, -128),), beta=1.0)


def _mean(d: Draft, kind: str, _act: int) -> Model:
    h, w, c = (int(v) for v in d.rng.integers(1, 12, 3))
    last, keep, (xs, xz), (_, yz) = bool(d.rng.random() < 0.3), bool(d.rng.random() < 0.5), d.numbers(), d.numbers()
    ys = float(np.float32(xs * (h * w if kind == "SUM" else 1) * np.exp(d.rng.uniform(-1, 0.5))))
    if d.rng.random() < 0.2 and kind == "MEAN":
        ys, yz = xs, xz
    shape, axes = ((1, c, h, w), [2, 3]) if last else ((1, h, w, c), [1, 2])
    kept = (1, c, 1, 1) if last else (1, 1, 1, c)
    return d.model(
        kind, (d.codes(shape, xs, xz), d.whole(axes)), (d.codes(kept if keep else (1, c), ys, yz),), keep=int(keep)
    )


def _quantise(d: Draft, kind: str, _act: int) -> Model:
    if d.rng.random() < 0.5:
        return _unary(d, kind, 0)
    shape, (ys, yz) = _shape(d), d.numbers()
    return d.model(kind, (d.floats(shape),), (d.codes(shape, ys / 8, yz),))


def _dequantise(d: Draft, kind: str, _act: int) -> Model:
    shape = _shape(d)
    return d.model(kind, (d.codes(shape, *d.numbers()),), (d.floats(shape),))


def _concatenation(d: Draft, kind: str, _act: int) -> Model:
    shape, axis, numbers = list(_shape(d)), int(d.rng.integers(1, 4)), d.numbers()
    parts = [
        tuple(n if i != axis else int(d.rng.integers(1, 6)) for i, n in enumerate(shape))
        for _ in range(int(d.rng.integers(2, 4)))
    ]
    shape[axis] = sum(p[axis] for p in parts)
    return d.model(
        kind,
        [d.codes(p, *numbers) for p in parts],
        (d.codes(shape, *numbers),),
        axis=axis if d.rng.random() < 0.5 else axis - 4,
        activation=0,
    )


def _transpose(d: Draft, kind: str, _act: int) -> Model:
    shape = tuple(int(v) for v in d.rng.integers(1, 7, int(d.rng.integers(2, 5))))
    order, numbers = d.rng.permutation(len(shape)), d.numbers()
    return d.model(kind, (d.codes(shape, *numbers), d.whole(order)), (d.codes([shape[i] for i in order], *numbers),))


def _pad(d: Draft, kind: str, _act: int) -> Model:
    shape, numbers = _shape(d), d.numbers()
    around = d.rng.integers(0, 4, (4, 2))
    around[0] = 0
    return d.model(
        kind, (d.codes(shape, *numbers), d.whole(around)), (d.codes(np.add(shape, around.sum(1)), *numbers),)
    )


def _split(d: Draft, kind: str, _act: int) -> Model:
    axis, num, numbers = int(d.rng.integers(1, 4)), int(d.rng.integers(2, 4)), d.numbers()
    shape = list(_shape(d))
    sizes = [shape[axis]] * num if kind == "SPLIT" else [int(v) for v in d.rng.integers(1, 5, num)]
    parts = [[n if i != axis else size for i, n in enumerate(shape)] for size in sizes]
    shape[axis] = sum(sizes)
    x, at = d.codes(shape, *numbers), d.whole(axis if kind == "SPLIT" else [axis])
    given = (at, x) if kind == "SPLIT" else (x, d.whole(sizes), d.whole(axis))
    return d.model(kind, given, [d.codes(p, *numbers) for p in parts], num=num)


def _slice(d: Draft, kind: str, _act: int) -> Model:
    shape, numbers = _shape(d), d.numbers()
    begin = [int(d.rng.integers(0, n)) for n in shape]
    size = [int(d.rng.integers(1, n - b + 1)) for n, b in zip(shape, begin, strict=True)]
    said = [-1 if b + s == n and d.rng.random() < 0.5 else s for n, b, s in zip(shape, begin, size, strict=True)]
    return d.model(kind, (d.codes(shape, *numbers), d.whole(begin), d.whole(said)), (d.codes(size, *numbers),))


def _strided_slice(d: Draft, kind: str, _act: int) -> Model:
    shape, numbers = _shape(d, biggest=9), d.numbers()
    begin, end, step = [0] * 4, list(shape), [1] * 4
    for i in range(1, 4):
        step[i] = int(d.rng.choice([1, 1, 2, 3, -1]))
        begin[i], end[i] = (
            (int(d.rng.integers(0, shape[i])), shape[i]) if step[i] > 0 else (shape[i] - 1, -shape[i] - 1)
        )
    masks = {
        "begin_mask": int(d.rng.choice([0, 1, 9])),
        "end_mask": int(d.rng.choice([0, 1])),
        "ellipsis_mask": 0,
        "new_axis_mask": 0,
        "shrink_axis_mask": 0,
    }
    picked = [
        range(n)[slice(None if masks["begin_mask"] >> i & 1 else b, None if masks["end_mask"] >> i & 1 else e, s)]
        for i, (n, b, e, s) in enumerate(zip(shape, begin, end, step, strict=True))
    ]
    x = d.codes(shape, *numbers)
    return d.model(
        kind, (x, d.whole(begin), d.whole(end), d.whole(step)), (d.codes([len(p) for p in picked], *numbers),), **masks
    )


def _resize(d: Draft, kind: str, _act: int) -> Model:
    shape, numbers = _shape(d), d.numbers()
    out = [int(v) for v in d.rng.integers(1, 12, 2)]
    corners = bool(d.rng.random() < 0.3)
    return d.model(
        kind,
        (d.codes(shape, *numbers), d.whole(out)),
        (d.codes((1, *out, shape[3]), *numbers),),
        align_corners=int(corners),
        half_pixel_centers=int(not corners and d.rng.random() < 0.5),
    )


def _float_binary(d: Draft, kind: str, _act: int) -> Model:
    shape = _shape(d)
    held = d.rng.normal(0, 1, (1, shape[1], 1, 1)).astype(np.float32)
    return d.model(
        kind.removeprefix("FLOAT_"), (d.floats(shape), d.floats(held.shape, held)), (d.floats(shape),), activation=0
    )


MAKERS: dict[str, Callable[[Draft, str, int], Model]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
    "FULLY_CONNECTED": _fully_connected,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _pool),
    **dict.fromkeys(("ADD", "SUB", "MUL"), _binary),
    **dict.fromkeys(("LOGISTIC", "TANH", "HARD_SWISH", "RELU", "RELU6", "LEAKY_RELU", "ELU"), _unary),
    "SOFTMAX": _softmax,
    **dict.fromkeys(("MEAN", "SUM"), _mean),
    "QUANTIZE": _quantise,
    "DEQUANTIZE": _dequantise,
    "CONCATENATION": _concatenation,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    **dict.fromkeys(("FLOAT_ADD", "FLOAT_SUB", "FLOAT_MUL", "FLOAT_DIV"), _float_binary),
}
"""Kind -> its random model."""
