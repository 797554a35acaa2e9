"""A label store while its writer is killed, its files are torn, its disk is full: no wrong row, no lost shard."""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from _faults import Fault, Trial, check, content, fresh
from _faults_disk import needs_mounts, private_mounts, read_only, small_disk

from forks import Server, kill_when
from potstill.core.errors import PotstillError, StoreError
from potstill.labels._layout import shard_problem, shards_of, sidecar, unseal
from potstill.labels.codecs import CodecSpec, registry
from potstill.labels.store import LabelStore
from potstill.labels.writer import check as damage_in
from potstill.labels.writer import discard_damaged, write_store

ROWS, CLASSES, VIEWS, MICRO, SHARD = 330, 12, 2, 32, 96
KINDS = ("float32", "float16", "int8-affine", "topk")
Z = np.random.default_rng(0).normal(scale=3, size=(VIEWS, ROWS, CLASSES)).astype(np.float32)
HERE = "_faults_labels"


def codec_of(kind: str) -> CodecSpec:
    """Return a codec that fits the store of these tests."""
    return registry[kind](k=4) if kind == "topk" else registry[kind]()


def write(folder: str, kind: str = "float16", delay: float = 0.0, kill_at: int | None = None) -> dict[str, int]:
    """Write the store, `delay` seconds a micro-batch; return how often the teacher was asked and files were touched."""
    calls = 0
    seen = kill_when(Path(folder), kill_at)

    def label(rows: Any, view: int) -> Any:
        nonlocal calls
        calls += 1
        time.sleep(delay)
        return Z[view][rows]

    write_store(
        Path(folder), label, num_rows=ROWS, shape=(CLASSES,), views=VIEWS, codec=codec_of(kind), output="logits",
        identity={"teacher": "t"}, fingerprint={"threads": 1}, micro_batch=MICRO, shard_rows=SHARD,
    )  # fmt: skip
    return {"calls": calls, "touched": seen[0]}


def finished_shards(folder: Path) -> dict[str, tuple[int, int]]:
    """Return (inode, time of change) of every shard that is whole and has its record."""
    out = {}
    for shard in shards_of(ROWS, VIEWS, SHARD, "logits"):
        try:
            entry = unseal(sidecar(folder, shard), "kl")
        except StoreError:
            continue
        if shard_problem(folder, entry) is None:
            stat = (folder / shard.file).stat()
            out[shard.file] = (stat.st_ino, stat.st_mtime_ns)
    return out


def no_wrong_row(folder: Path, kind: str) -> None:
    """The store opens and gives the teacher's rows through its codec; or it is refused."""
    try:
        store = LabelStore.open(folder)
    except StoreError:
        return
    codec, rows = codec_of(kind), np.arange(ROWS)
    for view in range(VIEWS):
        expected = codec.decode(codec.encode(Z[view]), CLASSES)
        check(np.array_equal(store.values(view, rows), expected), "a wrong row in", folder)


class _Stores(Fault):
    """Keeps the bytes of each codec's whole store."""

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._whole: dict[str, dict[str, bytes]] = {}

    def whole(self, kind: str) -> dict[str, bytes]:
        """Return the files of an undisturbed store."""
        if kind not in self._whole:
            write(str(fresh(self.scratch / "whole")), kind)
            self._whole[kind] = content(self.scratch / "whole")
        return self._whole[kind]

    def unlike(self, folder: Path, kind: str) -> str:
        """Return what differs from the whole store."""
        ours, whole = content(folder), self.whole(kind)
        return ", ".join(sorted(n for n in ours.keys() | whole.keys() if ours.get(n) != whole.get(n)))


class LabellingKilled(_Stores):
    """One process that writes a store."""

    name: ClassVar[str] = "label writing killed"
    promise: ClassVar[str] = (
        "no finished shard is written again or lost, no unfinished store opens, the end has the same bytes"
    )
    unit: ClassVar[str] = "kills"
    small: ClassVar[int] = 50
    full: ClassVar[int] = 1000
    TOUCHES: ClassVar[int] = 120
    DELAY: ClassVar[float] = 0.002

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        kind = draw.choice(KINDS)
        folder = fresh(self.scratch / "store")
        kept: dict[str, tuple[int, int]] = {}
        for _ in range(6):
            by_file = draw.random() < 0.5
            job = {"folder": str(folder), "kind": kind, "delay": self.DELAY}
            if by_file:
                job["kill_at"] = draw.randint(1, self.TOUCHES)
            after = None if by_file else draw.uniform(0.0, 22 * self.DELAY + 0.05)
            ended = self.server.run({"call": f"{HERE}:write", "args": job, "kill_after": after})[0]
            no_wrong_row(folder, kind)
            now = finished_shards(folder)
            check(kept.items() <= now.items(), "a finished shard was lost or written again:", kept, now)
            kept = now
            if not ended.killed:
                check(ended.code == 0, ended.value)
                break
            out.note(f"killed with {len(kept)} of 8 shards", 1)
        done = self.server.must(f"{HERE}:write", folder=str(folder), kind=kind)
        left = sum(-(-s.rows // MICRO) for s in shards_of(ROWS, VIEWS, SHARD, "logits") if s.file not in kept)
        check(done["calls"] == left, f"the teacher was asked {done['calls']} times for {left} micro-batches")
        check(not self.unlike(folder, kind), "other bytes in", self.unlike(folder, kind))
        out.note(f"same bytes: {kind}")
        return out


class TwoWriters(_Stores):
    """Two processes that fill one store at once; one may be killed."""

    name: ClassVar[str] = "two writers on one store"
    promise: ClassVar[str] = "two at once leave one whole store; where one is killed the other finishes it"
    unit: ClassVar[str] = "pairs"
    small: ClassVar[int] = 4
    full: ClassVar[int] = 100

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        kind = draw.choice(KINDS)
        folder = fresh(self.scratch / "store")
        job = {
            "call": f"{HERE}:write",
            "args": {"folder": str(folder), "kind": kind, "delay": draw.choice([0.0, 0.001])},
        }
        after = draw.uniform(0.0, 0.08) if draw.random() < 0.5 else None
        first, second = self.server.run({**job, "kill_after": after}, job)
        check(first.killed or first.code == 0, first.value)
        check(second.code == 0, second.value)
        # Killed between opening the lock file and locking it, after the other has removed it, one leaves it behind, empty.
        stray = {".lock"} if first.killed else set()
        unlike = [name for name in self.unlike(folder, kind) if name not in stray]
        check(not unlike, "other bytes in", unlike)
        out.note("one killed" if first.killed else "both ended", 1)
        return out


class FilesTorn(_Stores):
    """A store's files cut short, overwritten in part, or too long."""

    name: ClassVar[str] = "torn and truncated files"
    promise: ClassVar[str] = "every one is found and named, an error and never a signal, and mended to the same bytes"
    unit: ClassVar[str] = "files"
    small: ClassVar[int] = 150
    full: ClassVar[int] = 2000

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        kind = draw.choice(KINDS)
        whole = self.whole(kind)
        folder = fresh(self.scratch / "store")
        write(str(folder), kind)
        for name, data in whole.items():
            how, torn = tear(draw, data, whole)
            if torn == data:
                continue
            (folder / name).write_bytes(torn)
            found = [d.file for d in damage_in(folder)]
            check(name in found, f"{name} {how}: not found; found {found}")
            if not name.startswith("logits/") or name.endswith(".safetensors"):
                check(refused(folder), f"{name} {how}: it opens")
            check(name in discard_damaged(folder), f"{name} {how}: not repaired")
            write(str(folder), kind)
            check(not self.unlike(folder, kind), f"{name} {how}: other bytes in", self.unlike(folder, kind))
            out.note(how, 1)
        return out


def refused(folder: Path) -> bool:
    """Return whether the store is refused with the command that mends it."""
    try:
        LabelStore.open(folder)
    except StoreError as err:
        return f"potstill labels repair {folder}" in str(err)
    return False


def tear(draw: random.Random, data: bytes, others: dict[str, bytes]) -> tuple[str, bytes]:
    """Return (what was done, the file afterwards)."""
    at = draw.randrange(len(data))
    how = draw.choice(
        ["empty", "in the length", "in the header", "anywhere", "last byte", "zeros", "page", "longer", "other"]
    )
    if how == "empty":
        return how, b""
    if how == "in the length":
        return how, data[: draw.randrange(1, 9)]
    if how == "in the header":
        header = int.from_bytes(data[:8], "little")
        return how, data[: 8 + draw.randrange(max(1, min(header, len(data) - 8)))]
    if how == "anywhere":
        return how, data[:at]
    if how == "last byte":
        return how, data[:-1]
    if how == "zeros":
        return how, data[:at] + bytes(len(data) - at)
    if how == "page":
        return how, data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]
    if how == "longer":
        return how, data + draw.randbytes(draw.randrange(1, 5000))
    return how, others[draw.choice(sorted(others))]


def cut_while_read(folder: str, name: str, length: int, again: bool) -> str:
    """Read a store, cut one of its files short (and, `again`, make it as long as before), read on."""
    store = LabelStore.open(folder)
    view = int(Path(name).name[1:4])
    rows = np.arange(ROWS)
    store.values(view, rows)
    path = Path(folder) / name
    size = path.stat().st_size
    os.truncate(path, length)
    if again:
        os.truncate(path, size)
    store.values(view, rows)
    store.verify()
    return "read on"


class CutWhileRead(_Stores):
    """A shard that is cut short while it is mapped into memory, between two batches."""

    name: ClassVar[str] = "shards cut while read"
    promise: ClassVar[str] = (
        "the next batch, or the check before the student is published, is an error that names the shard"
    )
    unit: ClassVar[str] = "cuts"
    small: ClassVar[int] = 12
    full: ClassVar[int] = 500

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        kind = draw.choice(KINDS)
        folder = fresh(self.scratch / "store")
        write(str(folder), kind)
        name = draw.choice([n for n in self.whole(kind) if n.endswith(".safetensors")])
        length = draw.choice([0, draw.randrange(len(self.whole(kind)[name]))])
        again = draw.random() < 0.3
        ended = self.server.one(f"{HERE}:cut_while_read", folder=str(folder), name=name, length=length, again=again)
        check(ended.code == 4, f"{name} cut to {length}: ended with {ended.code}: {ended.value}")
        check(Path(name).name in ended.value and "potstill" in ended.value, ended.value)
        out.note("cut and filled with zeros" if again else "cut", 1)
        return out


def on_a_small_disk(folder: str, kind: str, sizes: list[int]) -> dict[str, Any]:
    """Write a store on a disk that is too small, then larger, then large enough; return what was said and what is left."""
    disk = Path(folder)
    private_mounts()
    small_disk(disk, sizes[0])
    said, kept = [], {}
    for size in [*sizes, 8 << 20]:
        small_disk(disk, size, again=True)
        try:
            write(str(disk / "store"), kind)
        except PotstillError as err:
            said.append(str(err))
        now = finished_shards(disk / "store")
        check(kept.items() <= now.items(), "a finished shard was lost")
        no_wrong_row(disk / "store", kind)
        kept = now
    return {"said": said, "left": digests(content(disk / "store"))}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def in_a_read_only_folder(folder: str, kind: str) -> dict[str, Any]:
    """Return what writing, reading and mending say where nothing can be written."""
    private_mounts()
    write(folder, kind)
    read_only(Path(folder))
    no_wrong_row(Path(folder), kind)
    said = {}
    for what, place in (("again", Path(folder)), ("new", Path(folder) / "new")):
        try:
            write(str(place), kind)
            said[what] = "written"
        except PotstillError as err:
            said[what] = str(err)
    return said


class DiskFull(_Stores):
    """A store on a disk that is full, or read-only."""

    name: ClassVar[str] = "label writing on a full or read-only disk"
    promise: ClassVar[str] = "a clear error, finished shards stay, and with space the end has the same bytes"
    unit: ClassVar[str] = "disks"
    small: ClassVar[int] = 8
    full: ClassVar[int] = 300

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        needs_mounts(self.server, self.scratch)
        kind = draw.choice(KINDS)
        folder = fresh(self.scratch / "disk")
        if draw.random() < 0.2:
            said = self.server.must(f"{HERE}:in_a_read_only_folder", folder=str(folder), kind=kind)
            for what, text in said.items():
                check("Read-only" in text and str(folder) in text, f"{what}: {text}")
            out.note("read-only", 1)
            return out
        need = sum(len(data) + 4096 for data in self.whole(kind).values())
        sizes = sorted(draw.randrange(4096, need) for _ in range(3))
        left = self.server.must(f"{HERE}:on_a_small_disk", folder=str(folder), kind=kind, sizes=sizes)
        for text in left["said"]:
            check("No space left" in text and "run the same command again" in text, text)
            out.note("full", 1)
        check(left["left"] == digests(self.whole(kind)), "other bytes")
        out.note(f"same bytes: {kind}", 1)
        return out
