"""Every example, as its README says to run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def at(tmp_path: Path, cache: Path):  # type: ignore[no-untyped-def]
    """at(example) -> function that runs a command in a copy of the example's folder."""

    def copied(name: str):  # type: ignore[no-untyped-def]
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder)

        def run(*args: object) -> str:
            command = [sys.executable, *map(str, args)]
            done = subprocess.run(
                command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=400, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        run.folder = folder  # type: ignore[attr-defined]
        return run

    return copied


def test_own_folder(at) -> None:  # type: ignore[no-untyped-def]
    run = at("own_folder")
    run("make_photos.py", "photos")
    assert "4 classes" in run(
        "-m", "potstill", "init", "image-classification", "--data", "photos", "--out", "recipe.yaml"
    )
    recipe = run.folder / "recipe.yaml"
    short = (
        recipe.read_text()
        .replace("seeds: 3", "seeds: 1")
        .replace("epochs: 60", "epochs: 6")
        .replace("depth: 20", "depth: 8")
    )
    recipe.write_text(short)
    assert "to do" in run("-m", "potstill", "plan", "recipe.yaml")
    run("-m", "potstill", "run", "recipe.yaml")
    results = json.loads((run.folder / "runs" / "photos" / "results.json").read_text())
    assert results["classes"] == ["circle", "cross", "square", "triangle"]
    found = json.loads(run("-m", "potstill", "verify", "runs/photos/student.onnx", "--data", "recipe.yaml", "--json"))
    assert found["accuracy"]["value"] == results["artifacts"][0]["accuracy"]["value"]
    assert found["latency_ms"]["source"] == "measured"


def test_own_torch_teacher_by_recipe_and_from_python(at) -> None:  # type: ignore[no-untyped-def]
    run = at("own_torch_teacher")
    run("train_my_teacher.py", "my_teacher.pth")
    said = run("-m", "potstill", "import-weights", "my_teacher.pth")
    assert "state_dict" in said and (run.folder / "my_teacher.safetensors").exists()
    run("-m", "potstill", "run", "recipe.yaml")
    results = json.loads((run.folder / "runs" / "own-torch-teacher" / "results.json").read_text())
    assert results["teacher"]["gate"]["accuracy"] > 0.9
    assert results["models"]["teacher"]["params"] > 10 * results["models"]["student"]["params"]
    said = run("from_python.py", "my_teacher.safetensors")
    assert "points" in said and (run.folder / "runs" / "mine" / "report.html").exists()


def test_own_onnx_teacher(at) -> None:  # type: ignore[no-untyped-def]
    run = at("own_onnx_teacher")
    run("make_teacher.py", "teacher.onnx")
    run("-m", "potstill", "run", "recipe.yaml")
    results = json.loads((run.folder / "runs" / "own-onnx-teacher" / "results.json").read_text())
    assert results["teacher"]["output"] == "probabilities"
    assert results["teacher"]["gate"]["accuracy"] > 0.9
    assert len(results["gains"]) == 2


def test_own_loop(at, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import yaml
    from tiny_recipe import changed

    run = at("own_loop")
    (run.folder / "recipe.yaml").write_text(yaml.safe_dump(changed(("controls", []))))
    run("-m", "potstill", "run", "recipe.yaml", "--out", "finished")
    lines = run("own_loop.py", "finished").splitlines()
    first, last = (float(line.split()[-1]) for line in (lines[0], lines[-1]))
    assert last < 0.7 * first
