"""A whole run through the command line: what it leaves, that a second one does nothing, that a killed one resumes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from children import ONE_CORE, start


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(recipe, run folder, cache) of one undisturbed run."""
    from tiny_recipe import TINY

    folder = tmp_path_factory.mktemp("whole")
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(TINY, sort_keys=False))
    env = {**os.environ, "POTSTILL_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "potstill", "run", str(recipe), "--out", str(folder / "run"), *ONE_CORE]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return recipe, folder / "run", folder / "cache"


def test_a_run_leaves_what_it_promises(finished: tuple[Path, Path, Path]) -> None:
    _, run, _ = finished
    results = json.loads((run / "results.json").read_text())
    assert results["student"]["sha256"] == sha256(run / "student.safetensors")
    assert results["artifacts"][0]["sha256"] == sha256(run / "student.onnx")
    assert {a["name"] for a in results["arms"]} == {"student", "hard-label"}
    assert results["arms"][0]["steps"] == results["arms"][1]["steps"] > 0
    assert results["teacher"]["saw_hidden_labels"] is True
    assert any("hidden" in note["text"] for note in results["notes"] if note["level"] == "caution")
    assert results["gains"][0]["verdict"] == "unresolved", "one seed settles nothing"
    assert results["artifacts"][0]["accuracy_drop"] == pytest.approx(0.0, abs=0.02)
    assert results["artifacts"][0]["latency_ms"]["source"] == "measured"
    assert (run / "report.html").stat().st_size > 10_000
    assert (run / "recipe.yaml").exists() and (run / "logs").is_dir()
    assert results["teacher"]["accuracy"]["value"] > 0.8


def test_a_second_run_does_nothing(finished: tuple[Path, Path, Path]) -> None:
    recipe, run, cache = finished
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    code = (
        "import sys; sys.argv = ['potstill', 'run', *sys.argv[1:]]\n"
        "from potstill.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print('torch' in sys.modules)"
    )
    env = {**os.environ, "POTSTILL_CACHE": str(cache)}
    command = [sys.executable, "-c", code, str(recipe), "--out", str(run), *ONE_CORE]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert "Nothing to do" in done.stdout
    assert done.stdout.splitlines()[-1] == "False", "a rerun must not load torch"
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()} == before


def test_a_run_elsewhere_gives_the_same_student(finished: tuple[Path, Path, Path], tmp_path: Path, cache: Path) -> None:
    recipe, run, _ = finished
    process = start(tmp_path, recipe, tmp_path / "again")
    assert process.wait(timeout=300) == 0
    assert sha256(tmp_path / "again" / "student.safetensors") == sha256(run / "student.safetensors")


def test_killed_at_random_moments_it_resumes_to_the_same_bits(
    finished: tuple[Path, Path, Path], tmp_path: Path, cache: Path
) -> None:
    recipe, run, _ = finished
    draw = random.Random(7)
    kills = 0
    for _ in range(6):
        process = start(tmp_path, recipe, tmp_path / "run")
        try:
            process.wait(timeout=draw.uniform(2.5, 7.0))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    process = start(tmp_path, recipe, tmp_path / "run")
    assert process.wait(timeout=300) == 0
    assert kills >= 1
    assert sha256(tmp_path / "run" / "student.safetensors") == sha256(run / "student.safetensors")
    assert (tmp_path / "run" / "report.html").exists()


def test_ctrl_c_stops_with_130_and_resumes(finished: tuple[Path, Path, Path], tmp_path: Path, cache: Path) -> None:
    recipe, run, _ = finished
    process = start(tmp_path, recipe, tmp_path / "run")
    assert process.stderr is not None
    for line in process.stderr:  # until the teacher trains
        if '"start"' in line and "teach" in line:
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in rest
    assert "goes on from there" in rest
    process = start(tmp_path, recipe, tmp_path / "run")
    assert process.wait(timeout=300) == 0
    assert sha256(tmp_path / "run" / "student.safetensors") == sha256(run / "student.safetensors")


def test_a_live_teacher_gives_the_same_bits(
    finished: tuple[Path, Path, Path], tmp_path: Path, write: Any, cache: Path
) -> None:
    _, run, _ = finished
    recipe = write(("labels.mode", "live"), ("controls", []))
    process = start(tmp_path, recipe, tmp_path / "live")
    assert process.wait(timeout=300) == 0
    assert sha256(tmp_path / "live" / "student.safetensors") == sha256(run / "student.safetensors")
    results = json.loads((tmp_path / "live" / "results.json").read_text())
    assert results["store"] is None


def test_damage_in_the_cache_is_found_and_mended(
    finished: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flipped bit in a shard: named by `labels check`, refused by training, mended bit for bit by `labels repair`."""
    import shutil

    recipe, run, cache = finished
    copied = tmp_path / "cache"
    shutil.copytree(cache, copied)
    shutil.copytree(run, tmp_path / "run")
    env = {**os.environ, "POTSTILL_CACHE": str(copied)}

    def potstill(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "potstill", *map(str, args)]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    assert potstill("labels", "check", "run").returncode == 0
    key = json.loads((run / "run.json").read_text())["keys"]["label"]
    shard = next((copied / "artifacts" / key).rglob("v001*.safetensors"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-5] + bytes([whole[-5] ^ 16]) + whole[-4:])
    found = potstill("labels", "check", "run")
    assert found.returncode == 4
    assert shard.name in found.stdout and "potstill labels repair run" in found.stderr
    text = recipe.read_text().replace("epochs: 12", "epochs: 13")
    (tmp_path / "longer.yaml").write_text(text)
    refused = potstill("run", "longer.yaml", "--out", "longer", *ONE_CORE)
    assert refused.returncode == 4 and "Traceback" not in refused.stderr
    assert shard.name in refused.stderr
    mended = potstill("labels", "repair", "run")
    assert mended.returncode == 0, mended.stderr
    assert shard.name in mended.stdout
    assert shard.read_bytes() == whole
    assert potstill("labels", "check", "run").returncode == 0
