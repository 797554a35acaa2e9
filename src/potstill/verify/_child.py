"""Loads a model in a process of its own and says how much memory that took. Imports no torch.

Run as: python -m potstill.verify._child MODEL THREADS SHAPE; prints one JSON line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def _peak_bytes() -> int:
    """Return VmHWM, which exec resets; ru_maxrss would inherit the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def main() -> None:
    """Measure."""
    import numpy as np

    from potstill.core.onnx_writer import OnnxWriter, opened

    path, threads, shape = Path(sys.argv[1]), int(sys.argv[2]), tuple(json.loads(sys.argv[3]))
    import onnxruntime

    onnxruntime.get_available_providers()
    baseline = _peak_bytes()
    session = opened(path, threads)
    for _ in range(3):
        if isinstance(session, OnnxWriter):
            session.longest()
        else:
            session(np.zeros(shape, session.input_dtype))
    print(json.dumps({"peak": _peak_bytes(), "baseline": baseline, "torch": "torch" in sys.modules}))


if __name__ == "__main__":
    main()
