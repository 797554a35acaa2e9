"""The run folder over its life: an edited recipe, a damaged state, what a killed writer left."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from potstill.core import artifact, atomic

CHEAP = (
    ("data.limit", 300),
    ("data.labelled", 60),
    ("teacher.training.epochs", 4),
    ("steps.0.training.epochs", 2),
    ("labels.views", 1),
    ("controls", []),
    ("verify.teacher_latency", False),
)


def test_a_run_folder_follows_its_recipe(cli: Any, write: Any, tmp_path: Path, cache: Path) -> None:
    """What the recipe no longer asks for goes; a damaged run.json is written anew; another recipe is refused."""
    cli("run", write(*CHEAP), "--out", "run")
    run = tmp_path / "run"
    assert (run / "student.onnx").exists() and len(list((run / "logs").iterdir())) == 1
    cli("run", write(*CHEAP, ("export", []), ("seeds", 2)), "--out", "run")
    assert not (run / "student.onnx").exists()
    assert len(list((run / "logs").iterdir())) == 2
    keys = json.loads((run / "run.json").read_text())["keys"]
    (run / "run.json").write_text("{torn")
    said = cli("run", write(*CHEAP, ("export", []), ("seeds", 2)), "--out", "run")
    assert "Nothing to do" not in said.stdout
    assert json.loads((run / "run.json").read_text())["keys"] == keys
    assert "it is a run of 'tiny'" in cli("run", write(("name", "other")), "--out", "run", check=2).stderr


def test_what_a_killed_writer_left_is_no_part_of_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("whole")
    (tmp_path / "logits").mkdir()
    (tmp_path / "logits" / ".shard.safetensors.x1y2.tmp").write_text("torn")
    artifact.seal(tmp_path, {"name": "n"})
    assert list(artifact.manifest(tmp_path)["files"]) == ["a.txt"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_whoever_waits_for_another_run_is_told(tmp_path: Path) -> None:
    lock, told = tmp_path / "lock", threading.Event()

    def second() -> None:
        with atomic.locked(lock, told.set):
            pass

    with atomic.locked(lock, lambda: told.set()):
        assert not told.is_set(), "nobody held it"
        waiter = threading.Thread(target=second)
        waiter.start()
        assert told.wait(10)
    waiter.join(10)
    assert not waiter.is_alive()
