"""What a fault is and how doses of it are given. The tests give small doses, benchmarks/faults.py the full ones."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from _faults_disk import CannotMount

from forks import Server

ROOT = Path(__file__).resolve().parents[2]


class Broken(AssertionError):
    """A promise that did not hold."""


@dataclass
class Trial:
    """What one trial did: how many doses it gave, and how they ended (counts by what happened)."""

    doses: int = 0
    ended: Counter[str] = field(default_factory=Counter)

    def note(self, what: str, doses: int = 0) -> None:
        """Count one ending and the doses that it took."""
        self.ended[what] += 1
        self.doses += doses


@dataclass(frozen=True)
class Record:
    """One finished trial; `problem` is None where the promise held."""

    name: str
    index: int
    doses: int
    ended: dict[str, int]
    problem: str | None
    seconds: float


Dose = Callable[..., list[Record]]
"""The fixture that gives a small dose: dose(FaultClass) -> records."""


class Fault(ABC):
    """One kind of damage and the promise that it must not break.

    Args:
        scratch: an empty folder of its own.
        server: forks the processes that are hurt.
    """

    name: ClassVar[str]
    promise: ClassVar[str]
    unit: ClassVar[str]
    """What is counted: kills, flips, files, ..."""
    small: ClassVar[int]
    full: ClassVar[int]

    def __init__(self, scratch: Path, server: Server) -> None:
        self.scratch, self.server = scratch, server

    @abstractmethod
    def trial(self, draw: random.Random) -> Trial:
        """Give some doses, chosen by `draw` only. Raises Broken where the promise does not hold."""


def trials(fault: Fault, doses: int, seed: int, index: int = 0, given: int = 0) -> Iterator[Record]:
    """Yield trials from number `index` on until `doses` are given, `given` of them earlier."""
    empty = 0
    while given < doses and empty < 50:
        draw = random.Random(f"{seed}/{fault.name}/{index}")
        started, found, problem = time.monotonic(), Trial(), None
        try:
            found = fault.trial(draw)
        except Broken as err:
            problem = str(err)
        except CannotMount:
            raise
        except Exception:
            problem = traceback.format_exc()
        empty = 0 if found.doses else empty + 1
        given += found.doses or (1 if problem else 0)
        yield Record(fault.name, index, found.doses, dict(found.ended), problem, round(time.monotonic() - started, 3))
        index += 1


def check(holds: bool, *what: object) -> None:
    """Raise Broken with `what` unless `holds`."""
    if not holds:
        raise Broken(" ".join(str(w) for w in what))


def scratch_folder() -> Path:
    """Return a new folder, in memory where the machine has room there: a kill is no power cut, so syncing only costs."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    return Path(tempfile.mkdtemp(prefix="potstill-faults-", dir=memory if usable else None))


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its path within it."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fresh(folder: Path) -> Path:
    """Return `folder`, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
