"""A module of the user's own process."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from potstill.core import objects
from potstill.core.errors import PotstillError
from potstill.core.sources import digest_modules
from potstill.models._base import InputSpec, ModelIO, ModelSpec, registry

if TYPE_CHECKING:
    from torch import nn


@registry.register
class ObjectModelSpec(ModelSpec):
    """A module, or a factory of modules, that a Python script holds; made by `potstill.distill`."""

    in_process: ClassVar[bool] = True
    kind: Literal["object"] = "object"
    digest: str
    """Of its class, source and weights."""

    def build(self, io: ModelIO) -> nn.Module:
        from torch import nn

        value = objects.get(self.digest)
        if isinstance(value, nn.Module):
            return copy.deepcopy(value)
        module = value()
        if not isinstance(module, nn.Module):
            raise PotstillError(f"student: the callable must return a torch.nn.Module; got {type(module).__name__}.")
        return module


def object_model(value: nn.Module | Callable[[], nn.Module], model_input: InputSpec | None = None) -> ObjectModelSpec:
    """Return a model section for a module (training starts from its weights) or a factory (a new one each seed).

    Raises:
        PotstillError: it is neither.
    """
    return ObjectModelSpec(digest=objects.keep(object_digest(value), value), input=model_input or InputSpec())


def object_digest(value: Any) -> str:
    """Return a digest of an object's class, its source and, for a module, its structure and weights."""
    from torch import nn

    if not isinstance(value, nn.Module) and not callable(value):
        raise PotstillError(
            f"model: must be a torch.nn.Module or a callable that makes one; got {type(value).__name__}."
        )
    kind = type(value) if isinstance(value, nn.Module) else value
    hasher = hashlib.sha256(f"{getattr(kind, '__module__', '')}:{getattr(kind, '__qualname__', repr(kind))}".encode())
    hasher.update(digest_modules([str(getattr(kind, "__module__", ""))]).encode())
    code = getattr(value, "__code__", None)
    if code is not None:  # a function or lambda of a script: its module is __main__, whose source has no spec
        hasher.update(code.co_code + repr(code.co_consts).encode())
    if isinstance(value, nn.Module):
        hasher.update(repr(value).encode())
        for name, tensor in value.state_dict().items():
            hasher.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(_uint8()).numpy().tobytes())
    return hasher.hexdigest()


def _uint8() -> Any:
    import torch

    return torch.uint8
