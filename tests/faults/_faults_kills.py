"""Processes that are killed while they train, label, export or write the report: the end must be the same bits."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import yaml
from _faults import Fault, Trial, check, content, fresh, sha256
from _faults_work import SMALL, VARIANTS, Recipe, edited

from forks import Ended, Server
from potstill.core import artifact
from potstill.pipeline.cache import ArtifactCache

WORK = "_faults_work:make"
FINISH = "_faults_work:finish"
BEFORE = "prepare|teach|label"


class Base:
    """Undisturbed runs of recipes, each made once: caches to copy, digests to compare with, how long it takes."""

    def __init__(self, scratch: Path, server: Server) -> None:
        self.scratch, self.server = scratch, server
        self._made: dict[str, dict[str, Any]] = {}

    def of(self, name: str, recipe: Recipe, before: str, after: str, every: float) -> dict[str, Any]:
        """Return {"cache": with `before` made, "made": digests of all, "seconds", "touched" of making `after`}."""
        if name not in self._made:
            cache = self.scratch / "base" / f"{len(self._made)}"
            self.server.must(WORK, cache=str(cache), recipe=recipe, upto=before)
            whole = cache.with_name(cache.name + "-whole")
            shutil.copytree(cache, whole)
            started = time.monotonic()
            found = self.server.must(WORK, cache=str(whole), recipe=recipe, upto=after, every=every)
            self._made[name] = {"cache": cache, "whole": whole, "seconds": time.monotonic() - started, **found}
        return self._made[name]


def kill_until_done(
    server: Server, draw: random.Random, call: str, seconds: float, touched: int, most: int, trial: Trial, **args: Any
) -> Ended:
    """Run a job, killed at random moments at most `most` times, then to its end; return how that ended.

    Half of the moments are a time, half the n-th touch of a file: the instants around a rename are short but matter most.
    """
    for _ in range(most):
        by_file = draw.random() < 0.5
        kill_at = draw.randint(1, max(1, touched)) if by_file else None
        kill_after = None if by_file else draw.uniform(0.01, seconds)
        ended = server.run({"call": call, "args": {**args, "kill_at": kill_at}, "kill_after": kill_after})[0]
        if not ended.killed:
            trial.note("ended before the kill")
            return ended
        trial.note("killed at a file" if by_file else "killed at a time", 1)
    return server.one(call, **args)


def nothing_half_done(cache: Path) -> None:
    """Every artifact that can be seen is whole; a kill may come before there is any."""
    for folder in (cache / "artifacts").glob("*"):
        check(artifact.damage(folder) == [], f"{folder.name} is visible and damaged")


class TrainingKilled(Fault):
    """One process that trains."""

    name: ClassVar[str] = "training killed"
    promise: ClassVar[str] = "SIGKILLed at random moments and run again, the student's weights have the same SHA-256"
    unit: ClassVar[str] = "kills"
    small: ClassVar[int] = 20
    full: ClassVar[int] = 200

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self.base = Base(scratch, server)

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        name = draw.choice(list(VARIANTS))
        recipe, every = VARIANTS[name], draw.choice([0.0, 0.03])
        base = self.base.of(name, recipe, BEFORE, "steps", 0.0)
        cache = self.scratch / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(base["cache"], cache)
        ended = kill_until_done(
            self.server, draw, WORK, base["seconds"], base["touched"], 3, out, cache=str(cache), recipe=recipe, upto="steps",
            every=every,
        )  # fmt: skip
        check(ended.code == 0, f"{name}: {ended.value}")
        nothing_half_done(cache)
        check(ended.value["made"] == base["made"], f"{name}: other bytes: {ended.value['made']} for {base['made']}")
        for key, _ in base["made"].values():
            weights = [sha256(f / "artifacts" / key / "student.safetensors") for f in (cache, base["whole"])]
            check(weights[0] == weights[1], f"{name}: other weights")
        out.note(f"same weights: {name}")
        return out


class StagesKilled(Fault):
    """Every stage of a run, and its report."""

    name: ClassVar[str] = "stages killed"
    promise: ClassVar[str] = (
        "killed while it prepares, labels, evaluates, exports or reports, a run ends in the same bytes"
    )
    unit: ClassVar[str] = "kills"
    small: ClassVar[int] = 8
    full: ClassVar[int] = 50
    CHOICES: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("prepare",),
        ("label",),
        ("evaluate",),
        ("export",),
        (),
        (),
        ("teach",),
    )
    """Stages whose artifacts are made again; none leaves only the report to be written."""

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self.recipe = edited(SMALL, controls=["hard-label"])
        self._whole: tuple[Path, dict[str, bytes]] | None = None
        self._cost: dict[tuple[str, ...], tuple[float, int]] = {}

    def whole(self) -> tuple[Path, dict[str, bytes]]:
        """Return (folder with cache/ and run/, the bytes of the run's files that hold no time)."""
        if self._whole is None:
            folder = fresh(self.scratch / "whole")
            self.server.must(FINISH, cache=str(folder / "cache"), recipe=self.recipe, out=str(folder / "run"))
            self._whole = (folder, timeless(folder / "run"))
        return self._whole

    def _copy(self, remade: tuple[str, ...]) -> Path:
        folder, _ = self.whole()
        here = self.scratch / "here"
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(folder / "cache", here / "cache")
        for path in (here / "cache" / "artifacts").iterdir():
            if str(artifact.manifest(path)["name"]).startswith(remade or ("nothing",)):
                shutil.rmtree(path)
        return here

    def _args(self, here: Path) -> dict[str, Any]:
        return {"cache": str(here / "cache"), "recipe": self.recipe, "out": str(here / "run"), "every": 0.0}

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        remade = draw.choice(self.CHOICES)
        folder, expected = self.whole()
        if remade not in self._cost:
            started = time.monotonic()
            found = self.server.must(FINISH, **self._args(self._copy(remade)))
            self._cost[remade] = (time.monotonic() - started, found["touched"])
        here = self._copy(remade)
        seconds, touched = self._cost[remade]
        ended = kill_until_done(self.server, draw, FINISH, seconds, touched, 2, out, **self._args(here))
        what = "+".join(remade) or "report"
        check(ended.code == 0, f"{what}: {ended.value}")
        nothing_half_done(here / "cache")
        for path in (folder / "cache" / "artifacts").iterdir():
            ours = here / "cache" / "artifacts" / path.name
            check(ours.is_dir(), f"{what}: {path.name} was not made again")
            same = artifact.content_digest(ours) == artifact.content_digest(path)
            check(same, f"{what}: other bytes in {artifact.manifest(path)['name']}")
        left = timeless(here / "run")
        check(
            left == expected,
            f"{what}: the run folder differs in",
            sorted(set(left.items()) ^ set(expected.items()))[:3],
        )
        again = self.server.must(FINISH, **self._args(here))
        check(not again["changed"], f"{what}: a second run found something to do")
        out.note(f"same bytes: {what}")
        return out


def timeless(run: Path) -> dict[str, bytes]:
    """Return a run folder's files, without what tells of time; the report must be that of the results beside it."""
    from potstill.report._card import record
    from potstill.report._page import card, page

    results = json.loads((run / "results.json").read_text())
    check((run / "report.html").read_text() == page(results, run, samples=True), "report.html is of other results")
    check((run / "model_card.md").read_text() == card(results), "model_card.md is of other results")
    twin = json.loads((run / "model_card.json").read_text())
    check(twin == json.loads(json.dumps(record(results))), "model_card.json is of other results")
    whole = {k: v for k, v in content(run).items() if not k.endswith(".tmp") and not k.startswith("logs/")}
    for name in ("run.json", "results.json", "report.html", "model_card.md", "model_card.json"):
        del whole[name]
    results["stages"].sort(key=lambda stage: stage["id"])  # arms beside one another end in any order
    return {**whole, "results.json": json.dumps(without_times(results), sort_keys=True).encode()}


TIMES = {
    "created", "seconds", "cached", "rows_per_second", "steps_per_second", "latency_ms", "teacher_latency_ms",
    "latency_ratio", "peak_memory_bytes",
}  # fmt: skip
"""What may differ between two runs of the same recipe."""


def without_times(value: Any) -> Any:
    """Return JSON without the entries that tell of time."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


class GroupKilled(Fault):
    """Two processes of a torchrun group, one of them killed."""

    name: ClassVar[str] = "one of two processes killed"
    promise: ClassVar[str] = (
        "one of two torchrun processes killed: both end, nothing is published, the rerun's weights are equal"
    )
    unit: ClassVar[str] = "kills"
    small: ClassVar[int] = 1
    full: ClassVar[int] = 10

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self.recipe = edited(
            SMALL, export=[], labels={"mode": "stored", "codec": {"kind": "float16"}}, steps__0__training__epochs=20
        )
        self._whole: tuple[Path, float] | None = None

    def whole(self) -> tuple[Path, float]:
        """Return (folder of an undisturbed run, seconds that it took)."""
        if self._whole is None:
            folder = fresh(self.scratch / "whole")
            (folder / "recipe.yaml").write_text(yaml.safe_dump(self.recipe))
            started = time.monotonic()
            text = ended_well(torchrun(folder))
            check((folder / "run" / "student.safetensors").exists(), text)
            self._whole = (folder, time.monotonic() - started)
        return self._whole

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        folder, seconds = self.whole()
        here = self.scratch / "here"
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir()
        shutil.copy(folder / "recipe.yaml", here)
        if draw.random() < 0.7:  # aim at the student's training, not at the imports and the teacher
            self._share(folder / "cache", here / "cache")
        group = torchrun(here)
        rank = draw.randrange(2)
        try:
            group.wait(timeout=draw.uniform(0.35, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            victims = children(group.pid)
            if len(victims) == 2:
                os.kill(sorted(victims)[rank], signal.SIGKILL)
                out.note(f"rank {rank} killed", 1)
        text, _ = group.communicate(timeout=120)
        if out.doses:
            check(group.returncode != 0, "torchrun said that all went well after a kill")
        nothing_half_done(here / "cache")
        ended_well(torchrun(here))
        weights = [sha256(f / "run" / "student.safetensors") for f in (here, folder)]
        check(weights[0] == weights[1], "other weights", text[-2000:])
        out.note("same weights")
        return out

    def _share(self, theirs: Path, ours: Path) -> None:
        shutil.copytree(theirs, ours)
        for path in (ours / "artifacts").iterdir():
            if not str(artifact.manifest(path)["name"]).startswith(("prepare", "teach", "label")):
                shutil.rmtree(path)


class GroupWaits(GroupKilled):
    """A group whose training another run is making, for longer than processes of a group wait for one another."""

    name: ClassVar[str] = "two processes wait for another run"
    promise: ClassVar[str] = "a group that shares a cache waits as long as it takes, and ends in the same student"
    unit: ClassVar[str] = "waits"
    small: ClassVar[int] = 1
    full: ClassVar[int] = 5
    TRAINED: ClassVar[str] = "steps/student/seed0/1-distill"
    PATIENCE_S: ClassVar[int] = 20

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        folder, _ = self.whole()
        here = fresh(self.scratch / "here")
        shutil.copy(folder / "recipe.yaml", here)
        self._share(folder / "cache", here / "cache")
        key = json.loads((folder / "run" / "run.json").read_text())["keys"][self.TRAINED]
        with ArtifactCache(here / "cache").lock(key):
            group = torchrun(here, self.PATIENCE_S)
            assert group.stdout is not None
            said = next((line for line in group.stdout if "another run is making it" in line), None)
            check(said is not None, "the group did not wait")
            time.sleep(self.PATIENCE_S + 4)
            check(group.poll() is None, "the group gave up")
        ended_well(group)
        check(
            sha256(here / "run" / "student.safetensors") == sha256(folder / "run" / "student.safetensors"),
            "other weights",
        )
        out.note("waited", 1)
        return out


def torchrun(folder: Path, wait_s: int = 60) -> subprocess.Popen[str]:
    """Start two processes that run folder/recipe.yaml with their cache and run folder beside it; they wait for one another
    for at most `wait_s`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {
        **os.environ, "POTSTILL_CACHE": str(folder / "cache"), "POTSTILL_GROUP_TIMEOUT_S": str(wait_s), "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(port), str(Path(__file__).with_name("_faults_rank.py")), "run", "recipe.yaml", "--out", "run",
        "--threads", "2",
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended_well(process: subprocess.Popen[str]) -> str:
    """Wait for a group that must succeed; return what it printed."""
    text, _ = process.communicate(timeout=240)
    check(process.returncode == 0, text[-4000:])
    return text


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in listed]
