"""The processes that train together (torchrun, gloo), and the device they train on.

Plain torch.distributed: gradients are summed in one flat buffer, so the sum's order never changes.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

_TIMEOUT = timedelta(seconds=int(os.environ.get("POTSTILL_GROUP_TIMEOUT_S", "600")))


class World:
    """Rank and size as torchrun set them; one process where it did not.

    Args:
        device: "cpu", or "cuda" / "mps" where the machine has it.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = torch.device(device)
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_TIMEOUT)
            # Else a thread of gloo's may still run when the process ends, which aborts.
            atexit.register(dist.destroy_process_group)

    def seed(self, value: int) -> None:
        """Seed the generator that dropout draws from. (`torch.manual_seed` also formats a stack trace for a CUDA that is
        not there: a tenth of a small student's step.)"""
        torch.default_generator.manual_seed(value)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(value)

    def share(self, num_rows: int) -> slice:
        """Return this process's part of a batch."""
        return slice(self.rank * num_rows // self.size, (self.rank + 1) * num_rows // self.size)

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over processes; receives no gradient. One process gets its own tensor back."""
        if self.size == 1:
            return value.detach()
        value = value.detach().clone()
        dist.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over processes; a missing one counts as zero."""
        if self.size == 1:
            return
        parameters = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        start = 0
        for p in parameters:
            p.grad = torch.empty_like(p).copy_(flat[start : start + p.numel()].view(p.shape))
            start += p.numel()

    def same_buffers(self, module: nn.Module) -> None:
        """Give every process the floating buffers (BatchNorm statistics) of rank 0, in one message; counters agree."""
        buffers = [b for b in module.buffers() if b.is_floating_point()] if self.size > 1 else []
        if buffers:
            flat = torch.cat([b.reshape(-1) for b in buffers])
            dist.broadcast(flat, src=0)
            for buffer, part in zip(buffers, torch.split(flat, [b.numel() for b in buffers]), strict=True):
                buffer.copy_(part.view(buffer.shape))

    def agree(self, flag: bool) -> bool:
        """Return rank 0's answer on every process."""
        if self.size == 1:
            return flag
        value = torch.tensor([int(flag)])
        dist.broadcast(value, src=0)
        return bool(value.item())
