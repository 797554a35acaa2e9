"""A model file in a process of its own: a runtime that crashes or hangs there is an error here. Shapes: B rows, X the shape of one input,
Y of one output."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.runtimes import serve

_LOAD_S, _RUN_S = 180.0, 600.0
"""Seconds after which a runtime counts as hung."""


class ChildSession:
    """A model file that is run in a child process, callable like the module it came from.

    Args:
        runtime: module that opens it, of `core.runtimes`.
        path: of the file.
        threads: of the runtime.

    Raises:
        PotstillError: it cannot be opened, or the runtime crashes or hangs on it.
        MissingExtraError: the runtime is not installed.
    """

    def __init__(self, runtime: str, path: Path, threads: int = 1) -> None:
        self.path, self.files = path, [path]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child
        command = [sys.executable, "-m", serve.__name__, runtime, str(path.resolve()), str(threads)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self._end = weakref.finalize(self, _end, self._child)
        head, _ = self._answer(_LOAD_S, "open")
        if "error" in head:
            self._end()
            raise PotstillError(
                head["error"] if head["named"] else f"{path}: must be a model that its runtime can load; got "
                f"{head['error']}"
            )  # fmt: skip
        self.input_dtype = np.dtype(head["input"]).type
        self.input_shape: tuple[int | None, ...] = tuple(head["input_shape"])
        self.metadata: dict[str, str] = head["metadata"]
        self.signature: dict[str, Any] = head["signature"]

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32. Raises PotstillError where the model does not take this shape, or fails."""
        return self._asked({}, inputs_BX)

    def times(self, inputs_BX: NDArray[Any], num: int) -> NDArray[np.float64]:
        """Return the seconds of `num` calls, taken in the child: the pipe is not in them."""
        return self._asked({"times": num}, inputs_BX)

    def close(self) -> None:
        """End the child."""
        self._end()

    def _asked(self, head: dict[str, Any], inputs_BX: NDArray[Any]) -> NDArray[Any]:
        inputs = np.ascontiguousarray(inputs_BX, self.input_dtype)
        pipe = self._child.stdin
        assert pipe is not None
        try:
            serve.write(pipe, head, inputs)  # type: ignore[arg-type]
        except OSError as err:
            raise self._died("run") from err
        found, array = self._answer(_RUN_S, "run")
        if "error" in found or array is None:
            raise PotstillError(f"{self.path}: must take input {list(inputs.shape)} {inputs.dtype}; got "
                                f"{found.get('error')}")  # fmt: skip
        return array

    def _answer(self, seconds: float, doing: str) -> tuple[dict[str, Any], NDArray[Any] | None]:
        pipe = self._child.stdout
        assert pipe is not None
        watch = threading.Timer(seconds, self._child.kill)
        watch.start()
        try:
            return serve.read(pipe)  # type: ignore[arg-type]
        except EOFError as err:
            raise self._died(doing) from err
        finally:
            watch.cancel()

    def _died(self, doing: str) -> PotstillError:
        code = self._child.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._end()
        return PotstillError(
            f"{self.path}: must be a model that its runtime can {doing}; got a runtime that ended with {how} or hung"
            + (f" ({lines[-1][:200]})" if lines else "")
            + ". Is the file whole? Export it again."
        )


def answer_of(module: str, arguments: Sequence[str], about: Path, seconds: float, given: str | None = None) -> Any:
    """Return the JSON of the last line that a module of ours prints, run in a fresh process.

    Args:
        module: by name.
        arguments: of its command line.
        about: the file that it works on, which an error names.
        seconds: after which it counts as hung.
        given: what it reads.

    Raises:
        PotstillError: it fails, crashes or hangs.
    """
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as err:
        said = f"none within {seconds:.0f} s"
        raise PotstillError(f"{about}: must run in a process of its own; got {said}.") from err
    except (subprocess.CalledProcessError, IndexError, ValueError) as err:
        lines = (getattr(err, "stderr", "") or "").strip().splitlines() or [type(err).__name__]
        raise PotstillError(f"{about}: must run in a process of its own; got {lines[-1][-300:]}") from err


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
