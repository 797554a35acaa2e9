"""Every fault finds something where potstill is broken on purpose: a check that cannot fail is no check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _faults import Fault, fresh, trials
from _faults_bits import ArtifactFlips, FlipsWhileTraining, StoreFlips
from _faults_codecs import Codecs
from _faults_disk import CannotMount
from _faults_inputs import NpzHurt
from _faults_kills import TrainingKilled
from _faults_labels import CutWhileRead, DiskFull, FilesTorn, LabellingKilled
from _faults_loaders import LoadersHurt
from _faults_runs import ChangedWhileRun, LiveTeacher, TwoRuns

from forks import Server


class OnnxFilesHurt(LoadersHurt):
    kinds = ("onnx",)


@pytest.fixture
def sabotaged(forks: Server) -> Iterator[Server]:
    yield forks
    forks.sabotage = None


@pytest.mark.parametrize(
    ("kind", "sabotage", "doses"),
    [
        (TrainingKilled, "forgetful_optimizer", 12),
        (LabellingKilled, "forgetful_labelling", 20),
        (TwoRuns, "no_locks", 6),
        (StoreFlips, "no_digests", 40),
        (StoreFlips, "careless_repair", 100),
        (ArtifactFlips, "no_second_look", 8),
        (FlipsWhileTraining, "no_second_look", 6),
        (FlipsWhileTraining, "trusting_resume", 12),
        (CutWhileRead, "maps_without_a_look", 6),
        (DiskFull, "raw_errors", 8),
        (ChangedWhileRun, "blind_to_changes", 1),
        (NpzHurt, "raw_npz", 40),
        (LiveTeacher, "live_of_one_view", 8),
        (OnnxFilesHurt, "nan_is_a_number", 7),
    ],
)
def test_it_is_found(scratch: Path, sabotaged: Server, kind: type[Fault], sabotage: str, doses: int) -> None:
    fault = kind(fresh(scratch / "bites"), sabotaged)
    sabotaged.sabotage = sabotage
    found = None
    try:
        for record in trials(fault, doses, seed=1):
            found = record.problem
            if found:
                break
    except CannotMount as err:
        pytest.skip(f"machine: no process may mount a disk of its own: {err}")
    assert found, f"{kind.name} did not notice {sabotage}"


def test_torn_files_and_codecs(scratch: Path, forks: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """These two work in the test's own process."""
    from potstill.labels import writer
    from potstill.labels.codecs.int8_affine import Int8AffineSpec

    with monkeypatch.context() as broken:
        broken.setattr(writer, "shard_problem", lambda folder, entry: None)
        assert any(r.problem for r in trials(FilesTorn(fresh(scratch / "bites"), forks), 40, seed=1))
    with monkeypatch.context() as broken:
        bound = Int8AffineSpec.error_bound
        broken.setattr(Int8AffineSpec, "error_bound", lambda self, values: bound(self, values) / 3)
        assert any(r.problem for r in trials(Codecs(fresh(scratch / "bites"), forks), 60, seed=1))
