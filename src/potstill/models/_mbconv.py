"""Inverted residuals padded as TensorFlow pads them. Imported inside `build` only: this file loads torch. Shapes: B rows, C
channels, H, W pixels, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

_EPS, _MOMENTUM = 1e-3, 0.01


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first has the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


class SameConv2d(nn.Conv2d):
    """A convolution without bias that gives ceil(size / stride) pixels: where the padding is odd, the end gets one more.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side, odd.
        stride: 1 or 2.
        groups: of channels.
        size: height and width in.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, size: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.around: list[int] = []
        for side in reversed(size):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            self.around += [total // 2, total - total // 2]
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', ceil(H / stride), ceil(W / stride)]."""
        padded = F.pad(x, self.around) if any(self.around) else x
        return F.conv2d(padded, self.weight, None, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS, momentum=_MOMENTUM)


class MBConv(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes allow."""

    def __init__(self, inputs: int, stage: Stage, stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expands = stage.expansion != 1
        if self.expands:
            self._expand_conv, self._bn0 = SameConv2d(inputs, hidden, 1, 1, 1, size), _norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, stage.kernel, stride, hidden, size)
        self._bn1 = _norm(hidden)
        small = (-(-size[0] // stride), -(-size[1] // stride))
        self._project_conv, self._bn2 = SameConv2d(hidden, stage.channels, 1, 1, 1, small), _norm(stage.channels)
        self.skips = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        out: Tensor = x + y if self.skips else y
        return out


class EfficientNetLite(nn.Module):
    """Stem, stages, head; module names as in published weights.

    Args:
        channels: of the picture.
        size: its height and width.
        stem: channels after the first convolution.
        stages: in order.
        head: channels before the classifier.
        num_classes: K.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], stem: int, stages: Sequence[Stage], head: int, num_classes: int
    ) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv2d(channels, stem, 3, 2, 1, size), _norm(stem)
        size, inputs, blocks = _halved(size), stem, []
        for stage in stages:
            for i in range(stage.blocks):
                stride = stage.stride if i == 0 else 1
                blocks.append(MBConv(inputs, stage, stride, size))
                inputs, size = stage.channels, _halved(size) if stride == 2 else size
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv2d(inputs, head, 1, 1, 1, size), _norm(head)
        self._fc = nn.Linear(head, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        out: Tensor = self._fc(x.mean(dim=(2, 3)))
        return out


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // 2), -(-size[1] // 2)
