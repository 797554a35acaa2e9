"""Tiny modules to check exporters, teachers and trainers with. Loads torch. Shapes: B rows, C channels, K classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Convolution, ReLU, mean over pixels, linear: takes pictures of any size.

    Args:
        channels: C.
        num_classes: K.
        width: channels of the convolution.
    """

    def __init__(self, channels: int = 1, num_classes: int = 10, width: int = 4) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, width, 3, padding=1), nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K]."""
        out: Tensor = self.head(self.last(torch.relu(self.conv(x))))
        return out

    def last(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> [B, width]."""
        return x.mean(dim=(2, 3))


class Restless(Plain):
    """With BatchNorm and dropout: in training mode no two calls agree, and its statistics move."""

    def __init__(self, channels: int = 1, num_classes: int = 10, width: int = 4) -> None:
        super().__init__(channels, num_classes, width)
        self.norm, self.dropout = nn.BatchNorm2d(width), nn.Dropout(0.5)

    def last(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> [B, width]."""
        out: Tensor = self.dropout(self.norm(x).mean(dim=(2, 3)))
        return out


class Viewing(Plain):
    """With a `view` over channels and pixels, as many published models have: fails on channels-last memory, breaks on a
    batch size that a tracer took for a constant."""

    def last(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> [B, width]."""
        return x.view(x.shape[0], -1).reshape(x.shape[0], x.shape[1], -1).mean(dim=2)


MODULES = (Restless, Viewing)
"""What an exporter is tried with, each [B, 1, H, W] -> [B, 10]; both are `Plain` and more."""


def plain(channels: int = 1, num_classes: int = 10, width: int = 4) -> nn.Module:
    """Return a `Plain` whose weights are the same each time, whatever the generator's state."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(5)
        return Plain(channels, num_classes, width)


class Shortcut(nn.Module):
    """Convolution, BatchNorm and an activation in place; a sum with a shortcut; a mean; a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, H, W] -> [B, 10]."""
        x = self.act(self.norm(self.first(x)))
        out: Tensor = self.head((self.second(x) + x).mean(dim=(2, 3)))
        return out


def shortcut() -> tuple[Shortcut, Tensor]:
    """Return (a Shortcut whose statistics are not 0 and 1, in eval mode, inputs [16, 1, 6, 6])."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)
        module, x = Shortcut(), torch.randn(16, 1, 6, 6)
    with torch.no_grad():
        for _ in range(3):
            module(x * 2 + 1)
    return module.eval(), x
