"""The sizes of a pruned model's layers: what its family's numbers no longer say, as plain integers beside its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from potstill.core.errors import StoreError

Sizes = dict[str, dict[str, int | list[int]]]
"""Path of a module -> its attributes and the shapes of its own tensors that differ from the family's."""

ATTRIBUTES = (
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "normalized_shape",
    "num_parameters", "embedding_dim", "input_size", "hidden_size", "before", "after",
)  # fmt: skip
"""Numbers of a layer that follow its tensors; nothing else of a module is ever set from a file."""


def sizes_of(module: nn.Module, whole: nn.Module) -> Sizes:
    """Return how a module differs from the one that it was cut from: the same parts, some with fewer channels."""
    found: Sizes = {}
    for (path, part), (_, other) in zip(module.named_modules(), whole.named_modules(), strict=True):
        own = {k: v for k, v in _sizes(part) if v != dict(_sizes(other))[k]}
        if own:
            found[path] = own
    return found


def resize(module: nn.Module, sizes: Mapping[str, Mapping[str, int | list[int]]], where: str) -> None:
    """Give a new module the sizes that `sizes_of` found; its changed tensors are empty until weights are loaded.

    Args:
        module: as its family builds it; changed in place.
        sizes: of the pruned one.
        where: names them in errors.

    Raises:
        StoreError: sizes that are not those of this module, cut.
    """
    parts = dict(module.named_modules())
    for path, given in sizes.items():
        if path not in parts:
            raise StoreError(f"{where}: sizes must be of the model's own modules; got {path!r}.")
        now = dict(_sizes(parts[path]))
        for name, size in given.items():
            if name not in now or not _smaller(size, now[name]):
                raise StoreError(
                    f"{where}: sizes must be of the model, cut; got {path}.{name}={size}, and it has {now.get(name)}."
                )
            _set(parts[path], name, size)


def put(part: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in the place of a module's own parameter or buffer."""
    old = getattr(part, name)
    if isinstance(old, nn.Parameter):
        setattr(part, name, nn.Parameter(tensor.detach(), requires_grad=old.requires_grad))
    else:
        part._buffers[name] = tensor.detach()


def _sizes(part: nn.Module) -> Iterator[tuple[str, int | list[int]]]:
    for name in ATTRIBUTES:
        value = vars(part).get(name)
        if isinstance(value, (int, tuple)):
            yield name, list(value) if isinstance(value, tuple) else value
    for name, tensor in (*part._parameters.items(), *part._buffers.items()):
        if tensor is not None and tensor.ndim:
            yield name, list(tensor.shape)


def _smaller(size: int | list[int], now: int | list[int]) -> bool:
    if isinstance(size, list) and isinstance(now, list):
        return len(size) == len(now) and all(_smaller(a, b) for a, b in zip(size, now, strict=True))
    return type(size) is int and isinstance(now, int) and 0 <= size <= now


def _set(part: nn.Module, name: str, size: int | list[int]) -> None:
    if name in ATTRIBUTES:
        setattr(part, name, tuple(size) if isinstance(size, list) else size)
        return
    assert isinstance(size, list)
    put(part, name, torch.empty(size, dtype=getattr(part, name).dtype))
