"""Processes that run arms beside one another. They speak JSON lines: nothing is pickled.

A worker dies with its parent: it ends when its standard input closes.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

from potstill.core import errors
from potstill.core.errors import PotstillError
from potstill.core.progress import Progress
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.execute import Outcome
from potstill.pipeline.graph import Graph, Node
from potstill.stages import RunOptions

Event = tuple["Worker", dict[str, Any]]


class Worker:
    """One child process and the thread that reads what it says."""

    def __init__(self, setup: dict[str, Any], threads: int, events: queue.Queue[Event]) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "potstill.pipeline._worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
        )  # fmt: skip
        self.node: Node | None = None
        self._events = events
        self.send(setup)
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Write one JSON line to the child."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is reported by the reading thread

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self._events.put((self, json.loads(line)))
            except ValueError:
                print(line, end="", file=sys.stderr)  # something a library printed
        self._events.put((self, {"event": "ended", "code": self.process.wait()}))


def run_parallel(
    graph: Graph,
    nodes: list[Node],
    cache: ArtifactCache,
    options: RunOptions,
    progress: Progress,
    processes: int,
    made: dict[str, Any] | None = None,
) -> list[Outcome]:
    """Run `nodes` in up to `processes` children, each node after those it needs.

    Raises:
        PotstillError: the first error of a child; the others are asked to stop and keep what they have.
    """
    waiting = [n for n in nodes if not cache.has(n.key)]
    outcomes = [Outcome(n.name, n.key, True, 0.0) for n in nodes if cache.has(n.key)]
    done = {o.name for o in outcomes} | {n.name for n in graph.nodes.values() if not n.arm and cache.has(n.key)}
    events: queue.Queue[Event] = queue.Queue()
    setup = {
        "recipe": graph.recipe.model_dump(mode="json"),
        "made": made,
        "path": sys.path,
        "options": {
            "cache": str(options.cache), "threads": options.threads, "device": options.device,
            "accept_fingerprint": options.accept_fingerprint, "checkpoint_every_s": options.checkpoint_every_s,
        },
    }  # fmt: skip
    workers = [Worker(setup, options.threads, events) for _ in range(min(processes, len(waiting)))]
    try:
        with progress.task("students", len(waiting), "arms") as shown:
            _give(workers, waiting, done, graph)
            while any(w.node for w in workers) or waiting:
                worker, event = events.get()
                if event["event"] == "done" and worker.node is not None:
                    outcomes.append(Outcome(worker.node.name, worker.node.key, event["cached"], event["seconds"]))
                    done.add(worker.node.name)
                    worker.node = None
                    shown.advance()
                    _give(workers, waiting, done, graph)
                elif event["event"] == "error":
                    raise _error(event)
                elif event["event"] == "ended":
                    name = worker.node.name if worker.node else "a worker"
                    raise PotstillError(
                        f"{name}: its process must run to the end; it ended with code {event['code']} (killed, or out "
                        "of memory). What was finished is kept: run the same command again."
                    )
                elif event["event"] == "warning":
                    progress.warn(event["task"], event["text"])
                elif progress.mode == "json":
                    progress.event(**{"kind": event.pop("event"), **event})
    finally:
        _stop(workers)
    return outcomes


def _give(workers: list[Worker], waiting: list[Node], done: set[str], graph: Graph) -> None:
    for worker in workers:
        if worker.node is None:
            ready = next((n for n in waiting if all(i in done for i in n.inputs.values())), None)
            if ready is None:
                return
            waiting.remove(ready)
            worker.node = ready
            worker.send({"node": ready.name, "key": ready.key})


def _error(event: dict[str, Any]) -> BaseException:
    if event["type"] == "KeyboardInterrupt":
        return KeyboardInterrupt()
    if event["type"] == "OSError":
        return OSError(event["number"], event["text"], event["file"])
    kind = getattr(errors, event["type"], None)
    if kind is None or not issubclass(kind, PotstillError):
        return RuntimeError(event["text"])
    error: BaseException = kind([event["text"]]) if kind is errors.RecipeError else kind(event["text"])
    return error


def _stop(workers: list[Worker]) -> None:
    """Ask each child to save and stop; end those that do not within a minute."""
    for worker in workers:
        if worker.process.poll() is None and worker.node is not None:
            worker.process.send_signal(
                signal.SIGTERM
            )  # a shell's background job ignores SIGINT, and so do its children
        if worker.process.stdin is not None and worker.node is None:
            worker.process.stdin.close()
    for worker in workers:
        try:
            worker.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
