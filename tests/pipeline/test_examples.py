"""Every example, as its README says to run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ONE_CORE = ("--threads", "1")
QUICK_VERIFY = "verify: {blocks: 5}\n"
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


def edit(file: Path, *edits: tuple[str, str]) -> None:
    """Make an example cheaper: each piece of text must be there."""
    text = file.read_text()
    for old, new in edits:
        assert old in text, f"{file.name} has no {old!r}"
        text = text.replace(old, new)
    file.write_text(text)


def test_own_folder(at) -> None:  # type: ignore[no-untyped-def]
    run = at("own_folder")
    run("make_photos.py", "photos", 40)
    said = run("-m", "potstill", "init", "image-classification", "--data", "photos", "--out", "recipe.yaml")
    found, _, wrote, following = said.splitlines()
    tutorial = (EXAMPLES.parent / "docs" / "tutorial.md").read_text()
    assert all(f"    {line}\n" in tutorial for line in (found, wrote, following)), said
    recipe = run.folder / "recipe.yaml"
    assert "size: 32" in recipe.read_text()
    edit(
        recipe,
        ("seeds: 3", "seeds: 1"),
        ("epochs: 100", "epochs: 12"),
        ("depth: 20", "depth: 8"),
        ("views: 4", "views: 1"),
    )
    recipe.write_text(recipe.read_text() + QUICK_VERIFY)
    assert "10 of 10 to do" in run("-m", "potstill", "plan", "recipe.yaml")
    run("-m", "potstill", "run", "recipe.yaml", *ONE_CORE)
    results = json.loads((run.folder / "runs" / "photos" / "results.json").read_text())
    assert results["classes"] == ["circle", "cross", "square", "triangle"]
    measured = json.loads(
        run("-m", "potstill", "verify", "runs/photos/student.onnx", "--data", "recipe.yaml", "--json")
    )
    assert measured["accuracy"]["value"] == results["artifacts"][0]["accuracy"]["value"]
    assert measured["latency_ms"]["source"] == "measured"


def test_own_torch_teacher_by_recipe_and_from_python(at) -> None:  # type: ignore[no-untyped-def]
    run = at("own_torch_teacher")
    edit(run.folder / "recipe.yaml", ("seeds: 2", "export: []"), ("epochs: 20", "epochs: 3"))
    edit(run.folder / "from_python.py", ("epochs=10", "epochs=2"), ("seeds=2", "seeds=1"))
    run("train_my_teacher.py", "my_teacher.pth")
    said = run("-m", "potstill", "import-weights", "my_teacher.pth")
    assert "state_dict" in said and (run.folder / "my_teacher.safetensors").exists()
    run("-m", "potstill", "run", "recipe.yaml", *ONE_CORE)
    results = json.loads((run.folder / "runs" / "own-torch-teacher" / "results.json").read_text())
    assert results["teacher"]["gate"]["accuracy"] > 0.9
    assert results["models"]["teacher"]["params"] > 10 * results["models"]["student"]["params"]
    said = run("from_python.py", "my_teacher.safetensors")
    assert "points" in said and (run.folder / "runs" / "mine" / "report.html").exists()


def test_own_onnx_teacher(at) -> None:  # type: ignore[no-untyped-def]
    run = at("own_onnx_teacher")
    edit(run.folder / "recipe.yaml", ("seeds: 2", QUICK_VERIFY), ("epochs: 20", "epochs: 3"))
    run("make_teacher.py", "teacher.onnx")
    run("-m", "potstill", "run", "recipe.yaml", *ONE_CORE)
    results = json.loads((run.folder / "runs" / "own-onnx-teacher" / "results.json").read_text())
    assert results["teacher"]["output"] == "probabilities"
    assert results["teacher"]["gate"]["accuracy"] > 0.9
    assert len(results["gains"]) == 2


def test_own_loop(at, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import yaml
    from tiny_recipe import changed

    run = at("own_loop")
    (run.folder / "recipe.yaml").write_text(yaml.safe_dump(changed(("controls", []), ("export", []))))
    run("-m", "potstill", "run", "recipe.yaml", "--out", "finished", *ONE_CORE)
    lines = run("own_loop.py", "finished").splitlines()
    first, last = (float(line.split()[-1]) for line in (lines[0], lines[-1]))
    assert last < 0.7 * first
