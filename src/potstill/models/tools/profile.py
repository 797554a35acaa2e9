"""Parameters, multiply-accumulates and peak activation memory of a module."""

from __future__ import annotations

import copy
import weakref
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from potstill.models._base import ModelIO

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
    """The most that inputs and outputs take at once, elementwise layers working in place as runtimes do."""

    def as_dict(self) -> dict[str, int]:
        """Return JSON values."""
        return asdict(self)


def profile(module: nn.Module, io: ModelIO) -> Profile:
    """Return the cost of one forward pass of a [1, C, H, W] sample; nothing is computed (meta device) where it can."""
    params = sum(p.numel() for p in module.parameters())
    try:
        twin = copy.deepcopy(module).to("meta").eval()
        macs, peak = _run(twin, torch.empty(1, io.channels, io.height, io.width, device="meta"))
    except (NotImplementedError, RuntimeError):  # an operator without a meta kernel
        macs, peak = _run(copy.deepcopy(module).cpu().eval(), torch.zeros(1, io.channels, io.height, io.width))
    return Profile(params, macs, peak)


def profile_labeller(labeller: Any, io: ModelIO) -> dict[str, int] | None:
    """Return the profile of a labeller that is a torch module here, None for a black box."""
    module, preprocess = getattr(labeller, "module", None), getattr(labeller, "preprocess", None)
    if not isinstance(module, nn.Module):
        return None
    height, width = getattr(preprocess, "size", (io.height, io.width))
    return profile(module, ModelIO(io.num_classes, io.channels, height, width)).as_dict()


@torch.no_grad()
def _run(module: nn.Module, sample: Tensor) -> tuple[int, int]:
    with FlopCounterMode(display=False) as counter:
        module(sample)
    with _Liveness(sample) as liveness:
        module(sample)
    return counter.get_total_flops() // 2, liveness.peak


class _Liveness(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the storages of tensors made since it began that something still refers to."""

    def __init__(self, sample: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live: dict[int, list[int]] = {}
        self._count(sample)

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        entry = self._live.setdefault(storage._cdata, [storage.nbytes(), 0])
        entry[1] += 1
        weakref.finalize(tensor, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        entry = self._live.get(key)
        if entry is not None:
            entry[1] -= 1
            if entry[1] <= 0:
                del self._live[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        outputs = [t for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, Tensor)]
        for tensor in outputs[:1]:
            self._count(tensor)
        total = sum(size for size, _ in self._live.values())
        name = func.overloadpacket.__name__
        if name in _IN_PLACE and outputs:
            total -= outputs[0].untyped_storage().nbytes()
        self.peak = max(self.peak, total)
        return out
