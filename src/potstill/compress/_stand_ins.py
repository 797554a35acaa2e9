"""Plain layers in the place of parts whose channels a trace of autograd cannot follow. Loads torch.

A stand-in gives outputs of the part's shape from layers that are connected as the part's own channels are; its numbers mean
nothing. `means` says which layer of the part each side of each plain layer stands for. Shapes: B rows, T steps or tokens, C
channels, I = heads times their width, H hidden units, D directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.models._blocks import PadShortcut, SelfAttention
from potstill.models._seq2seq import CrossAttention


@dataclass(frozen=True)
class Meant:
    """What one side of a plain layer stands for: `side` of the part's own module `name`, at each of `offsets` further on."""

    name: str
    side: str
    offsets: tuple[int, ...] = (0,)


class StandIn(nn.Module):
    """Base: `means` maps (plain layer, "in" or "out") -> what that is in the part; what is not in it is no part of it."""

    means: dict[tuple[str, str], tuple[Meant, ...]]
    blocks: dict[str, int]
    """Plain layer -> outputs that are kept or cut together, where one alone cannot be."""

    def __init__(self) -> None:
        super().__init__()
        self.means, self.blocks = {}, {}


class _Attention(StandIn):
    def __init__(self, part: SelfAttention) -> None:
        super().__init__()
        inner = part.out.in_features
        self.inside, self.out = nn.Linear(part.qkv.in_features, inner), nn.Linear(inner, part.out.out_features)
        self.means = {
            ("inside", "in"): (Meant("qkv", "in"),),
            ("inside", "out"): (Meant("qkv", "out", (0, inner, 2 * inner)),),
            ("out", "in"): (Meant("out", "in"),),
            ("out", "out"): (Meant("out", "out"),),
        }
        self.blocks = {"inside": part.head_width}

    def forward(self, x_BTC: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        out: Tensor = self.out(self.inside(x_BTC))
        return out


class _Cross(StandIn):
    def __init__(self, part: CrossAttention) -> None:
        super().__init__()
        inner = part.out.in_features
        self.q, self.kv = nn.Linear(part.q.in_features, inner), nn.Linear(part.kv.in_features, inner)
        self.out = nn.Linear(inner, part.out.out_features)
        self.means = {
            ("q", "in"): (Meant("q", "in"),),
            ("q", "out"): (Meant("q", "out"),),
            ("kv", "in"): (Meant("kv", "in"),),
            ("kv", "out"): (Meant("kv", "out", (0, inner)),),
            ("out", "in"): (Meant("out", "in"),),
            ("out", "out"): (Meant("out", "out"),),
        }
        self.blocks = {"q": part.head_width, "kv": part.head_width}

    def of_source(self, source_BSC: Tensor) -> Tensor:
        """[B, S, C] -> [B, S, I]."""
        out: Tensor = self.kv(source_BSC)
        return out

    def forward(self, x_BTC: Tensor, keys_values: Tensor, bias: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        out: Tensor = self.out(self.q(x_BTC) * keys_values.mean(dim=1, keepdim=True))
        return out


class _Recurrent(StandIn):
    def __init__(self, part: nn.RNNBase) -> None:
        super().__init__()
        self.layers, self.ways = part.num_layers, 2 if part.bidirectional else 1
        self.cell, self.first = isinstance(part, nn.LSTM), part.batch_first
        self.unit = nn.Linear(part.input_size, part.hidden_size)
        self.means = {("unit", "in"): (Meant("", "in"),), ("unit", "out"): (Meant("", "out"),)}

    def forward(self, x: Tensor, _: object = None) -> tuple[Tensor, object]:
        """[B, T, C] (or [T, B, C]) -> ([B, T, D H], last states [layers * D, B, H])."""
        unit = self.unit(x)
        out = unit if self.ways == 1 else torch.cat([unit * 1.0, unit * 1.0], dim=-1)
        last = unit[:, -1] if self.first else unit[-1]
        states = torch.stack([last] * (self.layers * self.ways))
        return out, (states, states) if self.cell else states


_ENDS = ("before", "after")


class _Pad(StandIn):
    def __init__(self, part: PadShortcut) -> None:
        super().__init__()
        self.stride = part.stride
        self.ends = nn.ModuleDict({n: nn.Conv2d(1, num, 1) for n in _ENDS if (num := getattr(part, n))})
        self.means = {(f"ends.{name}", "out"): (Meant("", name),) for name in self.ends}

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        small = x[:, :, :: self.stride, :: self.stride]
        ground = small.detach().mean(dim=1, keepdim=True)
        ends = {name: layer(ground) for name, layer in self.ends.items()}
        return torch.cat([x for x in (ends.get("before"), small, ends.get("after")) if x is not None], dim=1)


def stand_in(part: nn.Module) -> StandIn | None:
    """Return what stands for a part, or None where autograd sees its channels."""
    if type(part) is SelfAttention:
        return _Attention(part)
    if type(part) is CrossAttention:
        return _Cross(part)
    if type(part) is PadShortcut and part.before + part.after > 0:
        return _Pad(part)
    if isinstance(part, nn.RNNBase) and not part.proj_size:
        return _Recurrent(part)
    return None
