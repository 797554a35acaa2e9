"""Progress in each of its modes, and numbers for people."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from potstill.core import progress as module
from potstill.core.progress import Progress
from potstill.core.units import human_bytes, human_count, human_seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """clock(seconds) moves the time on."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def work(progress: Progress, clock: Any) -> None:
    with progress.task("train", 100, "steps") as task:
        task.resume_at(40)
        task.note = "validation 0.9"
        clock(20)
        task.advance(20)
        task.advance()
        clock(20)
        task.advance(39)
    progress.say("done", rows=3)


def test_a_terminal_has_a_bar_with_rate_and_time_left(clock: Any) -> None:
    stream = Terminal()
    work(Progress("auto", stream), clock)
    shown = stream.getvalue().split("\r\x1b[2K")
    assert "60% 60/100 steps, 1 steps/s, 40 s left  validation 0.9" in shown[1], "what was resumed is no speed"
    assert shown[1].count("━") == 14 and shown[1].count("╌") == 10
    assert "100/100" in shown[2] and shown[-1] == "done\n", "the bar is wiped at the end"


def test_a_file_has_plain_lines_and_no_control_characters(clock: Any) -> None:
    stream = io.StringIO()
    work(Progress("auto", stream), clock)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and lines[0].startswith("  train:  60% 60/100 steps, 1 steps/s") and lines[2] == "done"
    assert not set("\r\x1b") & set(stream.getvalue())


def test_json_has_one_event_a_line(clock: Any) -> None:
    stream = io.StringIO()
    work(Progress("json", stream), clock)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [e["event"] for e in events] == ["start", "progress", "progress", "stop", "message"]
    assert events[0] | {"task": "train", "total": 100, "unit": "steps"} == events[0]
    assert events[1] | {"done": 60, "rate": 1.0, "note": "validation 0.9"} == events[1]
    assert events[3] | {"done": 100, "seconds": 40.0} == events[3]
    assert events[4] | {"text": "done", "rows": 3} == events[4]
    assert all(isinstance(e["time"], float) for e in events)


def test_quiet_is_quiet_and_nothing_at_all_is_no_error(clock: Any) -> None:
    stream = Terminal()
    work(Progress("quiet", stream), clock)
    assert stream.getvalue() == ""
    for mode in ("auto", "plain", "json", "quiet"):
        with Progress(mode, Terminal()).task("nothing", 0) as task:  # type: ignore[arg-type]
            clock(60)
            task.advance(0)


def test_events_are_for_json_alone() -> None:
    stream = io.StringIO()
    Progress("plain", stream).event("made", node="x")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("mode", "shown"), [("plain", "  arm: warning: look\n"), ("quiet", ""), ("bar", "\r\x1b[2K  arm: warning: look\n")]
)
def test_a_warning_is_for_people_too(mode: Any, shown: str) -> None:
    stream = io.StringIO()
    progress = Progress("plain", stream)
    progress.mode = mode
    progress.warn("arm", "look")
    assert stream.getvalue() == shown
    stream = io.StringIO()
    Progress("json", stream).warn("arm", "look")
    found = json.loads(stream.getvalue())
    assert (found["event"], found["task"], found["text"]) == ("warning", "arm", "look")


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (human_bytes, 0, "0 B"), (human_bytes, 999, "999 B"), (human_bytes, 1000, "1 kB"), (human_bytes, 3_440_000, "3.44 MB"),
        (human_bytes, 999_600, "1000 kB"), (human_bytes, 5e13, "50000 GB"), (human_bytes, None, "?"),
        (human_count, 970, "970"), (human_count, 41_200, "41.2 k"), (human_count, 1_270_000, "1.27 M"), (human_count, None, "?"),
        (human_count, 2e10, "20 G"),
        (human_seconds, 0.44, "0.4 s"), (human_seconds, 59, "59 s"), (human_seconds, 125, "2 min 05 s"),
        (human_seconds, 3600, "1 h 00 min"), (human_seconds, 11_400, "3 h 10 min"), (human_seconds, None, "?"),
    ],
)  # fmt: skip
def test_numbers_for_people(function: Any, value: float | None, text: str) -> None:
    assert function(value) == text
