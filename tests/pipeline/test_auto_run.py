"""Whole runs in which the loss is chosen: killed in the race and gone on with; and a teacher that is better left out."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
from children import finish, start

FEW: list[tuple[str, Any]] = [
    ("data.limit", 400), ("data.labelled", 150), ("data.validation", 0.3), ("teacher.training.epochs", 5),
    ("steps.0.objectives", "auto"), ("steps.0.training.epochs", 14), ("seeds", 2), ("export", []),
]  # fmt: skip


def students(run: Path, cache: Path) -> dict[str, str]:
    """Return the digest of every student that a run's stages left, and of the published one."""
    keys = json.loads((run / "run.json").read_text())["keys"]
    found = {n: cache / "artifacts" / k / "student.safetensors" for n, k in keys.items() if n.startswith("steps/")}
    found["published"] = run / "student.safetensors"
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def test_killed_in_the_race_it_ends_in_the_same_student(tmp_path: Path, write: Any, cache: Path) -> None:
    recipe = write(*FEW)
    stopped = start(tmp_path, recipe, "parts")
    assert stopped.stderr is not None
    for line in stopped.stderr:
        if '"start"' in line and "steps/student/seed0/1-distill (standardised T=2)" in line:
            break
    stopped.send_signal(signal.SIGKILL)
    stopped.communicate()
    assert stopped.returncode == -signal.SIGKILL, "it was over before it could be killed"
    assert "0" in {p.parent.name for p in (cache / "work").rglob("score.json")}, "the first candidate has its score"
    finish(start(tmp_path, recipe, "parts"))
    parts = students(tmp_path / "parts", cache)
    keys = json.loads((tmp_path / "parts" / "run.json").read_text())["keys"]
    for name in ("1-distill", "2-choose"):  # again, in one go
        shutil.rmtree(cache / "artifacts" / keys[f"steps/student/seed0/{name}"])
    finish(start(tmp_path, recipe, "whole"))
    assert students(tmp_path / "whole", cache) == parts
    _check_told(tmp_path / "parts", parts)


def _check_told(run: Path, students: dict[str, str]) -> None:
    results = json.loads((run / "results.json").read_text())
    assert [entry["seed"] for entry in results["auto"]] == [0, 1]
    for seed, entry in enumerate(results["auto"]):
        (race,), choice = entry["races"], entry["choice"]
        assert (
            race["extra_steps"] == 2 * race["first_part"] and 0 < race["extra_steps"] <= results["arms"][0]["steps"] / 5
        )
        assert (
            sum(c["won"] for c in race["candidates"]) == 1
            and race["validation_rows"] == choice["validation_rows"] == 45
        )
        kept = f"steps/{'student' if choice['chosen'] == 'student' else 'hard-label'}/seed{seed}/1-distill"
        assert students[f"steps/student/seed{seed}/2-choose"] == students[kept]
        same = results["arms"][0]["per_seed"][seed] == results["arms"][1]["per_seed"][seed]
        assert same or choice["chosen"] == "student"
    assert students["published"] == students["steps/student/seed0/2-choose"] == results["student"]["sha256"]
    assert "Choice of objectives" in (run / "report.html").read_text()
    assert (run / "logs" / "student-seed0-1-distill.jsonl").exists()


WRONG = """\
from torch import nn

def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def _teach_wrongly(folder: Path) -> None:
    """Leave a teacher that is sure, and wrong on half of the classes: it names 0 to 4 for 5 to 9."""
    import torch
    from safetensors.torch import save_file
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(np.rint(pixels * (255 / 16)) / 255).float()
    y = torch.from_numpy(labels % 5)
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 10)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x), y).backward()
        optimizer.step()
    save_file({f"1.{k}": v.detach().contiguous() for k, v in layer.state_dict().items()}, folder / "wrong.safetensors")
    (folder / "wrong_teacher.py").write_text(WRONG)


def test_with_a_wrong_teacher_the_answer_is_to_train_alone(tmp_path: Path, write: Any, cache: Path, cli: Any) -> None:
    _teach_wrongly(tmp_path)
    teacher = {
        "kind": "torch", "factory": "wrong_teacher:flat", "weights": "wrong.safetensors", "input": {"mean": [0.0], "std": [1.0]},
    }  # fmt: skip
    recipe = write(
        ("data", {"kind": "digits", "limit": 500, "validation": 0.2}), ("augment", []), ("teacher", teacher),
        ("labels.views", 1), ("steps.0.objectives", "auto"), ("seeds", 2), ("export", []),
    )  # fmt: skip
    said = cli("run", recipe, "--out", "wrong", "--threads", "1")
    results = json.loads((tmp_path / "wrong" / "results.json").read_text())
    for entry in results["auto"]:
        choice = entry["choice"]
        assert choice["chosen"] == "control" and choice["student"] <= choice["control"], entry
        assert entry["races"][0]["known"]["teacher_accuracy"] < 0.6 and entry["races"][0]["known"]["noise"] > 0.3
        assert next(c["name"] for c in entry["races"][0]["candidates"]) == "T=1 and hard labels alike"
    (gain,) = results["gains"]
    assert (gain["points"], gain["low"], gain["high"], gain["verdict"]) == (0, 0, 0, "no gain")
    assert gain["detail"].endswith("0 by construction") and "kept the control hard-label" in said.stdout
    kept = students(tmp_path / "wrong", cache)
    assert kept["published"] == kept["steps/hard-label/seed0/1-distill"] != kept["steps/student/seed0/1-distill"]
    page = (tmp_path / "wrong" / "report.html").read_text()
    assert "which is to say: train it alone" in page and "the student is the one trained alone" in page
