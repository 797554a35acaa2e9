"""One safetensors file holding every value that the next step or the final selection reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from potstill.core import atomic
from potstill.core.errors import StoreError
from potstill.core.hashing import digest_bytes, digest_json

NAME = "checkpoint.safetensors"


def module_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a contiguous copy of every parameter and persistent buffer."""
    return {k: v.detach().cpu().clone().contiguous() for k, v in module.state_dict().items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's per-parameter tensors, named by parameter index."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu().clone().contiguous()
        for index, entries in state.items()
        for name, value in entries.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, in the memory layout of each parameter: fused kernels read both in order."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        if value.shape == like.shape:
            value = torch.empty_like(like, dtype=value.dtype).copy_(value).detach()
        state.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    whole["state"] = state
    optimizer.load_state_dict(whole)


def write(folder: Path, groups: dict[str, dict[str, Tensor]], position: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder` atomically.

    Args:
        folder: the stage's working folder.
        groups: group name (without '/') -> tensor name -> tensor.
        position: JSON values: step, patience, best score, fingerprint.
    """
    tensors = {f"{group}/{name}": tensor for group, entries in groups.items() for name, tensor in entries.items()}
    where = json.dumps(position, sort_keys=True)
    data = save(tensors, metadata={"position": where, "digest": _digest(tensors, where)})
    atomic.write_bytes(folder / NAME, data)


def read(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """Return (groups, position) of the checkpoint in `folder`, or None if there is none.

    Raises:
        StoreError: the file is damaged; training never goes on from damaged values.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata()
            # Copied, so that what is checked below is what is used: the file's own pages may change under a map.
            tensors = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118 - not a dict
        position = json.loads(metadata["position"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as err:
        raise _damaged(path, err) from err
    if metadata.get("digest") != _digest(tensors, metadata["position"]):
        raise _damaged(path, "a digest that does not match its values")
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = tensor
    return groups, position


def _digest(tensors: dict[str, Tensor], position: str) -> str:
    """Return one digest of all that is read back: values, types, shapes, and the position."""
    parts = {name: [str(t.dtype), list(t.shape), digest_bytes(_bytes(t))] for name, t in tensors.items()}
    return digest_json({"position": position, "tensors": parts})


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _damaged(path: Path, what: object) -> StoreError:
    return StoreError(
        f"{path}: checkpoint must be whole; got {what}. Going on from it would change the student silently. "
        f"Delete the file and run again: this training starts over."
    )
