"""Peak memory of a model file, in a fresh process with nothing but its runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from potstill.core.child import answer_of
from potstill.verify import _child

_HUNG_S = 300.0


def peak_memory(runtime: str, path: Path, example_BX: NDArray[Any], threads: int) -> dict[str, Any]:
    """Return {"value", "baseline", "source"} in bytes: what loading and running the model added to a process that had
    only its runtime loaded (VmHWM of a child, baseline taken off).

    Args:
        runtime: module that opens the file, as an exporter names it. Torch is in the baseline where the runtime needs it.
        path: of the model.
        example_BX: gives the shape of a sample.
        threads: of the runtime.
    """
    if not Path("/proc/self/status").exists():
        return {"value": None, "baseline": None, "source": "unknown"}
    found = in_a_fresh_process(runtime, path, example_BX, threads)
    return {"value": max(0, found["peak"] - found["baseline"]), "baseline": found["baseline"], "source": "measured"}


def in_a_fresh_process(runtime: str, path: Path, example_BX: NDArray[Any], threads: int) -> dict[str, Any]:
    """Return what `_child` says of starting a runtime, loading a model and running it: bytes and ms.

    Raises:
        PotstillError: it fails, crashes or hangs.
    """
    arguments = [runtime, str(path), str(threads), json.dumps([1, *example_BX.shape[1:]])]
    found: dict[str, Any] = answer_of(_child.__name__, arguments, path, _HUNG_S)
    assert not found["torch"]
    return found
