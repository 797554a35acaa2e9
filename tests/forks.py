"""A process that has everything imported and forks a child for each job: a run or a kill costs milliseconds, not an import.

A job is a function of the tests by name, with JSON arguments; `command` is the command line. Jobs of one request run beside one
another; each can be killed, at a moment in seconds or at the n-th time that it touches a file. Run as a program, this is the server.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRELOAD = (
    "numpy", "torch", "onnxruntime", "safetensors.torch", "potstill.api", "potstill.pipeline.run", "potstill.report",
    "potstill.pipeline.check", "potstill.labels.writer", "potstill.labels.live", "potstill.train.loop",
    "potstill.models.tools.saved", "potstill.models.tools.profile", "potstill.exporters.parity",
    "potstill.verify.accuracy", "potstill.stages._fit", "potstill.teachers.gate", "potstill.data.pictures", "yaml",
    "sklearn.datasets", "scipy.stats", "pyarrow.parquet", "onnxscript", "torch.onnx", "potstill.teachers._torch",
    "torch.export", "torch._dynamo", "potstill.cli.app", "potstill.exporters.onnx", "tokenizers",
)  # fmt: skip
FILE_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.utime"}
_ENOUGH = 60_000
"""Bytes of an answer: a pipe holds so many without a reader."""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    """0; 4 a PotstillError; 1 anything else raised; -9 and the like, a signal."""
    value: Any
    """What the function returned, or the text of what it raised."""
    killed: bool
    """By us, on purpose."""
    late: bool
    """It ran past its limit and was ended."""


def kill_when(root: Path, at: int | None) -> list[int]:
    """Count the times this process touches a file under `root` from now on; die by SIGKILL at the `at`-th."""
    seen = [0]
    prefix = str(root)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and args and str(args[0]).startswith(prefix):
            seen[0] += 1
            if seen[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


class Server:
    """Starts the server process; `run` asks it for jobs.

    Args:
        log: file that takes what children write to stdout and stderr.

    `sabotage` names a function of faults/_faults_sabotage that every child calls first: to see that the checks can fail.
    """

    def __init__(self, log: Path) -> None:
        env = {
            **os.environ,
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        self.sabotage: str | None = None
        self._log = open(log, "ab")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log,
        )  # fmt: skip

    def run(self, *jobs: dict[str, Any]) -> list[Ended]:
        """Run jobs beside one another and return how each ended.

        Args:
            jobs: {"call": "module:function", "args": {...}} and perhaps "kill_after" (seconds), "limit" (seconds, default
                120), "env", "memory" (bytes of address space).
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        sent = [{**job, "sabotage": self.sabotage} for job in jobs]
        self._process.stdin.write(json.dumps(sent).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended with code {self._process.wait()}")
        return [Ended(**entry) for entry in json.loads(line)]

    def one(self, call: str, *, kill_after: float | None = None, limit: float = 120, **args: Any) -> Ended:
        """Run one job."""
        return self.run({"call": call, "args": args, "kill_after": kill_after, "limit": limit})[0]

    def must(self, call: str, *, limit: float = 120, **args: Any) -> Any:
        """Run one job that has to succeed and return its value."""
        ended = self.one(call, limit=limit, **args)
        if ended.code != 0:
            raise AssertionError(f"{call} ended with {ended.code}: {ended.value}")
        return ended.value

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def command(argv: list[str], folder: str, env: dict[str, str], out: str, err: str) -> int:
    """Return the exit code of `python -m potstill` in a folder, under these variables; what it says goes to two files."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv, sys.path[0] = ["potstill", *argv], folder
    try:
        runpy.run_module("potstill", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for name in PRELOAD:
        importlib.import_module(name)
    for line in sys.stdin.buffer:
        answers.write(json.dumps(_run_together(json.loads(line))).encode() + b"\n")
        answers.flush()


def _run_together(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    children = []
    for job in jobs:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _child(job, writing)
        os.close(writing)
        started = time.monotonic()
        children.append((job, pid, os.pidfd_open(pid), reading, started))
    out: list[dict[str, Any] | None] = [None] * len(jobs)
    while None in out:
        for i, child in enumerate(children):
            if out[i] is None:
                out[i] = _look(*child)
    for _, _, pidfd, reading, _ in children:
        os.close(pidfd)
        os.close(reading)
    return [entry for entry in out if entry is not None]


def _look(job: dict[str, Any], pid: int, pidfd: int, reading: int, started: float) -> dict[str, Any] | None:
    """Return how a child ended, or None after a short wait; kill it when its time has come."""
    kill_at = started + job["kill_after"] if job.get("kill_after") is not None else float("inf")
    limit_at = started + job.get("limit", 120)
    wait = min(kill_at, limit_at, time.monotonic() + 0.02) - time.monotonic()
    if not select.select([pidfd], [], [], max(0.0, wait))[0]:
        now = time.monotonic()
        if now < min(kill_at, limit_at):
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -9:
            return {"code": code, "value": None, "killed": kill_at <= limit_at, "late": limit_at < kill_at}
    else:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
    text = os.read(reading, 1 << 20)  # also of one that ended in the instant before it was to be killed
    return {"code": code, "value": json.loads(text) if text else None, "killed": code == -9, "late": False}


def _child(job: dict[str, Any], writing: int) -> None:
    """Never returns."""
    code, value = 1, None
    try:
        os.environ.update(job.get("env") or {})
        if job.get("memory"):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
        if job.get("sabotage"):
            getattr(importlib.import_module("_faults_sabotage"), job["sabotage"])()
        module, _, name = job["call"].partition(":")
        value = getattr(importlib.import_module(module), name)(**job["args"])
        code = 0
    except BaseException as err:
        from potstill.core.errors import PotstillError

        code = 4 if isinstance(err, PotstillError) else 1
        value = str(err) if code == 4 else "".join(traceback.format_exception(err))[-20_000:]
    finally:
        text = json.dumps(value).encode()
        os.write(writing, text if len(text) <= _ENOUGH else json.dumps(str(value)[-_ENOUGH // 2 :]).encode())
        os._exit(code)


if __name__ == "__main__":
    _serve()
