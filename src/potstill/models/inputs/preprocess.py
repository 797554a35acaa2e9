"""What stands between a batch and a model. Loads torch. Shapes: B rows, X the shape of one input, C channels, H, W pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from potstill.core.writing import Writing


class Preprocess(nn.Module):
    """What the host does (`outside`), then what is exported with the model (`inside`).

    Args:
        inside: [B, *X] after `outside` -> [B, *X'] as the model reads it.
    """

    writing: Writing | None = None
    """How a model that writes texts does so; None for all others."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.memory_format = torch.contiguous_format

    def outside(self, inputs_BX: Tensor) -> Tensor:
        """Return what an exported model takes."""
        return inputs_BX

    def outside_numpy(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return what an exported model takes, as arrays."""
        out: NDArray[Any] = self.outside(torch.from_numpy(inputs_BX)).numpy()
        return out

    def answers(self, module: nn.Module, inputs_BX: Tensor) -> NDArray[Any]:
        """Return what a model gives for a batch as the data gives it, as the task judges it: [B, K] or [B, H, V] float32, or
        text that it writes, [B, W] uint8. A pure function of the batch; the module is in eval mode."""
        out: NDArray[Any] = module(self(inputs_BX)).float().cpu().numpy()
        return out

    def judged(self, outputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return what the task judges, of what an exported model gave for `outside`."""
        return outputs_BX

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """Return what the model reads, of a batch as the data gives it."""
        out: Tensor = self.inside(self.outside(inputs_BX))
        return out.contiguous(memory_format=self.memory_format) if out.ndim == 4 else out


def answers_of(module: nn.Module, preprocess: nn.Module, inputs_BX: Tensor) -> NDArray[Any]:
    """Return `Preprocess.answers`; of another module before the model, what the model gives."""
    if isinstance(preprocess, Preprocess):
        return preprocess.answers(module, inputs_BX)
    out: NDArray[Any] = module(preprocess(inputs_BX)).float().cpu().numpy()
    return out


class Resize(Preprocess):
    """Pictures: bilinear, antialiased, only if the size differs; normalisation is inside.

    Args:
        inside: as `Preprocess`.
        size: height and width the model reads.
    """

    def __init__(self, inside: nn.Module, size: tuple[int, int]) -> None:
        super().__init__(inside)
        self.size = size

    def outside(self, inputs_BX: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] at the data's size -> at the model's."""
        if tuple(inputs_BX.shape[2:]) == self.size:
            return inputs_BX
        return F.interpolate(inputs_BX, self.size, mode="bilinear", antialias=True, align_corners=False)


class Normalise(nn.Module):
    """(x - mean) / std, per channel.

    Args:
        mean: one number a channel.
        std: likewise.
        ndim: of a batch; channels come second.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], ndim: int) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            wide = torch.tensor(values, dtype=torch.float32).view(1, -1, *(1,) * (ndim - 2))
            self.register_buffer(name, wide, persistent=False)

    def forward(self, x_BX: Tensor) -> Tensor:
        """Return the same shape, normalised."""
        return (x_BX - self.mean) / self.std


class NormaliseWindow(nn.Module):
    """(x - mean) / std per variable of a series, some of them by mean and standard deviation of their own window.

    Args:
        mean: one number a variable.
        std: likewise; a tenth of it is added, in squares, to the standard deviation of a window.
        own: which variables go by their own window.
    """

    mean: Tensor
    std: Tensor
    own: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], own: Sequence[bool]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std), ("own", own)):
            wide = torch.tensor([float(v) for v in values], dtype=torch.float32).view(1, -1, 1)
            self.register_buffer(name, wide, persistent=False)

    def forward(self, x_BVT: Tensor) -> Tensor:
        """Return the same shape, normalised."""
        middle = x_BVT.mean(dim=2, keepdim=True)
        spread = ((x_BVT - middle).square().mean(dim=2, keepdim=True) + 0.01 * self.std.square()).sqrt()
        of_window, of_data = (x_BVT - middle) / spread, (x_BVT - self.mean) / self.std
        return self.own * of_window + (1 - self.own) * of_data
