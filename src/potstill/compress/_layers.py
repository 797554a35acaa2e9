"""How each sort of layer is cut, and how its channels are set to zero. Loads torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from potstill.models._blocks import PadShortcut
from potstill.models.tools.sizes import put

ROOTS = (_ConvNd, nn.Linear, nn.Embedding)
"""Layers whose outputs begin a bundle."""


def through(part: nn.Module) -> bool:
    """Return whether a layer's outputs are its inputs, channel by channel."""
    return isinstance(part, (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.PReLU)) or _depthwise(part)


def _depthwise(part: nn.Module) -> bool:
    if not isinstance(part, _ConvNd) or isinstance(part, _ConvTransposeNd):
        return False
    return part.groups == part.out_channels == part.in_channels and part.groups > 1


def refusal(part: nn.Module, side: str) -> str:
    """Return why a layer cannot be cut on this side; empty where it can."""
    if isinstance(part, nn.MultiheadAttention):
        return "nn.MultiheadAttention is not cut; write it with potstill.models._blocks.SelfAttention, whose heads are"
    if isinstance(part, _ConvNd) and part.groups > 1 and not _depthwise(part):
        return "a convolution in groups is not cut"
    if isinstance(part, nn.LayerNorm) and len(part.normalized_shape) != 1:
        return "a LayerNorm over several dimensions is not cut"
    known = (_ConvNd, nn.Linear, nn.Embedding, nn.RNNBase, PadShortcut)
    if not side.startswith("dim") and not through(part) and not isinstance(part, known):
        return f"{type(part).__name__} is not a layer that can be cut"
    return ""


def tensors(part: nn.Module, side: str) -> list[tuple[str, int, int]]:
    """Return (name, dimension, times): which of a layer's own tensors have its channels, along which dimension, and how often one
    after another (the gates of a recurrent unit)."""
    if isinstance(part, nn.RNNBase):
        return _recurrent(part, side)
    if isinstance(part, (nn.LayerNorm, nn.PReLU, _BatchNorm, _InstanceNorm)):
        names = ("weight", "bias", "running_mean", "running_var")
        return [(n, 0, 1) for n in names if getattr(part, n, None) is not None]
    if isinstance(part, PadShortcut):
        return []
    if isinstance(part, nn.Embedding):
        return [("weight", 1, 1)]
    first = 1 if isinstance(part, _ConvTransposeNd) else 0
    bias = [("bias", 0, 1)] if side != "in" and part.bias is not None else []
    return [("weight", 1 - first if side == "in" else first, 1), *bias]


def _recurrent(part: nn.RNNBase, side: str) -> list[tuple[str, int, int]]:
    gates = {"GRU": 3, "LSTM": 4}.get(part.mode, 1)
    ways = 2 if part.bidirectional else 1
    ends = ["", "_reverse"][:ways]
    if side == "in":
        return [(f"weight_ih_l0{end}", 1, 1) for end in ends]
    out = []
    for layer in range(part.num_layers):
        for end in ends:
            out += [(f"weight_ih_l{layer}{end}", 0, gates), (f"weight_hh_l{layer}{end}", 0, gates)]
            out += [(f"weight_hh_l{layer}{end}", 1, 1)]
            out += [(f"weight_ih_l{layer}{end}", 1, ways)] if layer else []
            out += [(f"{b}_l{layer}{end}", 0, gates) for b in ("bias_ih", "bias_hh") if part.bias]
    return out


_COUNTS = {
    "in": ("in_channels", "in_features", "input_size"),
    "out": ("out_channels", "out_features", "embedding_dim", "hidden_size"),
    "through": ("in_channels", "out_channels", "groups", "num_features", "num_parameters"),
    "before": ("before",),
    "after": ("after",),
}


def width(part: nn.Module, side: str) -> int:
    """Return how many channels a layer has on a side."""
    if isinstance(part, nn.LayerNorm):
        return int(part.normalized_shape[0])
    return int(next(getattr(part, n) for n in _COUNTS[side] if n in vars(part)))


@torch.no_grad()
def cut(module: nn.Module, path: str, side: str, places: Iterable[int]) -> None:
    """Take channels of one side of a layer away, in place."""
    gone = sorted(set(places))
    if side.startswith("dim"):
        parent, _, name = path.rpartition(".")
        owner, along = module.get_submodule(parent), int(side.removeprefix("dim"))
        put(owner, name, _without(getattr(owner, name), gone, along, 1))
        return
    part = module.get_submodule(path)
    if isinstance(part, nn.PReLU) and part.num_parameters == 1:
        return
    num = width(part, side)
    for name, along, times in tensors(part, side):
        put(part, name, _without(getattr(part, name), gone, along, times))
    if isinstance(part, nn.LayerNorm):
        part.normalized_shape = (num - len(gone),)
    for name in _COUNTS[side]:
        if name in vars(part):
            setattr(part, name, getattr(part, name) - len(gone))


def _without(tensor: Tensor, gone: list[int], along: int, times: int) -> Tensor:
    size = tensor.shape[along] // times
    left = sorted(set(range(size)) - set(gone))
    index = torch.tensor([t * size + i for t in range(times) for i in left], device=tensor.device, dtype=torch.int64)
    out = tensor.detach().index_select(along, index)
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return out.contiguous(memory_format=torch.channels_last) if last else out


@torch.no_grad()
def zero(module: nn.Module, path: str, side: str, places: Iterable[int]) -> None:
    """Set what `cut` would take away to zero, in place; a LayerNorm then takes its statistics of the others."""
    gone = sorted(set(places))
    if side.startswith("dim"):
        parent, _, name = path.rpartition(".")
        tensor = getattr(module.get_submodule(parent), name)
        tensor.index_fill_(int(side.removeprefix("dim")), torch.tensor(gone), 0)
        return
    part = module.get_submodule(path)
    if isinstance(part, nn.PReLU) and part.num_parameters == 1:
        return
    if isinstance(part, nn.LayerNorm):
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, _Among(part, gone))
        return
    for name, along, times in tensors(part, side):
        tensor = getattr(part, name)
        size = tensor.shape[along] // times
        index = torch.tensor([t * size + i for t in range(times) for i in gone])
        tensor.index_fill_(along, index, 1 if name == "running_var" else 0)


class _Among(nn.Module):
    """A LayerNorm whose statistics are those of some channels; the others stay zero."""

    def __init__(self, norm: nn.LayerNorm, gone: list[int]) -> None:
        super().__init__()
        self.norm, num = norm, norm.normalized_shape[0]
        self.left = torch.tensor(sorted(set(range(num)) - set(gone)))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        norm = self.norm
        own = dict(norm.named_parameters())
        weight, bias = (own[n][self.left] if n in own else None for n in ("weight", "bias"))
        some = nn.functional.layer_norm(x[..., self.left], (len(self.left),), weight, bias, norm.eps)
        return torch.zeros_like(x).index_copy(x.ndim - 1, self.left, some)
