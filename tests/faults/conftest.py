"""Small doses of every fault; benchmarks/faults.py gives the full ones by the same code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _faults import Dose, Fault, Record, scratch_folder, trials
from _faults_disk import CannotMount

from forks import Server


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder for what is hurt; gone afterwards."""
    folder = scratch_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def dose(scratch: Path, forks: Server) -> Iterator[Dose]:
    """dose(Fault) -> the records of its small dose, of which none has a problem."""
    made: list[Path] = []

    def give(kind: type[Fault], doses: int | None = None) -> list[Record]:
        folder = scratch / kind.__name__
        made.append(folder)
        folder.mkdir()
        try:
            records = list(trials(kind(folder, forks), doses or kind.small, seed=0))
        except CannotMount as err:
            pytest.skip(f"machine: no process may mount a disk of its own: {err}")
        problems = [f"trial {r.index}: {r.problem}" for r in records if r.problem]
        assert not problems, "\n".join(problems)
        assert sum(r.doses for r in records) >= (doses or kind.small), [r.ended for r in records]
        return records

    yield give
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)
