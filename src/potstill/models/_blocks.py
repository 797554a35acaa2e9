"""Blocks that families share. Imported inside `build` only: this file loads torch. Shapes: B rows, C channels, T tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

Act = Callable[[], nn.Module]


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, layer: type[nn.Conv2d] = nn.Conv2d
) -> list[nn.Module]:
    """Return convolution without bias, padded to keep the size at stride 1, and BatchNorm."""
    conv = layer(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(outputs)]


def depthwise_separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return a depthwise 3×3 and a pointwise convolution, each with BatchNorm and ReLU (Howard et al. 2017)."""
    return nn.Sequential(
        *conv_bn(inputs, inputs, 3, stride, groups=inputs), nn.ReLU(), *conv_bn(inputs, outputs, 1), nn.ReLU()
    )


class Residual(nn.Module):
    """body(x) + shortcut(x), then an activation.

    Args:
        body: the long way.
        shortcut: the short way; None passes x on.
        activation: after the sum; None for none.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.activation = activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        out: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return out


class PadShortcut(nn.Module):
    """He et al. 2015's option A: every second pixel, missing channels zero; no parameters.

    Args:
        inputs: channels in.
        outputs: channels out, >= inputs.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class Projection(nn.Conv2d):
    """A 1×1 convolution with a stride that reads only the pixels it needs, at stride 1.

    PyTorch 2.13's own strided 1×1 kernel (oneDNN 3.12) writes past its buffers in the backward pass on channels-last
    memory with few input channels: fewer than 8 with AVX2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        return F.conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight, self.bias)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut (He et al. 2015, arXiv:1512.03385); names as in published weights."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, outputs, 3, stride)
        self.conv2, self.bn2 = conv_bn(outputs, outputs, 3)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            if shortcut == "pad":
                self.shortcut = PadShortcut(inputs, outputs, stride)
            else:
                self.shortcut = nn.Sequential(*conv_bn(inputs, outputs, 1, stride, layer=Projection))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of basic blocks for small pictures; module names as in published CIFAR weights."""

    def __init__(self, channels: int, num_classes: int, blocks: int, width: int, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, width, 3)
        self.layer1 = self._stage(width, width, blocks, 1, shortcut)
        self.layer2 = self._stage(width, 2 * width, blocks, 2, shortcut)
        self.layer3 = self._stage(2 * width, 4 * width, blocks, 2, shortcut)
        self.linear = nn.Linear(4 * width, num_classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int, shortcut: str) -> nn.Sequential:
        first = BasicBlock(inputs, outputs, stride, shortcut)
        return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1, shortcut) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(x.mean(dim=(2, 3)))
        return out


class GlobalMean(nn.Module):
    """Average over pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return x.mean(dim=(2, 3))


class SelfAttention(nn.Module):
    """Multi-head attention written in plain matrix products, so that every exporter and pruner sees it. Queries, keys, values
    [B, heads, T, C / heads] and probabilities [B, heads, T, T] each pass a module of their own, which can be tapped.

    Args:
        dim: token width, a multiple of `heads`.
        heads: attention heads, each of width dim / heads; a pruner may take heads, or channels of the tokens, away.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.head_width = dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.query, self.key, self.value = nn.Identity(), nn.Identity(), nn.Identity()
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(dim, dim)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.out.in_features // self.head_width

    def forward(self, x_BTC: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, T, C] -> [B, T, C]; `bias`, such as that of a mask, is added to the scores [B, heads, T, T]."""
        num_tokens = x_BTC.shape[1]
        qkv = self.qkv(x_BTC).reshape(-1, num_tokens, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        q, k, v = self.query(qkv[0]), self.key(qkv[1]), self.value(qkv[2])
        scores = q @ k.transpose(-2, -1) * self.head_width**-0.5
        if bias is not None:
            scores = scores + bias
        mixed = (self.softmax(scores) @ v).transpose(1, 2).reshape(-1, num_tokens, self.heads * self.head_width)
        out: Tensor = self.out(mixed)
        return out


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, normalised before each (Xiong et al. 2020, arXiv:2002.04745)."""

    def __init__(self, dim: int, heads: int, hidden: int, act: Act) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), act(), nn.Linear(hidden, dim))

    def forward(self, x_BTC: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, T, C] -> [B, T, C]; `bias` as in attention."""
        x_BTC = x_BTC + self.attention(self.norm1(x_BTC), bias)
        out: Tensor = x_BTC + self.mlp(self.norm2(x_BTC))
        return out


class ViT(nn.Module):
    """A small vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929) that averages its tokens."""

    def __init__(
        self, channels: int, num_tokens: int, num_classes: int, *, patch: int, dim: int, depth: int, heads: int,
        hidden: int, act: Act,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embed = nn.Conv2d(channels, dim, patch, patch)
        self.position = nn.Parameter(torch.randn(1, num_tokens, dim) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(dim, heads, hidden, act) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        out: Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return out
