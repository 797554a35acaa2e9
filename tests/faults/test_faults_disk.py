"""Disks: bits that flip, files that are torn, no space, no permission, files that change in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from _faults import Dose, Fault, content
from _faults_bits import ArtifactFlips, FlipsWhileTraining, StoreFlips
from _faults_kills import WORK
from _faults_labels import CutWhileRead, DiskFull, FilesTorn
from _faults_runs import ChangedWhileRun, RunDiskFull
from _faults_work import SMALL

from forks import Server


def test_bits_of_a_label_store(dose: Dose) -> None:
    kinds = {what for r in dose(StoreFlips) for what in r.ended}
    assert kinds == {"safetensors", "json", "manifest.json", "artifact.json"}


@pytest.mark.parametrize(
    "kind", [ArtifactFlips, FlipsWhileTraining, FilesTorn, CutWhileRead, DiskFull, RunDiskFull, ChangedWhileRun]
)
def test_damage(dose: Dose, kind: type[Fault]) -> None:
    dose(kind)


def test_repair_under_other_numerics_is_refused(tmp_path: Path, forks: Server) -> None:
    made = forks.must(WORK, cache=str(tmp_path), recipe=SMALL, upto="prepare|teach|label")["made"]
    key = made["label"][0]
    folder = tmp_path / "artifacts" / key
    whole = content(folder)
    shard = next(folder.rglob("*.safetensors"))
    data = shard.read_bytes()
    shard.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
    hurt = content(folder)
    code, said = forks.must("_faults_bits:repair_elsewhere", cache=str(tmp_path), key=key, accept=False)
    assert code == 4 and "another instruction_set" in said and str(folder) in said
    assert content(folder) == hurt, "a refused repair changes nothing"
    code, said = forks.must("_faults_bits:repair_elsewhere", cache=str(tmp_path), key=key, accept=True)
    assert code == 0 and shard.name in said
    assert shard.read_bytes() == whole[shard.relative_to(folder).as_posix()], "the same processor after all"
