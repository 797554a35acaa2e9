"""Progress of long work: a bar with rate and time left, plain lines without a terminal, or JSON events."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, TextIO

Mode = Literal["auto", "plain", "json", "quiet"]


class Progress:
    """Where stages report to.

    Args:
        mode: "auto" is a bar on a terminal and plain lines elsewhere; "json" writes one event a line.
        stream: default stderr, so that results on stdout stay clean.
    """

    def __init__(self, mode: Mode = "auto", stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        if mode == "auto":
            self.mode = "bar" if self.stream.isatty() else "plain"
        else:
            self.mode = mode

    def task(self, name: str, total: int, unit: str = "it") -> Task:
        """Start a piece of work of `total` units; use as a context manager."""
        return Task(self, name, total, unit)

    def say(self, text: str, **data: Any) -> None:
        """Print one line (an event with `data` in JSON mode)."""
        if self.mode == "json":
            self.event("message", text=text, **data)
        elif self.mode != "quiet":
            print(text, file=self.stream, flush=True)

    def warn(self, task: str, text: str) -> None:
        """Print one line that a person should read, above a bar if there is one (the event "warning" in JSON mode)."""
        if self.mode == "json":
            self.event("warning", task=task, text=text)
        elif self.mode != "quiet":
            clear = "\r\x1b[2K" if self.mode == "bar" else ""
            print(f"{clear}  {task}: warning: {text}", file=self.stream, flush=True)

    def event(self, kind: str, **data: Any) -> None:
        """Write one JSON event; nothing in other modes."""
        if self.mode == "json":
            print(json.dumps({"event": kind, "time": round(time.time(), 3), **data}), file=self.stream, flush=True)


class Task(AbstractContextManager["Task"]):
    """One running piece of work; `advance` is cheap enough to call every step."""

    def __init__(self, progress: Progress, name: str, total: int, unit: str) -> None:
        self._to, self.name, self.total, self.unit = progress, name, total, unit
        self.done = 0
        self.note = ""
        """Shown beside the bar."""
        self._start = self._shown = time.monotonic()
        self._offset = 0

    def __enter__(self) -> Task:
        self._to.event("start", task=self.name, total=self.total, unit=self.unit)
        return self

    def resume_at(self, done: int) -> None:
        """Say that `done` units were finished earlier; they do not count in the rate."""
        self.done = self._offset = done

    def advance(self, num: int = 1) -> None:
        """Count `num` more units."""
        self.done += num
        now = time.monotonic()
        interval = 0.1 if self._to.mode == "bar" else 10.0
        if now - self._shown >= interval:
            self._shown = now
            self._show(now)

    def _show(self, now: float) -> None:
        seconds = max(now - self._start, 1e-9)
        rate = (self.done - self._offset) / seconds
        left = (self.total - self.done) / rate if rate > 0 else 0.0
        if self._to.mode == "json":
            self._to.event(
                "progress", task=self.name, done=self.done, total=self.total, rate=round(rate, 3), note=self.note
            )
            return
        share = self.done / max(self.total, 1)
        text = f"{share:4.0%} {self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s, {left:.0f} s left  {self.note}"
        if self._to.mode == "bar":
            filled = int(24 * share)
            bar = "━" * filled + "╌" * (24 - filled)
            print(f"\r\x1b[2K  {self.name:<28.28} {bar} {text}", end="", file=self._to.stream, flush=True)
        elif self._to.mode == "plain":
            print(f"  {self.name}: {text}", file=self._to.stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._to.mode == "bar":
            print("\r\x1b[2K", end="", file=self._to.stream, flush=True)
        self._to.event("stop", task=self.name, done=self.done, seconds=round(time.monotonic() - self._start, 3))
