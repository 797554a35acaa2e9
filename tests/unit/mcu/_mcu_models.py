"""Small networks of several layers, as .tflite files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.mcu.model import Model, Op
from potstill.testing.one_operator import Draft


class Network(Draft):
    """Layers one after the other over an image."""

    def __init__(self, seed: int, shape: Sequence[int]) -> None:
        super().__init__(np.random.default_rng(seed))
        self.ops: list[Op] = []
        self.last = self.codes(shape, 0.02, 3)

    def layer(
        self,
        kind: str,
        num: int,
        side: int,
        *,
        kernel: int = 3,
        same: bool = True,
        dead: Sequence[int] = (),
        quiet: int = -500,
    ) -> None:
        """Add a convolution with `dead` outputs whose weights are 0 and whose bias is `quiet`."""
        deep = kind == "DEPTHWISE_CONV_2D"
        c = self.tensors[self.last].shape[-1]
        scales = np.exp(self.rng.uniform(-6, -5, num)).astype(np.float32)
        w = self.weights((1, kernel, kernel, num) if deep else (num, kernel, kernel, c), scales, 3 if deep else 0)
        data = self.tensors[w].data
        assert data is not None
        for d in dead:
            data[(..., d) if deep else d] = 0
        biases = self.rng.integers(-3000, 3000, num)
        biases[list(dead)] = quiet  # below 0 they give 0 under ReLU
        bias = self.whole(biases, np.float32(self.tensors[self.last].scale) * scales)
        y = self.codes((1, side, side, num), 0.05, -128 if self.rng.random() < 0.5 else -100)
        options = {
            "padding": 0 if same else 1,
            "stride_h": 1,
            "stride_w": 1,
            "dilation_h": 1,
            "dilation_w": 1,
            "activation": 1,
        }
        if deep:
            options["multiplier"] = num // c
        self.add(kind, (self.last, w, bias), y, **options)

    def add(self, kind: str, inputs: Sequence[int], output: int, **options: float) -> None:
        """Add an operator."""
        self.ops.append(Op(len(self.ops), kind, tuple(inputs), (output,), options))
        self.last = output

    def done(self, name: str = "network.tflite") -> Model:
        """Return the model."""
        return Model(name, tuple(self.tensors), tuple(self.ops), (0,), (self.last,))


def network(dead: Sequence[int] = (), seed: int = 0) -> Model:
    """Return a depthwise separable network with a pad, a pool and a head; `dead` channels of its 1 x 1 layer have no weights."""
    net = Network(seed, (1, 8, 8, 3))
    net.layer("CONV_2D", 8, 8)
    padded = net.codes((1, 10, 10, 8), *_numbers(net))
    net.add("PAD", (net.last, net.whole([[0, 0], [1, 1], [1, 1], [0, 0]])), padded)
    net.layer("DEPTHWISE_CONV_2D", 8, 8, same=False, dead=[d for d in dead if d < 3], quiet=2500)
    net.layer("CONV_2D", 12, 8, kernel=1, dead=dead)
    net.layer("DEPTHWISE_CONV_2D", 12, 8, dead=dead)
    net.layer("CONV_2D", 6, 8, kernel=3)
    pooled = net.codes((1, 4, 4, 6), *_numbers(net))
    window = {"padding": 1, "stride_h": 2, "stride_w": 2, "filter_h": 2, "filter_w": 2, "activation": 0}
    net.add("AVERAGE_POOL_2D", (net.last,), pooled, **window)
    flat = net.codes((1, 96), *_numbers(net))
    net.add("RESHAPE", (pooled, net.whole([1, 96])), flat)
    head = net.weights((5, 96), np.full(1, 0.003, np.float32), 0)
    net.add(
        "FULLY_CONNECTED",
        (flat, head, net.whole(np.zeros(5), np.full(1, net.tensors[flat].scale * 0.003, np.float32))),
        net.codes((1, 5), 0.2, 0),
        activation=0,
    )
    net.add("SOFTMAX", (net.last,), net.codes((1, 5), 1 / 256, -128), beta=1.0)
    return net.done()


def _numbers(net: Network) -> tuple[float, int]:
    t = net.tensors[net.last]
    return t.scale, t.zero
