"""Models and zoo families that are pruned here, and the settings that suit their tiny sizes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from potstill.models import registry
from potstill.models.tools.build import NewModel, new_model
from potstill.testing import tiny
from potstill.testing.examples import example

OWN = ("object", "torch")
"""Kinds that hold a module of the user's."""
CANNOT = ("forecast-linear",)
"""Families without a layer before the last."""
FAMILIES = tuple(kind for kind in registry.kinds() if kind not in (*OWN, *CANNOT))


def family(kind: str, seed: int = 0) -> tuple[NewModel, Tensor]:
    """Return a new tiny model of a family, and eight rows as it reads them."""
    spec = _spec(kind)
    sample = spec.input.kind
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        new = new_model(spec, tiny.io_for(sample, spec.gives[0]), tiny.stats_for(sample))
    with torch.no_grad():
        read = new.preprocess(torch.from_numpy(tiny.inputs(sample)))
        new.module.train()(read)  # statistics that are not those of a new model
    return new, read


@cache
def _spec(kind: str) -> Any:
    return example(registry[kind])


def seeded(cls: type[nn.Module], *args: Any) -> nn.Module:
    torch.manual_seed(3)
    return cls(*args)


class Padded(nn.Module):
    """A shortcut padded with zero channels, in a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, 2, 1)
        self.c, self.head = nn.Conv2d(32, 32, 3, padding=1), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        padded = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
        out: Tensor = self.head((self.c(F.relu(self.b(x))) + padded).mean((2, 3)))
        return out


class Mha(nn.Module):
    """PyTorch's own attention beside a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attention = nn.Linear(4, 16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.up, self.down, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(x, x, x)[0]
        out: Tensor = self.head((x + self.down(F.relu(self.up(x)))).mean(1))
        return out


class Recurrent(nn.Module):
    """A convolution, then a recurrent layer both ways and two deep."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 16, 3, padding=1)
        self.cell = cell(16, 16, 2, batch_first=True, bidirectional=True)  # type: ignore[arg-type, call-arg]
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen, last = self.cell(self.conv(x).transpose(1, 2))
        state = last[0] if isinstance(last, tuple) else last
        out: Tensor = self.head(torch.cat([seen[:, -1], state[-2], state[-1]], dim=1))
        return out


class Chomped(nn.Module):
    """Causal convolutions as many write them: padded on both sides, the end cut off; flattened before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 16, 3, padding=2), nn.Conv1d(16, 8, 3, padding=2)
        self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8 * 20, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x)[:, :, :-2])
        out: Tensor = self.head(F.relu(self.norm(self.b(x)[:, :, :-2])).flatten(1))
        return out


class Dense(nn.Module):
    """Channels beside one another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.c, self.norm, self.head = nn.Conv2d(16, 8, 3, padding=1), nn.BatchNorm2d(24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = torch.cat([a, F.relu(self.b(a))], 1)
        out: Tensor = self.head(self.norm(torch.cat([b, self.c(b)], 1)).mean((2, 3)))
        return out


class Fixed(nn.Module):
    """Says its width in a view."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.b(F.relu(self.a(x)).view(-1, 16, 6, 6))
        out: Tensor = self.head(F.relu(seen).mean((2, 3)))
        return out
