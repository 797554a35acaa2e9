"""A module of the user's own process."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from potstill.core import objects
from potstill.core.errors import PotstillError
from potstill.core.outputs import TaskOutput
from potstill.core.sources import digest_modules
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import AnyInput, ImageInput, InputSpec

if TYPE_CHECKING:
    from torch import nn


@registry.register
class ObjectModelSpec(ModelSpec):
    """A module, or a factory of modules, that a Python script holds; made by `potstill.distill`."""

    in_process: ClassVar[bool] = True
    gives: ClassVar[tuple[TaskOutput, ...]] = ("classes", "values", "tokens")
    kind: Literal["object"] = "object"
    input: AnyInput = Field(default_factory=ImageInput)
    """How samples are brought to it; its kind says which samples it reads."""
    digest: str
    """Of its class, source and weights."""

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        value = objects.get(self.digest)
        return copy.deepcopy(value) if isinstance(value, nn.Module) else _made(value)


def object_model(value: nn.Module | Callable[[], nn.Module], model_input: InputSpec | None = None) -> ObjectModelSpec:
    """Return a model section for a module (training starts from its weights) or a factory (a new one each seed).

    Raises:
        PotstillError: it is neither.
    """
    return ObjectModelSpec(digest=objects.keep(object_digest(value), value), input=model_input or ImageInput())


def object_digest(value: Any) -> str:
    """Return a digest of a module's structure, settings, weights and the source of every class in it; of a callable, that
    of what it makes, since what a lambda or a loop variable in it means is seen only there.

    A class typed into a notebook or a prompt has no source file: its methods' code counts instead.
    """
    import torch
    from torch import nn

    module = value
    if not isinstance(value, nn.Module):
        if not callable(value):
            raise PotstillError(
                f"model: must be a torch.nn.Module or a callable that makes one; got {type(value).__name__}."
            )
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(0)
            module = _made(value)
    kinds = {type(part) for part in module.modules()}
    hasher = hashlib.sha256(repr(module).encode() + b"module" * (module is value))
    hasher.update(digest_modules(sorted(kind.__module__ for kind in kinds)).encode())
    for kind in sorted(kinds, key=lambda k: f"{k.__module__}:{k.__qualname__}"):
        code = [_plain(v) for v in vars(kind).values()] if kind.__module__ == "__main__" else None
        hasher.update(repr((kind.__module__, kind.__qualname__, code)).encode())
    for part in module.modules():
        settings = {k: _plain(v) for k, v in vars(part).items() if not k.startswith("_") and k != "training"}
        hasher.update(repr(settings).encode())
    for name, tensor in module.state_dict().items():
        hasher.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _made(factory: Any) -> nn.Module:
    from torch import nn

    module = factory()
    if not isinstance(module, nn.Module):
        raise PotstillError(f"student: the callable must return a torch.nn.Module; got {type(module).__name__}.")
    return copy.deepcopy(module)


def _plain(value: Any) -> Any:
    """Return a setting as it is and a function by what it does; of anything else, its type."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    code = getattr(value, "__code__", value)
    if isinstance(code, CodeType):
        return [code.co_code, code.co_names, [_plain(c) for c in code.co_consts]]
    return f"{type(value).__module__}:{getattr(value, '__qualname__', type(value).__qualname__)}"
