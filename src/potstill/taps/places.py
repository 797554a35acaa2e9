"""Every place in a model that can be tapped, with its shape, from one dry run. Shapes: B rows, C channels, H, W pixels, L
tokens, D token width."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from potstill.core.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape = tuple[int, ...]
"""Of one row's output, without B: (C, H, W), (L, D), or (D,)."""

ROWS = 2
"""Rows of the dry run: with one, a dimension of the batch could not be told from others of size 1."""


@dataclass(frozen=True)
class Place:
    """A module whose output is a tensor with a row for each row of the batch."""

    name: str
    """Module path, as in `named_modules`; `path#1` is the second of the tensors that a module gives, as attention modules
    give their probabilities beside the context."""
    shape: Shape
    kind: str
    """Name of its class."""
    block: bool
    """Holds other modules."""
    listed: bool
    """Stands in an nn.Sequential or nn.ModuleList."""
    overwritten: bool
    """A later module writes over its output in place, so that what is captured would not be what it gave."""
    runs: int
    """How often it runs in a forward pass."""
    attention: bool = False
    """[heads, L, L] whose rows are probabilities."""

    @property
    def module(self) -> str:
        """Path of the module."""
        return self.name.partition("#")[0]

    @property
    def index(self) -> int:
        """Which of the tensors that the module gives."""
        return int(self.name.partition("#")[2] or 0)


def list_places(module: nn.Module, sample_BCHW: Tensor, where: str) -> list[Place]:
    """Return the places of a model in the order in which they finish; of one that runs several times, the last.

    The model is run once in eval mode, without gradient. Modes, buffers and the generator's state are put back.

    Args:
        module: reads `sample_BCHW`.
        sample_BCHW: [2, C, H, W], preprocessed.
        where: names the model in errors.

    Raises:
        ShapeError: the model does not take the sample.
    """
    import torch
    from torch import nn

    lists = (nn.Sequential, nn.ModuleList)
    modules = {name: part for name, part in module.named_modules() if name}
    seen: dict[str, tuple[Tensor, int, bool]] = {}
    runs: Counter[str] = Counter()

    def hook_of(name: str) -> Any:
        def hook(part: nn.Module, given: Any, output: Any) -> None:
            runs[name] += 1
            for index in range(len(output) if isinstance(output, (tuple, list)) else 1):
                at = f"{name}#{index}" if index else name
                seen.pop(at, None)  # the order is that of the last run
                tensor = tensor_of(output, index)
                if tensor is not None and tensor.ndim >= 2 and tensor.shape[0] == ROWS and tensor.is_floating_point():
                    seen[at] = (tensor, tensor._version, _is_attention(tensor))

        return hook

    handles = [part.register_forward_hook(hook_of(name)) for name, part in modules.items()]
    try:
        with _at_rest(module), torch.no_grad():
            module(sample_BCHW)
    except RuntimeError as err:
        raise ShapeError(
            f"{where}: must take pixels {list(sample_BCHW.shape)} for its taps to be found; got {str(err).splitlines()[0]}. "
            f"Set {where}.input, or mend the module."
        ) from err
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for name, (tensor, version, attention) in seen.items():
        path = name.partition("#")[0]
        found.append(Place(
            name, tuple(tensor.shape[1:]), type(modules[path]).__name__, block=any(True for _ in modules[path].children()),
            listed=isinstance(module.get_submodule(path.rpartition(".")[0]), lists),
            overwritten=tensor._version != version, runs=runs[path], attention=attention,
        ))  # fmt: skip
    return found


def tensor_of(output: Any, index: int = 0) -> Tensor | None:
    """Return a module's output where it is a tensor, or that of its tuple or list at `index`; None where it is something else."""
    import torch

    if isinstance(output, (tuple, list)):
        output = output[index] if index < len(output) else None
    elif index:
        return None
    return output if isinstance(output, torch.Tensor) else None


def _is_attention(tensor: Tensor) -> bool:
    """Return whether [B, heads, L, L] holds probabilities over its last dimension. A picture with such rows is none that
    a convolution gives; the width of a half-precision softmax is allowed for."""
    if tensor.ndim != 4 or tensor.shape[2] != tensor.shape[3] or tensor.shape[3] < 2:
        return False
    rows = tensor.float()
    return bool((rows >= 0).all()) and bool(((rows.sum(dim=3) - 1).abs() < 1e-2).all())


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Eval mode; what a forward pass may change is put back."""
    import torch

    modes = [(part, part.training) for part in module.modules()]
    buffers = [
        (part, name, buffer, buffer.detach().clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    module.eval()
    try:
        with torch.random.fork_rng(devices=()):
            yield
    finally:
        with torch.no_grad():
            for part, name, buffer, values in buffers:
                part._buffers[name] = buffer.copy_(values)
        for part, mode in modes:
            part.training = mode
