"""The label store: random reads against a raw numpy memmap, bytes, writing, memory, and a run under a cap below its size.

Usage: python benchmarks/labels.py [reads|writes|memory|cap ...] [--rounds N]

Parts that are not run keep their figures. `cap` needs a memory cgroup that this user may write (version 1 or 2).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _measure as measure
import numpy as np

ROWS = ((10, 1_000_000), (100, 150_000), (100, 400_000), (1000, 65_536))
"""(K, rows): one shard, one, three, four."""
BATCH, READS = 128, 2000
READ_LIMIT, BYTES_LIMIT, ROW_LIMIT = 0.8, 16.0, 16.0
CAP = {"rows": 1_200_000, "classes": 100, "mb": 400, "steps": 500}
MEMORY_ROWS = (200_000, 2_000_000)


def write_labels(folder: Path, rows: int, classes: int, codec: str) -> Any:
    """Write a store of random logits that cost nothing to make, if it is not there, and open it."""
    from pydantic import TypeAdapter

    from potstill.labels.codecs import AnyCodec
    from potstill.labels.store import LabelStore
    from potstill.labels.writer import write_store

    table = np.random.default_rng(0).normal(0, 3, (1024, classes)).astype(np.float32)

    def label(rows_M: Any, view: int) -> Any:
        return table[rows_M % 1024]

    write_store(
        folder, label, num_rows=rows, shape=(classes,), views=1, codec=TypeAdapter(AnyCodec).validate_python({"kind": codec}),
        output="logits", identity={}, fingerprint={}, accept_fingerprint=True,
    )  # fmt: skip
    return LabelStore.open(folder, verify=False)


def reads(rounds: int) -> dict[str, Any]:
    """Return batches a second of 128 random rows: the store's, and a raw memmap's of the same bytes."""
    found: dict[str, Any] = {}
    for classes, rows in ROWS:
        store = write_labels(measure.KEPT / f"store-{classes}-{rows}", rows, classes, "float16")
        small = write_labels(measure.KEPT / f"store-{classes}-{rows}-int8", rows, classes, "int8-affine")
        path = measure.KEPT / f"raw-{classes}-{rows}.npy"
        if not path.exists():
            raw = np.lib.format.open_memmap(path, "w+", np.float16, (rows, classes))
            for start in range(0, rows, 8192):
                raw[start : start + 8192] = store.read(0, np.arange(start, min(start + 8192, rows)))["values"]
            raw.flush()
            del raw
        raw = np.load(path, mmap_mode="r")
        batches = np.random.default_rng(1).integers(0, rows, (READS, BATCH))
        for batch in batches:  # every page in memory, for all of them
            store.read(0, batch), small.read(0, batch), raw[batch]
        seconds = measure.alternate(_readers(store, small, raw, batches), rounds)
        found[f"{classes} {rows}"] = {
            "rows": rows,
            "shards": store.facts()["shards"],
            "per_s": {k: measure.median([READS / s.cpu for s in v]) for k, v in seconds.items()},
            "read_share": measure.ratio(seconds["raw"], seconds["read"], "cpu"),
            "values_share": measure.ratio(seconds["raw float32"], seconds["values"], "cpu"),
            "int8_bytes_per_row": small.facts()["bytes_per_row"],
            "float16_bytes_per_row": store.facts()["bytes_per_row"],
        }
    return found


def _readers(store: Any, small: Any, raw: Any, batches: Any) -> dict[str, Callable[[], measure.Seconds]]:
    readers: dict[str, Callable[[Any], Any]] = {
        "raw": lambda b: raw[b],
        "read": lambda b: store.read(0, b),
        "raw float32": lambda b: raw[b].astype(np.float32),
        "values": lambda b: store.values(0, b),
        "int8 values": lambda b: small.values(0, b),
    }

    def every(read: Callable[[Any], Any]) -> None:
        for batch in batches:
            read(batch)

    return {name: partial(measure.timed, partial(every, read)) for name, read in readers.items()}


def reads_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    rows, sizes = [], []
    for key, of in f.items():
        classes = key.split()[0]
        share, per_s = of["values_share"], of["per_s"]
        rows.append([
            classes, f"{of['rows']:,} in {of['shards']}", *(f"{per_s[k]['value']:,.0f}" for k in ("raw", "read")),
            measure.shown(of["read_share"]), *(f"{per_s[k]['value']:,.0f}" for k in ("raw float32", "values")),
            measure.shown(share), measure.verdict(share["value"] >= READ_LIMIT, f"at least {READ_LIMIT}", f"{share['value']:.2f}"),
            f"{per_s['int8 values']['value']:,.0f}",
        ])  # fmt: skip
        sizes.append([classes, f"{of['float16_bytes_per_row']:.2f}", f"{of['int8_bytes_per_row']:.2f}"])
    ten = f["10 1000000"]["int8_bytes_per_row"]
    return (
        f"## Random reads\n\nBatches of {BATCH} random rows a CPU second, warm page cache, float16. *raw* is one numpy memmap "
        "of the same values, indexed; *float32* also brings them to float32, as training reads them: that is what the target "
        f"is judged on. {f['10 1000000']['read_share']['n']} rounds of {READS} batches, medians [95 % bootstrap interval].\n\n"
        + measure.table(
            ["K", "rows in shards", "raw", "store", "share", "raw float32", "store float32", "share", "target", "int8-affine float32"],
            rows,
        )
        + "\n\n## Bytes a view of a row\n\nHeaders included, manifest and records left out. int8-affine at K = 10: "
        + measure.verdict(ten <= BYTES_LIMIT, f"at most {BYTES_LIMIT:g}", f"{ten:.1f}") + ".\n\n"
        + measure.table(["K", "float16", "int8-affine"], sizes)
    )  # fmt: skip


def writes(rounds: int) -> dict[str, Any]:
    """Return rows a second that the writer keeps up with when the teacher costs nothing."""
    found: dict[str, Any] = {}
    for classes in (10, 100, 1000):
        rows = 64 * (4_000_000 // classes // 64 // (4 if classes == 10 else 8))
        for codec in ("float32", "float16", "int8-affine"):

            def block(rows: int = rows, classes: int = classes, codec: str = codec) -> measure.Seconds:
                with tempfile.TemporaryDirectory() as folder:
                    return measure.timed(lambda: write_labels(Path(folder), rows, classes, codec))

            seconds = [block() for _ in range(rounds + 1)][1:]
            found[f"{classes} {codec}"] = {"rows": rows, "rows_per_s": measure.median([rows / s.cpu for s in seconds])}
    return found


def writes_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [[*key.split(), f"{of['rows']:,}", measure.shown(of["rows_per_s"], 0)] for key, of in f.items()]
    return (
        "## Writing\n\nRows a CPU second with a teacher that costs nothing: encoding, SHA-256, fsync, and the KL error of the "
        "codec at T = 1, 2, 4 and standardised, which is most of it.\n\n"
        + measure.table(["K", "codec", "rows", "rows a CPU s"], rows)
    )


def train(rows: int, classes: int, steps: int, folder: Path) -> dict[str, int]:
    """Train a tiny student for some steps on a synthetic data set of so many rows; return this process's memory."""
    import torch

    from potstill.core.samples import DataStats
    from potstill.core.tensorfile import open_arrays
    from potstill.data.dataset import Split
    from potstill.labels.store import LabelStore
    from potstill.models import ModelIO
    from potstill.models.ds_cnn import DsCnnSpec
    from potstill.models.tools.build import new_model
    from potstill.objectives.soft_label import SoftLabelSpec
    from potstill.schedules.training import TrainSpec
    from potstill.stages._parts import set_threads
    from potstill.tasks.image_classification import ImageClassificationSpec
    from potstill.train.loop import Fit, Trainer

    set_threads(1)
    split = Split(**open_arrays(folder / "data" / f"{rows}.safetensors", scattered=True))
    torch.manual_seed(0)
    new = new_model(
        DsCnnSpec(width=8, depth=1, downsample=1), ModelIO((classes,), (1, 8, 8)), DataStats((0.5,), (0.25,))
    )
    empty = Split(**{k: v[:0] for k, v in vars(split).items() if isinstance(v, np.ndarray)})
    with tempfile.TemporaryDirectory() as work:
        trainer = Trainer(
            Fit(
                module=new.module, preprocess=new.preprocess, task=ImageClassificationSpec(), train=split, validation=empty,
                classes=[str(i) for i in range(classes)], rows=None,
                objectives=[SoftLabelSpec()], training=TrainSpec(batch_size=BATCH), augment=(), num_steps=steps,
                evaluate_every=steps, seed=0, augment_seed=0, work=Path(work), name="memory", fingerprint={}, num_views=1,
                store=LabelStore.open(folder / f"store-{rows}-{classes}"),
            )
        )  # fmt: skip
        trainer.run()
    return measure.memory()


def prepare(rows: int, classes: int) -> Path:
    """Write the data and the store that `train` reads; return their folder."""
    from potstill.core import atomic
    from potstill.core.tensorfile import TensorWriter

    path = measure.KEPT / "data" / f"{rows}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        layout = {
            "samples": ("u1", (rows, 8, 8, 1)), "labels": ("<i8", (rows,)), "labelled": ("u1", (rows,)), "ids": ("<i8", (rows,)),
            "digests": ("u1", (rows, 16)),
        }  # fmt: skip
        draw = np.random.default_rng(0)
        with atomic.replacing(path) as tmp, TensorWriter(tmp, layout) as writer:
            for start in range(0, rows, 65536):
                n = min(65536, rows - start)
                writer.append("samples", draw.integers(0, 256, (n, 8, 8, 1), np.uint8))
                writer.append("labels", np.zeros(n, np.int64))
                writer.append("labelled", np.ones(n, np.uint8))
                writer.append("ids", np.arange(start, start + n, dtype=np.int64))
                writer.append("digests", np.zeros((n, 16), np.uint8))
    write_labels(measure.KEPT / f"store-{rows}-{classes}", rows, classes, "int8-affine" if classes == 10 else "float32")
    return measure.KEPT


def memory(rounds: int) -> dict[str, Any]:
    """Return the memory of a training at some rows and at ten times as many."""
    found: dict[str, Any] = {}
    for rows in MEMORY_ROWS:
        folder = prepare(rows, 10)
        runs = [measure.child(Path(__file__), "child", str(rows), "10", "200", str(folder)) for _ in range(rounds)]
        found[str(rows)] = {k: measure.median([r[k] for r in runs]) for k in ("RssAnon", "VmHWM")}
    few, many = (found[str(r)]["RssAnon"] for r in MEMORY_ROWS)
    rows = MEMORY_ROWS[1] - MEMORY_ROWS[0]
    ends = {"value": many["value"] - few["value"], "low": many["low"] - few["high"], "high": many["high"] - few["low"]}
    found["bytes_per_row_more"] = {k: v / rows for k, v in ends.items()}
    return found


def memory_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [[f"{r:,}", *(measure.shown({k: v / 1e6 if k != "n" else v for k, v in f[str(r)][m].items()}, 1)
                         for m in ("RssAnon", "VmHWM"))] for r in MEMORY_ROWS]  # fmt: skip
    more = f["bytes_per_row_more"]
    return (
        "## Memory against rows\n\nA fresh process that trains 200 steps on 8 by 8 pictures with an int8-affine store, K = 10. "
        f"RssAnon, at the end, grows by {measure.shown(more, 1)} bytes a row: "
        + measure.verdict(more["low"] <= ROW_LIMIT, f"at most {ROW_LIMIT:g}, within the interval", f"{more['value']:.1f}")
        + ". That is the order of a pass, 8 bytes a row, and what is left of drawing it. VmHWM counts mapped pages of the files "
        "that were touched, which the kernel takes back when it needs them.\n\n"
        + measure.table(["rows", "RssAnon, MB", "VmHWM, MB"], rows)
    )  # fmt: skip


def cap(_rounds: int) -> dict[str, Any]:
    """Train under a memory cap that is smaller than the store."""
    folder = prepare(CAP["rows"], CAP["classes"])
    size = sum(p.stat().st_size for p in (folder / f"store-{CAP['rows']}-{CAP['classes']}").rglob("*") if p.is_file())
    _forget(folder / f"store-{CAP['rows']}-{CAP['classes']}")
    group, limit, procs = _cgroup()
    found: dict[str, Any] = {"store_bytes": size, "cap_bytes": CAP["mb"] << 20, "cgroup": limit}
    if group is None:
        return {**found, "outcome": "not run: no memory cgroup that this user may write"}
    try:
        (group / limit).write_text(str(CAP["mb"] << 20))
        argv = [
            sys.executable,
            str(Path(__file__)),
            "child",
            str(CAP["rows"]),
            str(CAP["classes"]),
            str(CAP["steps"]),
            str(folder),
        ]
        shell = ["sh", "-c", f'echo $$ > {group / procs} && exec "$@"', "sh", *argv]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(shell, capture_output=True, text=True, check=False, env=env)
        peak = next((group / n for n in ("memory.max_usage_in_bytes", "memory.peak") if (group / n).exists()), None)
        found["peak_bytes"] = int(peak.read_text()) if peak else None
    finally:
        group.rmdir()
    found["outcome"] = "finished" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr[-300:]}"
    if done.returncode == 0:
        found |= json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _forget(folder: Path) -> None:
    """Have the kernel drop a folder's pages: what is in memory already is not counted against a new group."""
    os.sync()
    for path in (p for p in folder.rglob("*") if p.is_file()):
        with open(path, "rb") as handle:
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _cgroup() -> tuple[Path | None, str, str]:
    """Return (a new memory cgroup or None, name of its limit, name of its list of processes)."""
    root = Path("/sys/fs/cgroup")
    for base, limit in ((root / "memory", "memory.limit_in_bytes"), (root, "memory.max")):
        group = base / f"potstill-{uuid.uuid4().hex[:8]}"
        if not (base / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            return group, limit, "cgroup.procs"
        group.rmdir()
    return None, "none", ""


def cap_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    text = (
        f"## Under a cap\n\n{CAP['steps']} steps of batch {BATCH} over {CAP['rows']:,} rows, K = {CAP['classes']}, float32 store of "
        f"{f['store_bytes'] / 1e6:,.0f} MB, in a cgroup ({f['cgroup']}) of {f['cap_bytes'] / 1e6:,.0f} MB, page cache "
        f"included, SHA-256 of every shard at opening included: {f['outcome']}"
    )
    if f["outcome"] == "finished":
        peak = "" if f["peak_bytes"] is None else f"; the group's peak {f['peak_bytes'] / 1e6:,.0f} MB"
        text += f". RssAnon {f['RssAnon'] / 1e6:,.0f} MB at the end{peak}. " + measure.verdict(
            True, "runs below the store's size"
        )
    return text + "."


def main() -> None:
    """Run what was asked, keep the rest, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="reads, writes, memory, cap; default all")
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    if given.parts[:1] == ["child"]:
        rows, classes, steps, folder = given.parts[1:]
        sys.stdout.write(json.dumps(train(int(rows), int(classes), int(steps), Path(folder))) + "\n")
        return
    run = {"reads": (reads, 15), "writes": (writes, 3), "memory": (memory, 3), "cap": (cap, 1)}
    record = measure.kept("labels")
    for part in given.parts or list(run):
        work, rounds = run[part]
        record[part] = {"figures": work(given.rounds or rounds), "machine": measure.machine()}
        measure.write("labels", "The label store", SAY, record)


SAY = {"reads": reads_part, "writes": writes_part, "memory": memory_part, "cap": cap_part}

if __name__ == "__main__":
    main()
