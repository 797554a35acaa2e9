"""Whole runs: through the command line and killed, two at once, on a full disk, and with a live teacher."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import yaml
from _faults import ROOT, Fault, Trial, check, fresh, sha256
from _faults_bits import potstill
from _faults_disk import needs_mounts, private_mounts, read_only, small_disk
from _faults_kills import FINISH, WORK, nothing_half_done, timeless
from _faults_labels import KINDS, digests
from _faults_work import SMALL, Recipe, edited

from forks import Server
from potstill.core import artifact

sys.path.append(str(ROOT / "tests" / "unit" / "teachers"))  # its small teacher, as torch and as ONNX

HERE = "_faults_runs"
RUN = edited(SMALL, controls=["hard-label"], export=[])


class CommandKilled(Fault):
    """`potstill run` itself, started anew each time."""

    name: ClassVar[str] = "command killed"
    promise: ClassVar[str] = "`potstill run` SIGKILLed at random moments and given again ends in the same student"
    unit: ClassVar[str] = "kills"
    small: ClassVar[int] = 1
    full: ClassVar[int] = 12

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._whole: tuple[dict[str, bytes], float] | None = None

    def start(self, folder: Path, recipe: Recipe) -> subprocess.Popen[str]:
        """Start the command on two cores, so that arms run in processes of their own."""
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        env = {**os.environ, "POTSTILL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "potstill", "run", "recipe.yaml", "--out", "run", "--threads", "2"]
        return subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        recipe = edited(RUN, controls=["hard-label"], steps__0__training__epochs=60)
        if self._whole is None:
            folder, started = fresh(self.scratch / "whole"), time.monotonic()
            text, _ = (process := self.start(folder, recipe)).communicate(timeout=300)
            check(process.returncode == 0, text)
            self._whole = (timeless(folder / "run"), time.monotonic() - started)
        expected, seconds = self._whole
        here = fresh(self.scratch / "here")
        for _ in range(2):
            process = self.start(here, recipe)
            try:
                process.wait(timeout=draw.uniform(0.2, 1.0) * seconds)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                out.note("killed", 1)
        text, _ = (process := self.start(here, recipe)).communicate(timeout=300)
        check(process.returncode == 0, text)
        nothing_half_done(here / "cache")
        left = timeless(here / "run")
        check(left == expected, "the run folder differs in", [n for n in expected if left.get(n) != expected[n]])
        out.note("same student")
        return out


class TwoRuns(Fault):
    """Two runs that share a cache; one may be killed."""

    name: ClassVar[str] = "two runs on one cache"
    promise: ClassVar[str] = (
        "both end in the same student, each artifact is made once; where one is killed the other goes on"
    )
    unit: ClassVar[str] = "pairs"
    small: ClassVar[int] = 2
    full: ClassVar[int] = 20

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._whole: tuple[dict[str, bytes], float] | None = None

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        if self._whole is None:
            folder, started = fresh(self.scratch / "whole"), time.monotonic()
            self.server.must(FINISH, cache=str(folder / "cache"), recipe=RUN, out=str(folder / "run"))
            self._whole = (timeless(folder / "run"), time.monotonic() - started)
        expected, seconds = self._whole
        here = fresh(self.scratch / "here")
        jobs = [
            {
                "call": FINISH,
                "args": {"cache": str(here / "cache"), "recipe": RUN, "out": str(here / f"run{i}"), "every": 0.05},
            }
            for i in range(2)
        ]
        after = draw.uniform(0.1, 1.2) * seconds if draw.random() < 0.5 else None
        first, second = self.server.run({**jobs[0], "kill_after": after}, jobs[1])
        check(first.killed or first.code == 0, first.value)
        check(second.code == 0, second.value)
        check(timeless(here / "run1") == expected, "another student")
        if not first.killed:
            check(timeless(here / "run0") == expected, "another student")
        nothing_half_done(here / "cache")
        check(not any((here / "cache" / "work").iterdir()), "half-done work is left")
        out.note("one killed" if first.killed else "both ended", 1)
        return out


def run_on_a_small_disk(folder: str, sizes: list[int]) -> dict[str, Any]:
    """Run a recipe whose cache and run folder are on a disk that is too small, then larger, then large enough."""
    disk = Path(folder)
    text, said = (disk / "recipe.yaml").read_text(), []
    private_mounts()
    small_disk(disk, 64 << 20)
    os.chdir(disk)
    Path("recipe.yaml").write_text(text)
    for size in [*sizes, 64 << 20]:
        small_disk(disk, size, again=True)
        said.append(potstill("run", "recipe.yaml", "--out", "run", "--threads", "2", cache=disk / "cache"))
        if (disk / "cache" / "artifacts").is_dir():
            nothing_half_done(disk / "cache")
    return {"said": said, "left": digests(timeless(disk / "run"))}


def run_read_only(folder: str) -> list[Any]:
    """Run a recipe whose cache, then whose run folder, is read-only; return what was said."""
    base = Path(folder)
    private_mounts()
    os.chdir(base)
    said = []
    for name in ("cache", "run"):
        (base / name).mkdir(exist_ok=True)
        read_only(base / name)
        said.append(potstill("run", "recipe.yaml", "--out", "run", "--threads", "1", cache=base / "cache"))
        read_only(base / name, on=False)
    return said


class RunDiskFull(Fault):
    """A run whose disk is full at a random moment, or read-only."""

    name: ClassVar[str] = "run on a full or read-only disk"
    promise: ClassVar[str] = "one message with the remedy, no traceback, nothing half-done; with space the same student"
    unit: ClassVar[str] = "disks"
    small: ClassVar[int] = 3
    full: ClassVar[int] = 24

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._whole: dict[str, str] | None = None

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        needs_mounts(self.server, self.scratch)
        folder = fresh(self.scratch / "disk")
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RUN, sort_keys=False))
        if self._whole is None:
            found = self.server.must(f"{HERE}:run_on_a_small_disk", folder=str(folder), sizes=[])
            self._whole = found["left"]
        if draw.random() < 0.2:
            for code, stdout, stderr in self.server.must(f"{HERE}:run_read_only", folder=str(folder)):
                check(code == 2 and "Read-only" in stderr and "Traceback" not in stderr, f"{code}: {stdout}{stderr}")
                out.note("read-only", 1)
            return out
        sizes = sorted(draw.randrange(16 << 10, 700 << 10) for _ in range(3))
        found = self.server.must(f"{HERE}:run_on_a_small_disk", folder=str(folder), sizes=sizes)
        for code, stdout, stderr in found["said"][:-1]:
            check("Traceback" not in stdout + stderr, stderr)
            if code != 0:
                check(code == 2 and "No space left" in stderr and "ree space" in stderr, f"{code}: {stderr}")
                out.note("full", 1)
        check(found["said"][-1][0] == 0, found["said"][-1])
        check(found["left"] == self._whole, "another student")
        out.note("same student")
        return out


def teacher_files(folder: Path) -> dict[str, Recipe]:
    """Write one teacher as safetensors and as ONNX; return both as a recipe's teacher section."""
    from _teacher_parts import as_onnx, as_torch, teacher_weights
    from safetensors.torch import save_file

    weights = teacher_weights()
    state = {k: v.contiguous() for k, v in as_torch(weights).state_dict().items()}
    save_file(state, folder / "teacher.safetensors")
    as_onnx(weights, folder / "teacher.onnx")
    plain = {"mean": [0.0], "std": [1.0]}
    return {
        "torch": {"kind": "torch", "factory": "_faults_teacher:make", "weights": str(folder / "teacher.safetensors"),
                  "input": plain},
        "onnx": {"kind": "onnx", "path": str(folder / "teacher.onnx")},
    }  # fmt: skip


class LiveTeacher(Fault):
    """A teacher that runs while the student trains, against one whose outputs were kept."""

    name: ClassVar[str] = "cached against live"
    promise: ClassVar[str] = (
        "a cached and a live teacher, torch or ONNX, give the student the same weights, bit for bit"
    )
    unit: ClassVar[str] = "pairs"
    small: ClassVar[int] = 4
    full: ClassVar[int] = 24

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        folder = fresh(self.scratch / "here")
        teachers = teacher_files(folder)
        kind = draw.choice(sorted(teachers))
        codec = draw.choice(KINDS)
        labels = {"views": draw.randint(1, 3), "codec": {"kind": codec, **({"k": 3} if codec == "topk" else {})}}
        temperature = draw.choice([1.0, 2.0, 4.0])
        recipe = edited(
            SMALL, teacher=teachers[kind], labels=labels, data__limit=draw.randint(100, 400), seed=draw.randint(0, 9),
            augment=draw.choice([[], [{"kind": "shift", "pixels": 1}], [{"kind": "mixup", "alpha": 0.3}]]),
            steps__0__training={"epochs": 4, "batch_size": draw.randint(20, 90), "learning_rate": 0.02},
            steps__0__objectives=[{"kind": "soft-label", "temperature": temperature, "standardize": draw.random() < 0.3},
                                  {"kind": "hard-label", "weight": 0.2}],
        )  # fmt: skip
        weights = []
        for mode in ("stored", "live"):
            cache = folder / mode
            recipe["labels"]["mode"] = mode
            made = self.server.must(WORK, cache=str(cache), recipe=recipe, upto="prepare|teach|label|steps")["made"]
            check(("label" in made) == (mode == "stored"), made)
            key = next(k for n, (k, _) in made.items() if n.startswith("steps"))
            weights.append(sha256(cache / "artifacts" / key / "student.safetensors"))
            rows = artifact.manifest(cache / "artifacts" / made["prepare"][0])["facts"]["rows"]["train"]
        check(weights[0] == weights[1], f"{kind}, {codec}: other weights; {recipe}")
        last = rows % recipe["steps"][0]["training"]["batch_size"]
        out.note(f"{kind}, {'partial' if last and rows % 64 else 'whole'} last batches", 1)
        return out


class ChangedWhileRun(Fault):
    """A teacher's file that is replaced while a run is under way."""

    name: ClassVar[str] = "files changed during a run"
    promise: ClassVar[str] = "a teacher or source replaced while a stage uses it: an error, and nothing of it is kept"
    unit: ClassVar[str] = "changes"
    small: ClassVar[int] = 2
    full: ClassVar[int] = 20

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        folder = fresh(self.scratch / "here")
        kind, section = draw.choice(sorted(teacher_files(folder).items()))
        recipe, cache = edited(SMALL, teacher=section), folder / "cache"
        file = folder / ("teacher.onnx" if kind == "onnx" else "teacher.safetensors")
        kept = file.read_bytes()
        whole = self.server.must(WORK, cache=str(folder / "whole"), recipe=recipe, upto="prepare|teach|label|steps")[
            "made"
        ]
        moment = draw.choice(["before the labels", "in the labels"])
        ended = self.server.one(
            f"{HERE}:make_while_changed", cache=str(cache), recipe=recipe, file=str(file), moment=moment,
            at=draw.randrange(len(kept) - 8000, len(kept) - 4000),
        )  # fmt: skip
        check(
            ended.code == 4 and "must not change while a run" in ended.value, f"{moment}: {ended.code}: {ended.value}"
        )
        check(not (cache / "artifacts" / whole["label"][0]).exists(), "labels of another teacher were published")
        file.write_bytes(kept)
        again = self.server.must(WORK, cache=str(cache), recipe=recipe, upto="prepare|teach|label|steps")["made"]
        check(again == whole, "other labels or another student")
        out.note(f"{kind}, {moment}", 1)
        return out


def make_while_changed(cache: str, recipe: Recipe, file: str, moment: str, at: int) -> Any:
    """Label and train; a byte of the teacher's file changes before labelling, or after its first micro-batch."""
    from _faults_work import make

    from potstill.pipeline.execute import Executor
    from potstill.stages import label

    def change() -> None:
        data = bytearray(Path(file).read_bytes())
        data[at] ^= 1
        Path(file).write_bytes(data)

    if moment == "before the labels":
        run = Executor._make

        def wrapped(self: Any, node: Any) -> Any:
            if node.name == "label":
                change()
            return run(self, node)

        Executor._make = wrapped  # type: ignore[method-assign]
    else:
        batches = label.label_batches

        def watched(*args: Any) -> Any:
            inner, calls = batches(*args), [0]

            def give(rows: Any, view: int) -> Any:
                calls[0] += 1
                if calls[0] == 2:
                    change()
                return inner(rows, view)

            return give

        label.label_batches = watched
    return make(cache, recipe, "prepare|teach|label|steps")
