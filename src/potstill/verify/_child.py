"""Loads a model in a process of its own and says how much memory and time that took. Imports no torch itself.

Run as: python -m potstill.verify._child RUNTIME MODEL THREADS SHAPE; prints one JSON line.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

from potstill.core.runtimes import serve


def _peak_bytes() -> int:
    """Return VmHWM, which exec resets; ru_maxrss would inherit the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def main() -> None:
    """Measure."""
    started = time.perf_counter()  # what any runtime needs counts as its start; Python's own does not
    import numpy as np

    name, path, threads, shape = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), tuple(json.loads(sys.argv[4]))
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes talk on stdout
    serve.confine()
    runtime = importlib.import_module(name)
    runtime.warm()
    ready, baseline = time.perf_counter(), _peak_bytes()
    began = time.perf_counter()
    session = runtime.opened(path, threads)
    ended = [time.perf_counter()]
    for _ in range(3):
        if hasattr(session, "longest"):
            session.longest()
        else:
            session(np.zeros(shape, session.input_dtype))
        ended.append(time.perf_counter())
    torch = "torch" in sys.modules and not getattr(runtime, "LOADS_TORCH", False)
    ms = {"runtime": 1e3 * (ready - started), "load": 1e3 * (ended[0] - began), "first": 1e3 * (ended[1] - ended[0])}
    found = {"peak": _peak_bytes(), "baseline": baseline, "torch": torch, "ms": ms}
    print(json.dumps(found), file=answer, flush=True)
    os.dup2(answer.fileno(), 1)


if __name__ == "__main__":
    main()
