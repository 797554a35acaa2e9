"""Capture outputs of named modules during a forward pass. Loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from potstill.core.errors import TrainingError
from potstill.taps.places import tensor_of


class Capture:
    """`with capture: module(x)`, then `capture.take()`.

    The hooks exist only inside `with`: a copy, an export or an evaluation of the module never meets them, whatever is
    raised meanwhile. They read and change nothing.

    Args:
        module: holds the places.
        names: module paths; none costs nothing.
        where: names the model in errors.
    """

    def __init__(self, module: nn.Module, names: Sequence[str], where: str = "model") -> None:
        self._parts = {name: module.get_submodule(name) for name in names}
        self._where = where
        self._handles: list[RemovableHandle] = []
        self._outputs: dict[str, Tensor] = {}

    def __enter__(self) -> Capture:
        self._outputs.clear()
        self._handles = [part.register_forward_hook(self._hook(name)) for name, part in self._parts.items()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def take(self) -> dict[str, Tensor]:
        """Return the outputs of the last pass by name and let go of them; of a module that ran several times, its last.

        Raises:
            TrainingError: a module did not run, or gave no tensor.
        """
        missing = [name for name in self._parts if name not in self._outputs]
        if missing:
            raise TrainingError(
                f"{self._where}: must run each tapped module on every batch; got nothing from {missing}. Tap another: see "
                "potstill taps RECIPE."
            )
        outputs, self._outputs = self._outputs, {}
        return outputs

    def _hook(self, name: str) -> Any:
        def hook(part: nn.Module, given: Any, output: Any) -> None:
            tensor = tensor_of(output)
            if tensor is not None:
                self._outputs[name] = tensor

        return hook
