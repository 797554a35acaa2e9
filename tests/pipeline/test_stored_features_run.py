"""A whole run on stored features: killed and gone on with, the same student; a flipped bit is named, mended, and harmless."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from children import finish, interrupt_training, start

OBJECTIVES = [{"kind": "soft-label", "temperature": 2.0}, {"kind": "feature-l2"}, {"kind": "rkd", "weight": 0.1}]
EDITS: list[tuple[str, Any]] = [
    ("steps.0.objectives", OBJECTIVES), ("features", {"mode": "stored"}), ("data.limit", 300),
    ("teacher.training.epochs", 3), ("steps.0.training.epochs", 30), ("verify.blocks", 5),
    ("export", []), ("controls", []),
]  # fmt: skip
STUDENT = "steps/student/seed0/1-distill"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_flipped_and_mended_it_ends_in_the_same_bits(tmp_path: Path, write: Any, cli: Any, cache: Path) -> None:
    recipe = write(*EDITS)
    stopped = start(tmp_path, recipe, "parts")
    interrupt_training(stopped)
    finish(start(tmp_path, recipe, "parts"))
    keys = json.loads((tmp_path / "parts" / "run.json").read_text())["keys"]
    student = sha256(tmp_path / "parts" / "student.safetensors")
    results = json.loads((tmp_path / "parts" / "results.json").read_text())
    assert [(f["place"], f["shape"]) for f in results["features"]] == [
        ("layer1", [8, 8, 8]), ("layer2", [16, 4, 4]), ("layer3", [32, 2, 2])
    ]  # fmt: skip
    plan = json.loads(cli("plan", recipe, "--json").stdout)
    assert {line["state"] for line in plan["stages"]} == {"cached"} and plan["features"] == []

    shutil.rmtree(cache / "artifacts" / keys[STUDENT])  # it is trained again
    shard = cache / "artifacts" / keys["features/layer2"] / "features" / "v001-s00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:1000] + bytes([whole[1000] ^ 4]) + whole[1001:])
    refused = cli("run", recipe, "--out", "parts", check=4).stderr
    assert shard.name in refused and "potstill labels repair" in refused
    found = cli("labels", "check", "parts", check=4)
    assert f"features/{shard.name}: has bytes that are not those written" in found.stdout
    assert "rewritten: features/v001-s00000.safetensors" in cli("labels", "repair", "parts").stdout
    assert shard.read_bytes() == whole
    finish(start(tmp_path, recipe, "parts"))
    assert sha256(tmp_path / "parts" / "student.safetensors") == student
