"""Single bits that flip on disk: every one is found, named, and mended by the very command that the message gives."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import shlex
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import yaml
from _faults import Fault, Trial, check, content, fresh
from _faults_kills import WORK, timeless
from _faults_work import SMALL, Recipe, edited, make

from forks import Server
from potstill.core import artifact

HERE = "_faults_bits"
COMMAND = re.compile(r"potstill ((?:labels repair|cache gc)[^\n]*)")


def potstill(*args: object, cache: Path) -> tuple[int, str, str]:
    """Run the command line in this process and return (exit code, stdout, stderr)."""
    from potstill.cli import main

    os.environ["POTSTILL_CACHE"] = str(cache)
    sys.argv = ["potstill", *map(str, args)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return code, out.getvalue(), err.getvalue()


def flip(path: Path, draw: random.Random) -> str:
    """Flip one random bit of a file and return which."""
    data = bytearray(path.read_bytes())
    at, bit = draw.randrange(len(data)), draw.randrange(8)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    return f"{path.name}: bit {bit} of byte {at}"


def follow(message: str, cache: Path | str) -> str:
    """Run the command that an error message gives and return it."""
    found = COMMAND.search(message)
    check(found is not None, "the message gives no command:", message)
    assert found is not None
    code, out, err = potstill(*shlex.split(found[1]), cache=Path(cache))
    check(code == 0, f"{found[0]}: exit code {code}: {out}{err}")
    return found[1]


def flip_a_store(cache: str, recipe: Recipe, key: str, seed: str, num: int) -> dict[str, int]:
    """Flip at least `num` bits of a cached store, checked and mended through the command line: one in each of some shards
    and records at once, or one in a manifest, which says what the others should be."""
    root, draw = Path(cache), random.Random(seed)
    folder = root / "artifacts" / key
    whole, ended = content(folder), Counter[str]()
    manifests = [name for name in sorted(whole) if "/" not in name]
    others = [name for name in sorted(whole) if "/" in name]
    while sum(ended.values()) < num:
        hurt = draw.sample(others, draw.randint(1, len(others))) if draw.random() < 0.7 else [draw.choice(manifests)]
        what = "; ".join(flip(folder / name, draw) for name in hurt)
        code, out, err = potstill("labels", "check", folder, cache=root)
        check(code == 4, f"{what}: labels check ended with {code}: {out}{err}")
        check(all(f"{name}: " in out for name in hurt), f"{what}: not each named in {out}")
        command = follow(err, root)
        if command.startswith("cache gc"):
            check(not folder.exists(), f"{what}: cache gc left it")
            make(cache, recipe, "label")
            now = content(folder)
            del now[artifact.MANIFEST]  # says how long it took
            check(all(now[n] == whole[n] for n in now) and len(now) == len(whole) - 1, f"{what}: other bytes")
            whole = content(folder)
        now = content(folder)
        check(now == whole, f"{what}: other bytes in", [n for n in whole if now.get(n) != whole[n]])
        ended.update(Path(name).suffix.strip(".") if "/" in name else name for name in hurt)
    code, out, err = potstill("labels", "check", folder, cache=root)
    check(code == 0, f"after mending: {out}{err}")
    return dict(ended)


class StoreFlips(Fault):
    """Bits of shards, of their records and of both manifests of a cached store."""

    name: ClassVar[str] = "bit flips in a label store"
    promise: ClassVar[str] = "`labels check` finds and names each; the command that it gives mends it, bit for bit"
    unit: ClassVar[str] = "flips"
    small: ClassVar[int] = 1000
    full: ClassVar[int] = 10000
    AT_ONCE: ClassVar[int] = 100
    RECIPE: ClassVar[Recipe] = edited(SMALL, labels__views=6)

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._key: str | None = None

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        cache = self.scratch / "cache"
        if self._key is None:
            made = self.server.must(WORK, cache=str(cache), recipe=self.RECIPE, upto="prepare|teach|label")
            self._key = made["made"]["label"][0]
        seed = str(draw.random())
        try:
            ended = self.server.must(
                f"{HERE}:flip_a_store", cache=str(cache), recipe=self.RECIPE, key=self._key, seed=seed, num=self.AT_ONCE
            )
        except AssertionError:
            self._key = None  # the next trial starts from a whole one
            shutil.rmtree(cache)
            raise
        for what, count in ended.items():
            out.ended[what] += count
            out.doses += count
        return out


class _Runs(Fault):
    """Keeps one whole run: its cache, and what its folder holds but for times."""

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self.recipe = edited(SMALL, controls=["hard-label"])
        self._whole: tuple[Path, dict[str, bytes]] | None = None

    def whole(self) -> tuple[Path, dict[str, bytes]]:
        """Return (folder with recipe.yaml, cache/ and run/, the run's files without times)."""
        if self._whole is None:
            folder = fresh(self.scratch / "whole")
            (folder / "recipe.yaml").write_text(yaml.safe_dump(self.recipe, sort_keys=False))
            code, said = self.run(folder)
            check(code == 0, said)
            self._whole = (folder, timeless(folder / "run"))
        return self._whole

    def copy(self) -> Path:
        """Return a copy of the whole run."""
        here = self.scratch / "here"
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(self.whole()[0], here)
        return here

    def run(self, folder: Path) -> tuple[int, str]:
        """Run the recipe in `folder` through the command line; return (exit code, what it said)."""
        code, out, err = self.server.must(f"{HERE}:run_in", folder=str(folder))
        return code, out + err

    def same_end(self, here: Path, what: str) -> None:
        """Run again and compare every byte with the whole run."""
        code, said = self.run(here)
        check(code == 0, f"{what}: {said}")
        folder, expected = self.whole()
        for path in (folder / "cache" / "artifacts").iterdir():
            ours = here / "cache" / "artifacts" / path.name
            check(artifact.content_digest(ours) == artifact.content_digest(path), f"{what}: other bytes in {path.name}")
        left = timeless(here / "run")
        check(left == expected, f"{what}: the run folder differs:", [n for n in expected if left.get(n) != expected[n]])


def run_in(folder: str) -> tuple[int, str, str]:
    """Run the recipe of a folder with the cache beside it."""
    os.chdir(folder)
    return potstill("run", "recipe.yaml", "--out", "run", "--threads", "1", cache=Path(folder) / "cache")


def follow_in(folder: str, message: str) -> str:
    """Follow a message's command with the cache of a folder."""
    return follow(message, Path(folder) / "cache")


class ArtifactFlips(_Runs):
    """Bits of any finished artifact of the cache, and of the run folder."""

    name: ClassVar[str] = "bit flips in the cache and the run folder"
    promise: ClassVar[str] = (
        "what is built on a damaged artifact stops, names it and what to do; then the end is the same bytes"
    )
    unit: ClassVar[str] = "flips"
    small: ClassVar[int] = 4
    full: ClassVar[int] = 60

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        here = self.copy()
        if draw.random() < 0.25:
            names = ("student.safetensors", "student.json", "student.onnx", "results.json", "run.json", "recipe.yaml")
            what = flip(here / "run" / draw.choice(names), draw)
            self.same_end(here, f"run folder, {what}")
            out.note("run folder", 1)
            return out
        artifacts = here / "cache" / "artifacts"
        hurt = draw.choice(sorted(artifacts.iterdir()))
        stage = str(artifact.manifest(hurt)["stage"])
        files = sorted(content(hurt))
        self._drop_what_is_built_on(artifacts, hurt.name)
        shutil.rmtree(here / "run")
        what = f"{stage}, {flip(hurt / draw.choice(files), draw)}"
        code, said = self.run(here)
        check(code == 4, f"{what}: ended with {code}: {said}")
        check(hurt.name in said, f"{what}: not named: {said}")
        command = self.server.must(f"{HERE}:follow_in", folder=str(here), message=said)
        if command.startswith("labels repair"):
            check(stage == "label" and artifact.damage(hurt) == [], f"{what}: not mended")
        else:
            check(command == "cache gc --damaged", command)
            check(not hurt.exists(), f"{what}: not removed")
        self.same_end(here, what)
        out.note(stage, 1)
        return out

    def _drop_what_is_built_on(self, artifacts: Path, key: str) -> None:
        for path in list(artifacts.iterdir()):
            if path.exists() and key in artifact.manifest(path)["inputs"].values():
                self._drop_what_is_built_on(artifacts, path.name)
                shutil.rmtree(path, ignore_errors=True)


def make_while(cache: str, recipe: Recipe, path: str, seed: str, step: int, die: int | None) -> dict[str, Any]:
    """Train the student; at `step`, a bit of a file flips; after step `die`, it is killed."""
    from potstill.train import loop

    draw, saved = random.Random(seed), [0]
    keep = loop.Trainer._save

    def save(self: Any) -> None:
        saved[0] += 1
        if saved[0] == step:
            flip_in_place(Path(path), draw)
        keep(self)
        if saved[0] == die:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.Trainer._save = save  # type: ignore[method-assign]
    return make(cache, recipe, "steps", 0.0)


def flip_in_place(path: Path, draw: random.Random) -> None:
    """Flip a bit without making a new file, so that maps of it see the change."""
    with open(path, "r+b") as handle:
        at = draw.randrange(path.stat().st_size)
        handle.seek(at)
        byte = handle.read(1)[0]
        handle.seek(at)
        handle.write(bytes([byte ^ 1 << draw.randrange(8)]))


class FlipsWhileTraining(Fault):
    """Bits of the data, the labels and the checkpoint that flip while a student trains or while it is stopped."""

    name: ClassVar[str] = "bit flips while training"
    promise: ClassVar[str] = "no student is published; once mended as the message says, its weights are the same"
    unit: ClassVar[str] = "flips"
    small: ClassVar[int] = 6
    full: ClassVar[int] = 40

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._made: dict[str, Any] | None = None

    def base(self) -> dict[str, Any]:
        """Return {node: [key, content digest]} of a whole training."""
        if self._made is None:
            cache = self.scratch / "base"
            self.server.must(WORK, cache=str(cache), recipe=SMALL, upto="prepare|teach|label")
            shutil.copytree(cache, self.scratch / "trained")
            self._made = self.server.must(WORK, cache=str(self.scratch / "trained"), recipe=SMALL)["made"]
        return self._made

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        made = self.base()
        cache = self.scratch / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(self.scratch / "base", cache)
        where = draw.choice(["data", "labels", "checkpoint"])
        name = next(n for n in made if n.startswith("steps"))
        if where == "checkpoint":
            how = self._checkpoint(cache, draw, made[name][0])
        else:
            how = self._while(cache, draw, made["prepare" if where == "data" else "label"][0], made[name][0])
        again = self.server.must(WORK, cache=str(cache), recipe=SMALL, upto="prepare|teach|label|steps")["made"]
        check(again[name] == made[name], f"{where}: other weights")
        out.note(f"{where}, {how}", 1)
        return out

    def _while(self, cache: Path, draw: random.Random, hurt: str, student: str) -> str:
        folder = cache / "artifacts" / hurt
        path, step = draw.choice(sorted(folder.rglob("*.safetensors"))), draw.randint(1, 30)
        die = draw.randint(step, 35) if draw.random() < 0.5 else None
        ended = self.server.one(
            f"{HERE}:make_while",
            cache=str(cache),
            recipe=SMALL,
            path=str(path),
            seed=str(draw.random()),
            step=step,
            die=die,
        )
        check(not (cache / "artifacts" / student).exists(), "a student was published")
        if (
            die is None or not ended.killed
        ):  # what it met, such as a label that is none, stops it before its end or its kill
            check(ended.code == 4, f"{path.name} hurt while training: ended with {ended.code}: {ended.value}")
            check(hurt in ended.value, f"the artifact is not named: {ended.value}")
            self.server.must(f"{HERE}:follow", message=ended.value, cache=str(cache))
            return "found at the end" if die is None else "found before it was killed"
        # Killed before it could find out, and mended by somebody who knows: the checkpoint is of damaged values.
        command = "cache gc --damaged" if path.parent == folder else f"labels repair {folder}"
        self.server.must(f"{HERE}:follow", message=f"potstill {command}", cache=str(cache))
        return "killed, mended by hand"

    def _checkpoint(self, cache: Path, draw: random.Random, student: str) -> str:
        path = cache / "work" / student / "checkpoint.safetensors"
        job: dict[str, Any] = {"cache": str(cache), "recipe": SMALL, "upto": "steps", "every": 0.0}
        while not path.exists():
            ended = self.server.one(WORK, **job, kill_at=draw.randint(40, 350))
            check(ended.killed, "the training ended before it was killed")
        what = flip(path, draw)
        ended = self.server.one(WORK, **job)
        check(ended.code == 4 and str(path) in ended.value, f"{what}: ended with {ended.code}: {ended.value}")
        check("Delete the file and run again" in ended.value, ended.value)
        path.unlink()
        return "found on resuming"


def repair_elsewhere(cache: str, key: str, accept: bool) -> list[Any]:
    """Repair a store as if on another processor; return (exit code, what it said)."""
    from potstill.core import fingerprint

    fingerprint.instruction_set = lambda: "another one"
    folder = Path(cache) / "artifacts" / key
    code, out, err = potstill(
        "labels", "repair", folder, *(["--accept-fingerprint"] if accept else []), cache=Path(cache)
    )
    return [code, out + err]
