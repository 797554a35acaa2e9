"""A folder of generated C: what it says of itself, and this machine's compiler for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.errors import MissingExtraError, PotstillError
from potstill.core.mel import MelSpectrum

REPORT = "report.json"
"""What the folder says of its model."""
FLAGS = ("-std=gnu99", "-O2", "-ffp-contract=off")
"""Of every compiler: a product and a sum are never joined, so that float32 is the same everywhere."""
COMPILERS = ("gcc", "cc", "clang")


def compiler() -> str:
    """Return the path of this machine's C compiler. Raises MissingExtraError where there is none."""
    found = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if found is None:
        raise MissingExtraError(
            "gcc: must be installed to build generated C; there is no C compiler. Install it: apt-get install gcc libc6-dev"
        )
    return found


def report_of(folder: Path) -> dict[str, Any]:
    """Return what a generated folder says of itself. Raises PotstillError where it is none, or names a source outside it."""
    try:
        report: dict[str, Any] = atomic.read_json(folder / REPORT)
        names = [*report["files"], *report["sources"]]
        if report["schema"] != 1 or any(Path(n).name != n or not (folder / n).is_file() for n in names):
            raise ValueError("files that are missing, or another version's")
    except (OSError, ValueError, KeyError, TypeError, PotstillError) as err:
        raise PotstillError(
            f"{folder}: must be a folder of generated C; got {err}. Write it again: potstill export-c"
        ) from err
    return report


def by_host(host: Mapping[str, Any] | None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what brings samples to a generated model: log-mel spectrograms [B, 1, F, M] of sounds [B, T] where its report leaves them to the
    host, else nothing is done.

    Args:
        host: of a folder's report: numbers of a `MelSpectrum`, and the shape that it takes; None where there is nothing to do.

    Raises:
        PotstillError: the numbers make no spectrogram of that shape.
    """
    if host is None:
        return lambda samples_BX: samples_BX
    try:
        made = MelSpectrum(**{k: v for k, v in host.items() if k not in ("do", "takes")})
        made(np.zeros((1, *host["takes"]), np.float32))
    except (TypeError, ValueError, KeyError, ArithmeticError, IndexError) as err:
        raise PotstillError(f"{REPORT}: host must have the numbers of a spectrogram; got {host} ({err}). Write it again: potstill run") from err  # fmt: skip
    return made
