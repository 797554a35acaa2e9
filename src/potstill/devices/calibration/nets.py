"""The nets as data, and one walk over them that gives each layer its shapes and weights. Shapes: B rows, H and W, C channels, L tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["conv", "dw", "pool", "fc", "embed"]


@dataclass(frozen=True)
class Layer:
    """One layer; what has weights is followed by a ReLU, save the last."""

    kind: Kind
    """conv, dw (depthwise), pool (mean over all places), fc (fully connected, flattens before), embed (a row of a table a token)."""
    channels: int = 0
    """Of the output; of dw and pool as before."""
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    rows: int = 0
    """Of the table of embed."""


@dataclass(frozen=True)
class Net:
    """A net of one input and one output."""

    name: str
    shape: tuple[int, ...]
    """Of one input: [H, W, C] float32, or [L] int32 tokens."""
    layers: tuple[Layer, ...]

    @property
    def tokens(self) -> bool:
        """Whether it reads tokens."""
        return len(self.shape) == 1


@dataclass(frozen=True)
class Step:
    """A layer with its shapes [H, W, C] and its weights."""

    layer: Layer
    reads: tuple[int, int, int]
    gives: tuple[int, int, int]
    weights: NDArray[np.float32] | None
    """[O, kH, kW, I] of conv, [1, kH, kW, C] of dw, [O, I] of fc, [rows, D] of embed; None of pool."""
    bias: NDArray[np.float32] | None
    last: bool


def steps(net: Net) -> Iterator[Step]:
    """Yield the layers of a net with weights drawn from a fixed seed, of a size that leaves activations near 1."""
    draw = np.random.default_rng(0)
    shape: tuple[int, int, int] = (1, net.shape[0], 0) if net.tokens else net.shape  # type: ignore[assignment]
    for place, layer in enumerate(net.layers):
        high, wide, channels = shape
        kernel, stride = layer.kernel, layer.stride
        sized: tuple[int, ...] | None = None
        if layer.kind == "embed":
            gives, sized = (high, wide, layer.channels), (layer.rows, layer.channels)
        elif layer.kind == "conv":
            gives, sized = (-(-high // stride), -(-wide // stride), layer.channels), (layer.channels, *kernel, channels)
        elif layer.kind == "dw":
            gives, sized = (-(-high // stride), -(-wide // stride), channels), (1, *kernel, channels)
        elif layer.kind == "pool":
            gives = (1, 1, channels)
        else:
            gives, sized = (1, 1, layer.channels), (layer.channels, high * wide * channels)
        weights = bias = None
        if sized is not None:
            reach = kernel[0] * kernel[1] if layer.kind == "dw" else int(np.prod(sized[1:]))
            scale = 1.0 if layer.kind == "embed" else (2.0 / reach) ** 0.5
            weights = (draw.standard_normal(sized) * scale).astype(np.float32)
            bias = (
                None if layer.kind == "embed" else np.zeros(sized[-1] if layer.kind == "dw" else sized[0], np.float32)
            )
        yield Step(layer, shape, gives, weights, bias, place == len(net.layers) - 1)
        shape = gives


def sample(net: Net, channels_first: bool) -> NDArray[Any]:
    """Return one input [1, *X] of a net, drawn from a fixed seed; [1, C, H, W] where asked."""
    draw = np.random.default_rng(1)
    if net.tokens:
        return draw.integers(0, net.layers[0].rows, (1, *net.shape)).astype(np.int32)
    image = draw.standard_normal((1, *net.shape)).astype(np.float32)
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2)) if channels_first else image


def _convs(name: str, size: int, width: int, depth: int, classes: int = 10) -> Net:
    """Convolutions of 3×3 in three stages, as a ResNet has them."""
    layers = [Layer("conv", width, (3, 3))]
    for stage in range(3):
        for place in range(depth):
            layers.append(Layer("conv", width << stage, (3, 3), 2 if stage and not place else 1))
    return Net(name, (size, size, 3), (*layers, Layer("pool"), Layer("fc", classes)))


def _separable(name: str, size: int, width: int, depth: int, channels: int = 3) -> Net:
    """Depthwise convolutions, each with a pointwise one, as MobileNet and DS-CNN have them."""
    layers = [Layer("conv", width, (3, 3), 2)]
    for place in range(depth):
        wider = width << min(3, place * 4 // depth)
        layers += [Layer("dw", 0, (3, 3), 2 if place and place % 3 == 0 else 1), Layer("conv", wider)]
    return Net(name, (size, size, channels), (*layers, Layer("pool"), Layer("fc", 10)))


def _dense(name: str, given: int, width: int, depth: int) -> Net:
    """Fully connected layers."""
    return Net(name, (1, 1, given), (*(Layer("fc", width) for _ in range(depth)), Layer("fc", given)))


def _text(name: str, length: int, width: int, depth: int) -> Net:
    """A table of embeddings and convolutions over tokens."""
    convs = (Layer("conv", width, (1, 5)) for _ in range(depth))
    return Net(name, (length,), (Layer("embed", width, rows=4096), *convs, Layer("pool"), Layer("fc", 32)))


NETS: tuple[Net, ...] = (
    _convs("conv-16", 16, 8, 1),
    _convs("conv-32", 32, 8, 2),
    _convs("conv-32-wide", 32, 24, 2),
    _convs("conv-64", 64, 32, 3),
    _convs("conv-96", 96, 32, 3),
    _separable("separable-32", 32, 8, 4),
    _separable("separable-49", 49, 32, 4, channels=1),
    _separable("separable-96", 96, 16, 8),
    _separable("separable-160", 160, 32, 8),
    _separable("separable-224", 224, 32, 12),
    _dense("dense-128", 128, 128, 3),
    _dense("dense-640", 640, 512, 4),
    _dense("dense-1024", 1024, 2048, 3),
    _text("text-32", 32, 64, 2),
    _text("text-64", 64, 128, 3),
    _text("text-128", 128, 192, 4),
)
"""From a twentieth of a million multiply-accumulates to some hundreds of millions, of each kind several sizes."""
QUICK = tuple(
    net for net in NETS if net.name not in ("conv-96", "separable-224", "separable-160", "dense-1024", "text-128")
)
"""Those that take little time."""
