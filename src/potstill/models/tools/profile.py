"""Parameters, multiply-accumulates and peak activation memory of a module."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from potstill.models._io import ModelIO

_IN_PLACE = {"relu", "relu_", "hardtanh", "clamp", "clamp_", "batch_norm", "native_batch_norm", "gelu", "silu", "add",
             "add_", "mul", "sub", "div", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "softmax",
             "_softmax", "sigmoid", "tanh", "native_layer_norm"}  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """Cost of one sample through a model, at batch 1 in float32."""

    params: int
    """Trainable and fixed parameters, buffers left out."""
    macs: int
    """Multiply-accumulates of convolutions and matrix products (attention's too), as PyTorch's FlopCounterMode counts
    them; elementwise work is left out."""
    peak_activation_bytes: int
    """The most that live buffers take at once, each freed after its last reader, elementwise layers working in place where
    their input ends, as runtimes do."""

    def as_dict(self) -> dict[str, int]:
        """Return JSON values."""
        return asdict(self)


def profile(module: nn.Module, io: ModelIO) -> Profile:
    """Return the cost of one forward pass of a sample [1, *io.shape]; nothing is computed (meta device) where it can."""
    params = sum(p.numel() for p in module.parameters())
    try:
        twin = copy.deepcopy(module).to("meta").eval()
        macs, peak = _run(twin, torch.empty(1, *io.shape, device="meta", dtype=getattr(torch, io.dtype)))
    except (NotImplementedError, RuntimeError):  # an operator without a meta kernel
        macs, peak = _run(copy.deepcopy(module).cpu().eval(), torch.zeros(1, *io.shape, dtype=getattr(torch, io.dtype)))
    return Profile(params, macs, peak)


@torch.no_grad()
def macs_of(module: nn.Module, sample: tuple[Any, ...]) -> int:
    """Return the multiply-accumulates of a module called with `sample`, as Profile counts them."""
    with FlopCounterMode(display=False) as counter:
        module(*sample)
    return int(counter.get_total_flops()) // 2


def profile_labeller(labeller: Any, io: ModelIO) -> dict[str, int] | None:
    """Return the profile of a labeller that is a torch module here, None for a black box."""
    module, preprocess = getattr(labeller, "module", None), getattr(labeller, "preprocess", None)
    if not isinstance(module, nn.Module) or not callable(preprocess):
        return None
    with torch.no_grad():
        read = preprocess(torch.zeros(1, *io.shape, dtype=getattr(torch, io.dtype)))
    kind: Any = str(read.dtype).removeprefix("torch.")
    return profile(module, replace(io, shape=tuple(read.shape[1:]), dtype=kind)).as_dict()


@torch.no_grad()
def _run(module: nn.Module, sample: Tensor) -> tuple[int, int]:
    macs = macs_of(module, (sample,))
    with _Recorder(sample) as recorder:
        module(sample)
    return macs, recorder.peak_bytes()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down which buffers each operator reads and makes; a buffer is free after the last operator that reads it,
    as a runtime plans it, whatever Python still refers to."""

    def __init__(self, sample: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = [sample]  # a buffer that is not freed keeps its identity
        self._bytes = {_buffer(sample): sample.untyped_storage().nbytes()}
        self._first, self._last = {_buffer(sample): 0}, {_buffer(sample): 0}
        self._in_place: list[tuple[set[int], int] | None] = [None]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        now = len(self._in_place)
        reads = {_buffer(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and _buffer(t) in self._bytes}
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)][:1]  # others are statistics, or views of it
        for tensor in made:
            self._kept.append(tensor)
            self._bytes.setdefault(_buffer(tensor), tensor.untyped_storage().nbytes())
            self._first.setdefault(_buffer(tensor), now)
        for buffer in reads | {_buffer(t) for t in made}:
            self._last[buffer] = now
        elementwise = func.overloadpacket.__name__ in _IN_PLACE and made
        self._in_place.append((reads, _buffer(made[0])) if elementwise else None)
        return out

    def peak_bytes(self) -> int:
        """Return the most that is live at any operator; an elementwise one writes over an input that ends there."""
        peak = 0
        for now, in_place in enumerate(self._in_place):
            total = sum(size for b, size in self._bytes.items() if self._first[b] <= now <= self._last[b])
            if in_place is not None:
                reads, made = in_place
                ends = any(self._last[b] == now and self._bytes[b] >= self._bytes[made] for b in reads - {made})
                total -= self._bytes[made] if ends else 0
            peak = max(peak, total)
        return peak


def _buffer(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
