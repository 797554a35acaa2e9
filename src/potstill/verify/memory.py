"""Peak memory of a model file, in a fresh process with nothing but its runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.verify import _child

_HUNG_S = 300


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
    shape = json.dumps([1, *example_BX.shape[1:]])
    command = [sys.executable, "-m", _child.__name__, runtime, str(path), str(threads), shape]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=_HUNG_S, env=dict(os.environ), check=False
        )
    except subprocess.TimeoutExpired as err:
        raise PotstillError(f"{path}: must run in a process of its own; got one that hung for {_HUNG_S} s.") from err
    if child.returncode != 0:
        raise PotstillError(f"{path}: must run in a process of its own; got {child.stderr.strip()[-300:]}")
    found = json.loads(child.stdout.splitlines()[-1])
    assert not found["torch"]
    return {"value": max(0, found["peak"] - found["baseline"]), "baseline": found["baseline"], "source": "measured"}
