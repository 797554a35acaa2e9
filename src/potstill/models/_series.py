"""Blocks of families that read series. Imported inside `build` only: this file loads torch.

Shapes: B rows, V variables, T steps, C channels, H horizon, N patches.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from potstill.core.errors import ShapeError
from potstill.models._blocks import Act, TransformerBlock
from potstill.models._io import ModelIO


def conv_bn_1d(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return convolution over steps without bias, padded to keep the length at stride 1, and BatchNorm."""
    conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm1d(outputs)]


def depthwise_separable_1d(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Return a depthwise and a pointwise convolution, each with BatchNorm and ReLU (Howard et al. 2017)."""
    return nn.Sequential(
        *conv_bn_1d(inputs, inputs, kernel, stride, groups=inputs), nn.ReLU(),
        *conv_bn_1d(inputs, outputs, 1), nn.ReLU(),
    )  # fmt: skip


class MeanOverSteps(nn.Module):
    """Average over steps."""

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] -> [B, C]."""
        return x_BCT.mean(dim=2)


class LastStep(nn.Module):
    """The last step alone."""

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] -> [B, C]."""
        return x_BCT[:, :, -1]


def head(channels: int, outputs: tuple[int, ...]) -> list[nn.Module]:
    """Return what ends in [B, *outputs]: one linear map, and a shape where the outputs have two dimensions."""
    last: list[nn.Module] = [nn.Linear(channels, math.prod(outputs))]
    return last if len(outputs) == 1 else [*last, nn.Unflatten(1, outputs)]


class CausalConv(nn.Module):
    """A dilated convolution that sees no later step, weight and bias; the length stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.left = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T]."""
        out: Tensor = self.conv(F.pad(x_BCT, (self.left, 0)))
        return out


class CausalBlock(nn.Module):
    """Two dilated causal convolutions with BatchNorm around a shortcut (Bai et al. 2018, arXiv:1803.01271, figure 1b)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            CausalConv(inputs, outputs, kernel, dilation), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout),
            CausalConv(outputs, outputs, kernel, dilation), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T]."""
        return F.relu(self.body(x_BCT) + self.shortcut(x_BCT))


class GruReader(nn.Module):
    """A GRU over steps whose last state, of each direction, is the answer.

    Args:
        variables: V.
        hidden: state's width.
        layers: stacked GRUs.
        bidirectional: reads the steps backwards too.
    """

    def __init__(self, variables: int, hidden: int, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(variables, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.ways = 2 if bidirectional else 1

    def forward(self, x_BVT: Tensor) -> Tensor:
        """[B, V, T] -> [B, hidden times directions]."""
        _, states = self.gru(x_BVT.transpose(1, 2))
        return torch.cat([states[-self.ways + i] for i in range(self.ways)], dim=1)


class Forecaster(nn.Module):
    """One forecaster for every variable alone; what is normalised before it is scaled back after.

    Args:
        one: [B * V, T] -> [B * V, H].
        offset: what is taken from a window and put back on its forecast: "last", its last value (Zeng et al. 2023); "window",
            its mean, and its standard deviation divides (Kim et al. 2022, RevIN, without trained scales); "nothing".
    """

    def __init__(self, one: nn.Module, offset: Literal["last", "window", "nothing"]) -> None:
        super().__init__()
        self.one, self.offset = one, offset

    @staticmethod
    def horizon(io: ModelIO, kind: str) -> int:
        """Return H. Raises ShapeError unless the data asks for every variable's own future."""
        if len(io.outputs) != 2 or io.outputs[1] != io.channels:
            raise ShapeError(
                f"{kind}: must forecast each variable that it sees, [H, {io.channels}]; got outputs {list(io.outputs)}. Leave "
                "data.targets out, or use a model that mixes variables: ds-cnn-1d, tcn or gru."
            )
        return io.outputs[0]

    def forward(self, x_BVT: Tensor) -> Tensor:
        """[B, V, T] -> [B, H, V]."""
        variables, steps = x_BVT.shape[1], x_BVT.shape[2]
        shift = x_BVT[:, :, -1:] if self.offset == "last" else x_BVT.mean(dim=2, keepdim=True)
        x = x_BVT if self.offset == "nothing" else x_BVT - shift
        if self.offset == "window":
            scale = (x.square().mean(dim=2, keepdim=True) + 1e-5).sqrt()
            x = x / scale
        out: Tensor = self.one(x.reshape(-1, steps))
        out = out.reshape(-1, variables, out.shape[1])
        if self.offset == "window":
            out = out * scale
        return (out if self.offset == "nothing" else out + shift).transpose(1, 2)


def flat_linear(steps: int, horizon: int) -> nn.Linear:
    """Return a map that begins as the mean over steps, as the paper's code does."""
    linear = nn.Linear(steps, horizon)
    nn.init.constant_(linear.weight, 1 / steps)
    return linear


class TrendAndRest(nn.Module):
    """One linear map of the moving average, one of what it leaves (Zeng et al. 2023, arXiv:2205.13504: DLinear).

    Args:
        steps: T.
        horizon: H.
        average: steps of the moving average, odd; the ends are repeated.
    """

    def __init__(self, steps: int, horizon: int, average: int) -> None:
        super().__init__()
        if average % 2 == 0:
            raise ShapeError(f"forecast-linear: average must be odd; got {average}.")
        self.average = average
        self.trend, self.rest = flat_linear(steps, horizon), flat_linear(steps, horizon)

    def forward(self, x_BT: Tensor) -> Tensor:
        """[B, T] -> [B, H]."""
        half = self.average // 2
        wide = torch.cat([x_BT[:, :1].expand(-1, half), x_BT, x_BT[:, -1:].expand(-1, half)], dim=1)
        trend = F.avg_pool1d(wide[:, None], self.average, 1)[:, 0]
        out: Tensor = self.trend(trend) + self.rest(x_BT - trend)
        return out


class PatchForecaster(nn.Module):
    """The Transformer of PatchTST (Nie et al. 2023, arXiv:2211.14730) for one variable.

    Departs: LayerNorm before each part where the paper has BatchNorm after it.

    Args:
        steps: T; the end is repeated by one stride, so that a last patch has it.
        horizon: H.
        patch: steps in a patch.
        stride: steps between the beginnings of two patches.
        dim: width of a token.
        depth: blocks.
        heads: attention heads.
        hidden: width of the perceptron.
        dropout: share of embedded and of flattened values dropped while training.
        act: activation of the perceptron.
    """

    def __init__(
        self, steps: int, horizon: int, *, patch: int, stride: int, dim: int, depth: int, heads: int, hidden: int,
        dropout: float, act: Act,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride = stride
        num_patches = (steps + stride - patch) // stride + 1
        self.embed = nn.Conv1d(1, dim, patch, stride)
        self.position = nn.Parameter(torch.randn(1, num_patches, dim) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(dim, heads, hidden, act) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(num_patches * dim, horizon)

    def forward(self, x_BT: Tensor) -> Tensor:
        """[B, T] -> [B, H]."""
        x = torch.cat([x_BT, x_BT[:, -1:].expand(-1, self.stride)], dim=1)
        tokens = self.drop(self.embed(x[:, None]).transpose(1, 2) + self.position)
        tokens = self.norm(self.blocks(tokens))
        out: Tensor = self.head(self.drop(tokens.flatten(1)))
        return out
