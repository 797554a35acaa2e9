"""TorchScript: .ts files, in PyTorch's own interpreter. A file is a program: only a child process opens one (see `core.child`). Shapes:
B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.runtimes._base import read_file
from potstill.core.runtimes._torch import TorchSession, card_of

CARD = "potstill.json"
"""File inside the archive that says what the model takes."""

LOADS_TORCH = True
"""What measures memory takes torch for a part of this runtime."""


def warm() -> None:
    """Load the runtime, so that what a model adds to it can be measured."""
    import torch

    torch.zeros(1).add_(1)


def opened(path: Path, threads: int = 1) -> TorchScriptSession:
    """Return a TorchScript file as what it is; raises as `TorchScriptSession`."""
    return TorchScriptSession(path, threads)


class TorchScriptSession(TorchSession):
    """A scripted or traced model with one input and one output, of any batch.

    Args:
        path: of the file.
        threads: of one operator.

    Raises:
        PotstillError: no TorchScript file.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import torch

        if read_file(path, "a TorchScript file")[:4] != b"PK\x03\x04":
            raise PotstillError(f"{path}: must be a TorchScript file, which is a zip archive; got something else.")
        extra: dict[str, Any] = {CARD: b""}
        torch.set_num_threads(threads)
        self._model: Any = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
        self._model.eval()
        self._says(card_of(bytes(extra[CARD]) if not isinstance(extra[CARD], str) else extra[CARD].encode()))

    def _run(self, inputs: Any) -> Any:
        return self._model(inputs)
