"""A module of the user's, by import path."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import PotstillError
from potstill.core.objects import load_attribute
from potstill.core.outputs import TaskOutput
from potstill.core.spec import ImportPath
from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO
from potstill.models.inputs import AnyInput, ImageInput

if TYPE_CHECKING:
    from torch import nn


@registry.register
class TorchModuleSpec(ModelSpec):
    """Your own `module:factory`: a class or function that returns an nn.Module giving raw logits."""

    gives: ClassVar[tuple[TaskOutput, ...]] = ("classes", "values", "tokens")
    kind: Literal["torch"] = "torch"
    input: AnyInput = Field(default_factory=ImageInput)
    """How samples are brought to it; its kind says which samples it reads."""
    factory: ImportPath
    """`module:attribute`; its source, and what it imports of yours, is part of the key."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Passed to the factory by name."""

    def build(self, io: ModelIO) -> nn.Module:
        return call_factory(self.factory, self.arguments)


def call_factory(factory: str, arguments: dict[str, Any]) -> nn.Module:
    """Return the module that a user's factory makes: a copy, so that one training does not start where another ended.

    Raises PotstillError when it fails or gives something else.
    """
    from torch import nn

    function = load_attribute(factory)
    if isinstance(function, nn.Module):
        return copy.deepcopy(function)
    try:
        module = function(**arguments)
    except Exception as err:
        raise PotstillError(f"{factory}: must return a module; it raised {type(err).__name__}: {err}.") from err
    if not isinstance(module, nn.Module):
        raise PotstillError(f"{factory}: must return a torch.nn.Module; got {type(module).__name__}.")
    return copy.deepcopy(module)
