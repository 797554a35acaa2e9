"""The child: opens one model file and answers on its pipes, so that what a runtime does to its process ends there. Loads no torch itself.

Run as: python -m potstill.core.runtimes.serve RUNTIME MODEL THREADS. A message is one line of JSON and the bytes that it counts.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError


def write(pipe: BinaryIO, head: dict[str, Any], array: NDArray[Any] | None = None) -> None:
    """Send a message."""
    data = b"" if array is None else np.ascontiguousarray(array).tobytes()
    if array is not None:
        head = {**head, "dtype": array.dtype.str, "shape": list(array.shape)}
    pipe.write(json.dumps({**head, "bytes": len(data)}).encode() + b"\n" + data)
    pipe.flush()


def read(pipe: BinaryIO) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Receive a message. Raises EOFError where the other side is gone."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head: dict[str, Any] = json.loads(line)
    data = pipe.read(head["bytes"])
    if len(data) != head["bytes"]:
        raise EOFError
    if "dtype" not in head:
        return head, None
    return head, np.frombuffer(data, head["dtype"]).reshape(head["shape"])


def said(err: BaseException) -> str:
    """Return the first line of an error."""
    return next((line.strip() for line in str(err).splitlines() if line.strip()), type(err).__name__)[:300]


def confine() -> None:
    """Let this process have no more memory than the machine: a file that asks for more fails here, and nothing else is ended for it."""
    if sys.platform != "linux":
        return
    import resource

    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        most = min(most, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _serve(session: Any, given: BinaryIO, answers: BinaryIO) -> None:
    while True:
        try:
            head, inputs = read(given)
        except EOFError:
            return
        assert inputs is not None
        try:
            if "times" not in head:
                write(answers, {}, session(inputs))
                continue
            times = np.empty(head["times"])
            for i in range(len(times)):
                started = time.perf_counter()
                session(inputs)
                times[i] = time.perf_counter() - started
            write(answers, {}, times)
        except Exception as err:
            write(answers, {"error": said(err)})


def main() -> None:
    """Serve until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # runtimes talk on stdout
    confine()
    try:
        runtime = importlib.import_module(sys.argv[1])
        session = runtime.opened(Path(sys.argv[2]), int(sys.argv[3]))
    except Exception as err:
        write(answers, {"error": said(err), "named": isinstance(err, PotstillError)})
        return
    dtype = np.dtype(session.input_dtype).str
    head = {"input": dtype, "input_shape": list(session.input_shape), "metadata": session.metadata}
    write(answers, {**head, "signature": session.signature})
    _serve(session, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
