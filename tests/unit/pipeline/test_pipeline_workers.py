"""Children that run arms: what they say is heard, and one that dies ends the run with a clear error."""

from __future__ import annotations

import io
import json
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import PotstillError, RecipeError, StoreError
from potstill.core.hashing import StatCache
from potstill.core.progress import Progress
from potstill.pipeline import workers
from potstill.pipeline.execute import Outcome
from potstill.pipeline.graph import build
from potstill.pipeline.workers import run_parallel
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions

RECIPE = Recipe.model_validate({
    "name": "tiny", "data": {"kind": "digits"}, "teacher": {"kind": "train", "model": {"kind": "ds-cnn"}},
    "student": {"kind": "ds-cnn"}, "seeds": 2,
    "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}]}],
})  # fmt: skip
DONE = """echo '{"event": "done", "cached": false, "seconds": 1.5}'"""


class Finished:
    """A cache in which everything that no arm makes is finished, and so is what is named."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)

    def has(self, key: str) -> bool:
        return key in self.keys


Run = Callable[..., list[Outcome]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(shell script) -> outcomes, each child being that script: it reads the setup first, then a line a node."""
    graph = build(RECIPE, StatCache())

    def start(
        script: str, processes: int = 2, finished: tuple[str, ...] = (), progress: Progress | None = None
    ) -> list[Outcome]:
        child = tmp_path / "child"
        child.write_text("#!/bin/sh\n" + textwrap.dedent(script))
        child.chmod(0o755)
        monkeypatch.setattr(workers.sys, "executable", str(child))
        arms = [n for n in graph.nodes.values() if n.arm]
        keys = [n.key for n in graph.nodes.values() if not n.arm] + [graph.nodes[name].key for name in finished]
        options = RunOptions(cache=tmp_path, threads=3, checkpoint_every_s=7.0)
        return run_parallel(graph, arms, Finished(*keys), options, progress or Progress("quiet"), processes)  # type: ignore[arg-type]

    return start


def test_every_arm_is_run_once_each_after_what_it_needs(run: Run, tmp_path: Path) -> None:
    outcomes = run(f"""read setup; echo "$setup" > {tmp_path}/setup; env > {tmp_path}/env
        while read line; do echo "$line" >> {tmp_path}/given; {DONE}; done""")
    arms = [n for n in build(RECIPE, StatCache()).nodes.values() if n.arm]
    assert sorted(o.name for o in outcomes) == sorted(n.name for n in arms)
    assert all(not o.cached and o.seconds == 1.5 for o in outcomes)
    given = [json.loads(line) for line in (tmp_path / "given").read_text().splitlines()]
    assert sorted((g["node"], g["key"]) for g in given) == sorted((n.name, n.key) for n in arms)
    setup = json.loads((tmp_path / "setup").read_text())
    assert Recipe.model_validate(setup["recipe"]) == RECIPE
    assert setup["options"] == {
        "cache": str(tmp_path), "threads": 3, "device": "cpu", "accept_fingerprint": False, "checkpoint_every_s": 7.0
    }  # fmt: skip
    assert "OMP_NUM_THREADS=3" in (tmp_path / "env").read_text().splitlines()


def test_one_child_alone_keeps_the_order(run: Run) -> None:
    outcomes = run(f"read setup; while read line; do {DONE}; done", processes=1)
    seen: set[str] = set()
    graph = build(RECIPE, StatCache())
    for outcome in outcomes:
        assert {i for i in graph.nodes[outcome.name].inputs.values() if graph.nodes[i].arm} <= seen
        seen.add(outcome.name)


def test_what_is_finished_is_not_given_out(run: Run, tmp_path: Path) -> None:
    first = "steps/student/seed0/1-distill"
    outcomes = run(f"read setup; while read line; do echo $line >> {tmp_path}/given; {DONE}; done", finished=(first,))
    assert next(o for o in outcomes if o.name == first).cached
    assert first not in (tmp_path / "given").read_text()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("read setup; read line; exit 3", "3"),
        ("read setup; read line; kill -9 $$", "-9"),
        ("read setup; read line; kill -11 $$", "-11"),
    ],
)
def test_a_child_that_dies_ends_the_run_and_names_its_arm(run: Run, script: str, code: str) -> None:
    with pytest.raises(PotstillError, match=rf"steps/.*: its process must run to the end; it ended with code {code} .*run the same command again"):  # fmt: skip
        run(script)


def test_a_child_that_never_starts_is_told(run: Run) -> None:
    with pytest.raises(PotstillError, match="its process must run to the end; it ended with code 127"):
        run("no-such-program-for-test 2> /dev/null")


def test_the_others_are_asked_to_save_when_one_dies(run: Run, tmp_path: Path) -> None:
    """The first to take the folder dies at once; the other works until it is asked to stop."""
    with pytest.raises(PotstillError, match="code 5"):
        run(f"""read setup; read line
            if mkdir {tmp_path}/taken 2> /dev/null; then while [ ! -e {tmp_path}/ready ]; do sleep 0.02; done; exit 5; fi
            trap 'echo saved > {tmp_path}/saved; exit 130' TERM
            touch {tmp_path}/ready
            while true; do sleep 0.02; done""")
    assert (tmp_path / "saved").read_text() == "saved\n"


@pytest.mark.parametrize(
    ("kind", "raised"),
    [("StoreError", StoreError), ("RecipeError", RecipeError), ("PotstillError", PotstillError), ("ZeroDivisionError", RuntimeError),
     ("KeyboardInterrupt", KeyboardInterrupt)],
)  # fmt: skip
def test_an_error_of_a_child_is_the_runs(run: Run, kind: str, raised: type[BaseException]) -> None:
    with pytest.raises(raised) as caught:
        run(
            f"""read setup; read line; echo '{{"event": "error", "type": "{kind}", "text": "x: must be whole."}}'; read more"""
        )
    assert type(caught.value) is raised
    if raised is not KeyboardInterrupt:
        assert str(caught.value) == "x: must be whole."


def test_what_a_library_prints_is_no_event(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    outcomes = run(f"read setup; echo 'warning: old driver'; while read line; do {DONE}; done", processes=1)
    assert len(outcomes) == 8
    assert capfd.readouterr().err == "warning: old driver\n"


def test_a_childs_events_are_passed_on(run: Run) -> None:
    stream = io.StringIO()
    progress = """echo '{"event": "progress", "task": "x", "done": 3, "total": 9}'"""
    run(f"read setup; while read line; do {progress}; {DONE}; done", progress=Progress("json", stream))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    passed = [e for e in events if e["event"] == "progress" and e["task"] == "x"]
    assert len(passed) == 8 and passed[0]["done"] == 3


def test_a_childs_warning_is_shown_to_people(run: Run) -> None:
    stream = io.StringIO()
    warning = """printf '{"event": "warning", "task": "arm", "text": "look"}\\n'"""
    run(f"read setup; while read line; do {warning}; {DONE}; done", progress=Progress("plain", stream))
    assert "arm: warning: look" in stream.getvalue()


def test_no_child_is_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    popen = workers.subprocess.Popen

    def remembered(*args: Any, **settings: Any) -> Any:
        started.append(popen(*args, **settings))
        return started[-1]

    monkeypatch.setattr(workers.subprocess, "Popen", remembered)
    run(f"read setup; while read line; do {DONE}; done")
    with pytest.raises(PotstillError):
        run("read setup; read line; kill -9 $$")
    assert len(started) == 4 and all(process.poll() is not None for process in started)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
