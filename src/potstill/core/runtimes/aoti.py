"""AOTInductor: .pt2 packages of compiled code, in PyTorch. A file is a program: only a child process opens one (see `core.child`). Shapes:
B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.runtimes._base import read_file
from potstill.core.runtimes._torch import TorchSession, card_of

ROOT = "student"
"""Folder inside the package that all is in."""
CARD = f"{ROOT}/extra/potstill.json"
"""File inside the package that says what the model takes."""
_MOST = 1 << 16

LOADS_TORCH = True
"""What measures memory takes torch for a part of this runtime."""


def warm() -> None:
    """Load the runtime, so that what a model adds to it can be measured."""
    import torch
    import torch._inductor

    torch.zeros(1).add_(1)


def opened(path: Path, threads: int = 1) -> AotiSession:
    """Return an AOTInductor package as what it is; raises as `AotiSession`."""
    return AotiSession(path, threads)


class AotiSession(TorchSession):
    """A compiled model with one input and one output, of any batch.

    Args:
        path: of the file.
        threads: of one operator.

    Raises:
        PotstillError: no package of AOTInductor.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import torch
        import torch._inductor

        if read_file(path, "an AOTInductor package")[:4] != b"PK\x03\x04":
            raise PotstillError(f"{path}: must be an AOTInductor package, which is a zip archive; got something else.")
        said = _card(path)
        torch.set_num_threads(threads)
        # The loader unpacks the package and maps its code: what lies on disk is not needed after, and nobody would remove it once the
        # child is killed.
        with tempfile.TemporaryDirectory(prefix="potstill-") as folder:
            os.environ["TMPDIR"] = folder
            self._model: Any = torch._inductor.aoti_load_package(str(path))
        self._says(said)

    def _run(self, inputs: Any) -> Any:
        return self._model(inputs)


def _card(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as package:
            if CARD not in package.namelist():
                return card_of(b"")
            with package.open(CARD) as file:
                return card_of(file.read(_MOST))
    except (zipfile.BadZipFile, OSError, NotImplementedError) as err:
        raise PotstillError(f"{path}: must be a whole AOTInductor package; got {err}. Export it again.") from err
