"""Capture outputs of named modules during a forward pass. Loads torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from potstill.core.errors import TrainingError
from potstill.taps.places import Place, tensor_of


class _Enough(BaseException):
    """Ends a pass whose every tap has been captured; no `except Exception` of a user's module may catch it."""


class Capture:
    """`with capture: module(x)`, then `capture.take()`.

    The hooks exist only inside `with`: a copy, an export or an evaluation of the module never meets them, whatever is
    raised meanwhile. They read and change nothing.

    Args:
        module: holds the places.
        places: what to capture, as `list_places` found it; none costs nothing.
        where: names the model in errors.
        stop: end the pass, quietly, as soon as everything is captured: what comes after is not needed.
    """

    def __init__(self, module: nn.Module, places: Sequence[Place], where: str, stop: bool = False) -> None:
        self._parts = {place.name: module.get_submodule(place.module) for place in places}
        self._indices = {place.name: place.index for place in places}
        self._runs = {place.name: place.runs for place in places}
        self._where, self._stop = where, stop
        self._handles: list[RemovableHandle] = []
        self._outputs: dict[str, Tensor] = {}
        self._count: Counter[str] = Counter()

    def __enter__(self) -> Capture:
        self._outputs.clear()
        self._count.clear()
        self._handles = [part.register_forward_hook(self._hook(name)) for name, part in self._parts.items()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        return kind is _Enough

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
            tensor = tensor_of(output, self._indices[name])
            if tensor is not None:
                self._outputs[name] = tensor
            self._count[name] += 1
            if self._stop and all(self._count[n] >= runs for n, runs in self._runs.items()):
                raise _Enough

        return hook
