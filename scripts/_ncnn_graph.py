"""Layers and activations of ncnn's own benchmark models, from their .param files: what the calibration rows do not say.

A .param file is a list of layers with their numbers, no weights. Shapes are height and width of an input that ncnn's benchmark names.
The walk is checked: MACs by class must be those of the calibration rows, model for model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SIDES = {"squeezenet": 227, "alexnet": 227, "squeezenet_ssd": 300, "mobilenet_ssd": 300, "mobilenet_yolo": 416,
         "mobilenetv2_yolov3": 352, "yolov4-tiny": 416, "nanodet_m": 320, "yolo-fastest-1.1": 320, "yolo-fastestv2": 352,
         "FastestDet": 352, "blazeface": 128}  # fmt: skip
"""Side of the input in pixels; 224 where a model is not named."""
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "DeconvolutionDepthWise")
SAME_PAD = (-233, -234)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One line of a .param file."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    numbers: dict[int, Any]

    def get(self, key: int, default: float = 0) -> int:
        """Return a number of the layer."""
        return int(self.numbers.get(key, default))


@dataclass(frozen=True)
class Counted:
    """What a model has."""

    layers: int
    """Lines of the file, inputs and splits among them."""
    activations: int
    """Elements of all outputs, those of splits left out: they are the same numbers again."""
    macs: dict[str, int]
    """By class: conv, pw (1×1), dw, fc."""


def parse(text: str) -> list[Layer]:
    """Return the layers of a .param file."""
    layers = []
    for line in text.splitlines()[2:]:
        words = line.split()
        if not words:
            continue
        reads, gives = int(words[2]), int(words[3])
        numbers: dict[int, Any] = {}
        for word in words[4 + reads + gives :]:
            key, _, value = word.partition("=")
            if int(key) <= -23300:
                numbers[-23300 - int(key)] = [float(v) for v in value.split(",")[1:]]
            else:
                numbers[int(key)] = float(value)
        layers.append(Layer(words[0], words[4 : 4 + reads], words[4 + reads : 4 + reads + gives], numbers))
    return layers


def count(name: str, text: str) -> Counted:
    """Return what a benchmark model has; `name` as the benchmark calls it."""
    side, shapes = SIDES.get(name, 224), dict[str, Shape]()
    macs, activations = {"conv": 0, "pw": 0, "dw": 0, "fc": 0}, 0
    layers = parse(text)
    for layer in layers:
        given = [shapes[n] for n in layer.inputs]
        made = [(3, side, side)] if layer.kind == "Input" else _shapes(layer, given)
        hinted = _hinted(layer)
        if hinted and [math.prod(s) for s in hinted] != [math.prod(s) for s in made]:
            made = hinted
        shapes.update(zip(layer.outputs, made, strict=False))
        if layer.kind != "Split":
            activations += sum(math.prod(s) for s in made)
        kind, amount = _macs(layer, given, made)
        if kind:
            macs[kind] += amount
    return Counted(len(layers), activations, macs)


def _macs(layer: Layer, given: Sequence[Shape], made: Sequence[Shape]) -> tuple[str, int]:
    if layer.kind == "InnerProduct":
        return "fc", layer.get(2)
    if layer.kind not in CONVOLUTIONS[:2]:
        return "", 0
    wide, high = layer.get(1), layer.get(11, layer.get(1))
    groups, channels = layer.get(7, 1) if layer.kind == CONVOLUTIONS[1] else 1, given[0][0]
    kind = "dw" if groups == channels == made[0][0] else "pw" if wide == high == 1 else "conv"
    return kind, math.prod(made[0]) * (channels // groups) * wide * high


def _hinted(layer: Layer) -> list[Shape]:
    """Return the shapes of the outputs as the file itself says them, where it does."""
    out, said = [], [int(v) for v in layer.numbers.get(30, [])]
    for start in range(0, len(said), 4):
        rank, wide, high, channels = said[start : start + 4]
        out.append((wide,) if rank == 1 else (high, wide) if rank == 2 else (channels, high, wide))
    return out


def _shapes(layer: Layer, given: Sequence[Shape]) -> list[Shape]:
    """Return the shapes of a layer's outputs, [channels, height, width] or shorter."""
    kind = layer.kind
    first = given[0] if given else (1,)
    if kind in CONVOLUTIONS:
        return [_convolved(layer, first)]
    if kind == "InnerProduct":
        return [(layer.get(0),)]
    if kind == "Pooling":
        return [_pooled(layer, first)]
    if kind == "Concat":
        axis = layer.get(0) % len(first)
        return [(*first[:axis], sum(s[axis] for s in given), *first[axis + 1 :])]
    if kind == "Slice":
        return _sliced(layer, first)
    if kind in ("BinaryOp", "Eltwise"):
        return [max(given, key=math.prod)]
    if kind == "Padding":
        c, h, w = first
        return [(c + layer.get(7) + layer.get(8), h + layer.get(0) + layer.get(1), w + layer.get(2) + layer.get(3))]
    if kind == "Interp":
        c, h, w = first
        by = layer.numbers
        return [(c, layer.get(3) or int(h * by.get(1, 1)), layer.get(4) or int(w * by.get(2, 1)))]
    if kind in ("Flatten", "Reshape"):
        return [(math.prod(first),)]
    if kind == "Reduction":
        return [(first[0],)]
    if kind == "Crop":
        return [given[-1]]
    if kind in ("PriorBox", "DetectionOutput", "Yolov3DetectionOutput", "YoloDetectionOutput"):
        return [(0,)]
    return [first] * len(layer.outputs)


def _convolved(layer: Layer, first: Shape) -> Shape:
    _, high, wide = first
    kernel, dilation, stride, left = layer.get(1), layer.get(2, 1), layer.get(3, 1), layer.get(4)
    tall, down, top = layer.get(11, kernel), layer.get(13, stride), layer.get(14, left)
    right, bottom = layer.get(15, left), layer.get(16, top)
    if layer.kind == CONVOLUTIONS[2]:
        return (
            layer.get(0),
            (high - 1) * down + tall - top - bottom,
            (wide - 1) * stride + kernel - left - right,
        )
    if left in SAME_PAD:
        return (layer.get(0), -(-high // down), -(-wide // stride))
    return (layer.get(0), (high + top + bottom - dilation * (tall - 1) - 1) // down + 1,
            (wide + left + right - dilation * (kernel - 1) - 1) // stride + 1)  # fmt: skip


def _pooled(layer: Layer, first: Shape) -> Shape:
    if layer.get(4) == 1:
        return (first[0],)
    kernel, stride, pad, mode = layer.get(1), layer.get(2, 1), layer.get(3), layer.get(5)

    def size(length: int, window: int) -> int:
        if mode in (2, 3):
            return -(-length // stride)
        room = length + 2 * pad - window
        return (room // stride if mode == 1 else -(-room // stride)) + 1

    return (first[0], size(first[1], layer.get(11, kernel)), size(first[2], kernel))


def _sliced(layer: Layer, first: Shape) -> list[Shape]:
    left, out = first[0], []
    parts = layer.numbers[0]
    for place, part in enumerate(parts):
        taken = left // (len(parts) - place) if int(part) == -233 else int(part)
        out.append((taken, *first[1:]))
        left -= taken
    return out
