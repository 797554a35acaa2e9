"""A run's artifact to a device and back: bundled, run by the bundle's own runner, taken in as measured; what does not belong is refused."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from potstill.core.errors import ParityError, PotstillError, StoreError
from potstill.core.hashing import digest_bytes, digest_json
from potstill.pipeline.bundle import take_in, write_bundle

EDITS = (
    ("data.limit", 200), ("teacher.training.epochs", 2), ("steps.0.training.epochs", 2), ("controls", []), ("labels.views", 1),
    ("augment", []), ("verify.teacher_latency", False),
)  # fmt: skip


def run_there(bundle: Path, out: Path) -> dict[str, Any]:
    """Return what the runner of a bundle writes, without potstill on its path."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, str(bundle / "run.py"), "--seconds", "0.05", "--out", str(out), "--name", "a board"]
    done = subprocess.run(command, env=env, cwd=bundle.parent, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "as expected on 30 of 30 rows" in done.stdout
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def signed(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with the digests that belong to what it says now: what a hand that knows how would write."""
    data = base64.b64decode(result["outputs"]["base64"])
    outputs = np.frombuffer(data, "<f4").reshape(result["outputs"]["shape"])
    result["outputs"]["sha256"] = digest_bytes(data)
    result["rows"] = [digest_bytes(row.tobytes())[:16] for row in outputs]
    result["top1"] = outputs.argmax(axis=1).tolist()
    return {**result, "digest": digest_json({k: v for k, v in result.items() if k != "digest"})}


def with_outputs(change: Callable[[Any], None]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what changes the outputs of a result, and all that follows from them but the accuracy."""

    def changed(result: dict[str, Any]) -> dict[str, Any]:
        outputs = (
            np.frombuffer(base64.b64decode(result["outputs"]["base64"]), "<f4")
            .reshape(result["outputs"]["shape"])
            .copy()
        )
        change(outputs)
        result["outputs"]["base64"] = base64.b64encode(outputs.tobytes()).decode()
        return signed(result)

    return changed


def nan(outputs: Any) -> None:
    outputs[3, 2] = np.nan


def other(outputs: Any) -> None:
    outputs[7] += 0.01


def faster(result: dict[str, Any]) -> dict[str, Any]:
    result["latency_ms"][0]["median"] *= 0.5
    return result


def impossible(result: dict[str, Any]) -> dict[str, Any]:
    result["latency_ms"][0]["median"] = result["latency_ms"][0]["p95"] * 2
    return signed(result)


def better(result: dict[str, Any]) -> dict[str, Any]:
    return signed({**result, "accuracy": 1.0})


def more(result: dict[str, Any]) -> dict[str, Any]:
    return signed({**result, "power_w": 3})


def foreign(result: dict[str, Any]) -> dict[str, Any]:
    return signed({**result, "bundle": "0123456789abcdef"})


def outside(result: dict[str, Any]) -> dict[str, Any]:
    return signed({**result, "bundle": "../results"})


def another_file(result: dict[str, Any]) -> dict[str, Any]:
    return signed({**result, "files": {**result["files"], "student.onnx": "0" * 64}})


REFUSED: list[tuple[Any, type[PotstillError], str]] = [
    (faster, StoreError, "its digest is another"), (impossible, StoreError, "min <= median <= p95"), (better, StoreError, "accuracy is not that"),
    (more, StoreError, "power_w: extra inputs are not permitted"), (foreign, StoreError, "which this run never made"),
    (outside, StoreError, "which this run never made"), (another_file, StoreError, "it was run with others"),
    (with_outputs(nan), StoreError, "outputs have NaN or Inf"), (with_outputs(other), ParityError, "in row 7"),
]  # fmt: skip


def test_there_and_back(cli: Any, write: Any, tmp_path: Path, cache: Path) -> None:
    recipe = write(*EDITS)
    cli("run", recipe, "--out", "run", "--threads", "1")
    run = tmp_path / "run"
    said = cli("bundle", run, "--rows", "30", "--out", "there").stdout
    assert "there: onnx, 30 rows" in said
    files = {p.name for p in (tmp_path / "there").iterdir()}
    assert files == {
        "student.onnx",
        "student.onnx.json",
        "inputs.bin",
        "expected.bin",
        "labels.bin",
        "manifest.json",
        "run.py",
        "README.md",
    }
    found = run_there(tmp_path / "there", tmp_path / "result.json")
    for number, (change, kind, words) in enumerate(REFUSED):
        file = tmp_path / f"refused-{number}.json"
        file.write_text(json.dumps(change(json.loads(json.dumps(found)))))
        with pytest.raises(kind, match=rf"refused-{number}\.json.*{words}"):
            take_in(run, file)
    assert not (run / "measured").exists() and "measured_on" not in cli("report", run).stdout
    assert "Measured on devices" not in (run / "report.html").read_text()

    said = cli("verify", run, "--from-device", tmp_path / "result.json").stdout
    assert "measured on a board: student.onnx" in said and "top-1 as here on 100 % of 30 rows" in said
    (record,) = json.loads((run / "results.json").read_text())["measured_on"]
    assert (
        record["latency_ms"][0]["median"] == found["latency_ms"][0]["median"]
        and record["latency_ms"][0]["source"] == "measured"
    )
    assert record["accuracy"]["value"] == pytest.approx(found["accuracy"]) == pytest.approx(record["accuracy_here"])
    assert record["peak_memory_bytes"]["value"] == found["peak_memory_bytes"]["value"] > 0
    for page in ("report.html", "model_card.md"):
        assert "Measured on devices" in (run / page).read_text() and "a board" in (run / page).read_text()
    assert "Nothing to do" in cli("run", recipe, "--out", "run", "--threads", "1").stdout
    cli("verify", run, "--from-device", tmp_path / "refused-8.json", check=4)
    _not_bundled(run, tmp_path)


def _not_bundled(run: Path, folder: Path) -> None:
    with pytest.raises(PotstillError, match=r"must have an export that a runner runs .*asked for litert, it has onnx"):
        write_bundle(run, "litert", 10, None)
    (folder / "full").mkdir()
    (folder / "full" / "x").write_text("mine")
    with pytest.raises(PotstillError, match="must be new, empty or an earlier bundle"):
        write_bundle(run, None, 10, folder / "full")
    with pytest.raises(PotstillError, match=r"must be the folder of a finished run"):
        write_bundle(folder, None, 10, None)
    results = json.loads((run / "results.json").read_text())
    results["artifacts"][0]["sha256"] = "1" * 64
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(StoreError, match=r"must be of the artifact that .* has now"):
        take_in(run, folder / "result.json")


def bare(folder: Path, *names: str) -> Path:
    """Return the Python of a new environment with these packages, what they require, and nothing else."""
    venv.create(folder, symlinks=True)
    (there,) = folder.glob("lib/python*/site-packages")
    waiting, done = list(names), set[str]()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in done:
            continue
        done.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):
            found = metadata.distribution(name)
            for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
                if not (there / top).exists():
                    (there / top).symlink_to(Path(str(found.locate_file(top))))
            needs = [Requirement(text) for text in found.requires or ()]
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return folder / "bin" / "python"


@pytest.mark.slow
def test_executorch_runs_where_there_is_nothing_but_its_packages(
    cli: Any, write: Any, tmp_path: Path, cache: Path
) -> None:
    recipe = write(*EDITS, ("export", [{"kind": "executorch"}]))
    cli("run", recipe, "--out", "run", "--threads", "1")
    run = tmp_path / "run"
    cli("bundle", run, "--rows", "30", "--out", "there")
    readme = (tmp_path / "there" / "README.md").read_text()
    assert "pip install numpy executorch torch &&" in readme
    command = [str(tmp_path / "there" / "run.py"), "--seconds", "0.2", "--out", str(tmp_path / "result.json")]
    alone = {"PATH": os.defpath, "HOME": str(tmp_path)}
    python = bare(tmp_path / "without", "numpy", "executorch")
    done = subprocess.run([str(python), *command], env=alone, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and "needs torch, which is not installed here: pip install numpy executorch torch" in done.stderr  # fmt: skip
    python = bare(tmp_path / "with", "numpy", "executorch", "torch")
    missing = subprocess.run([str(python), "-c", "import potstill"], env=alone, capture_output=True, check=False)
    assert b"No module named 'potstill'" in missing.stderr
    done = subprocess.run([str(python), *command], env=alone, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "as expected on 30 of 30 rows" in done.stdout, done.stderr
    said = cli("verify", run, "--from-device", tmp_path / "result.json").stdout
    assert "student.pte, executorch" in said and "top-1 as here on 100 % of 30 rows" in said
    (record,) = json.loads((run / "results.json").read_text())["measured_on"]
    assert record["format"] == "executorch" and record["latency_ms"][0]["threads"] == 1
