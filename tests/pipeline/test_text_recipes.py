"""Recipes of text as they are shipped, with fewer intents, rows and epochs: a real encoder teaches every student family."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INTENTS = 12
ROWS = {"train": 24, "val": 6, "test": 8, "oos_train": 12, "oos_val": 6, "oos_test": 40}

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def few_intents(shared_data: Path, tmp_path: Path) -> Path:
    """CLINC150 with twelve intents and a few rows of each."""
    whole = json.loads((shared_data / "clinc150" / "data_full.json").read_text())
    intents = sorted({intent for _, intent in whole["train"]})[:INTENTS]
    kept: dict[str, list[Any]] = {}
    for split, most in ROWS.items():
        seen: Counter[str] = Counter()
        for text, intent in whole[split]:
            seen[intent] += 1
            if seen[intent] <= most and (intent in intents or split.startswith("oos")):
                kept.setdefault(split, []).append([text, intent])
    path = tmp_path / "few.json"
    path.write_text(json.dumps(kept))
    return path


def smoke(name: str, data: Path, **student: Any) -> dict[str, Any]:
    """Return a shipped recipe in little: it takes half a minute."""
    recipe: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())
    recipe["data"] |= {"path": str(data)} | ({"labelled": 120} if "labelled" in recipe["data"] else {})
    recipe["labels"]["views"] = 1
    recipe["teacher"] |= {"max_tokens": 32, "hidden": 64, "head": {"epochs": 15, "batch_size": 16}}
    recipe["steps"][0]["training"] |= {"epochs": 12, "batch_size": 16, "learning_rate": 0.005}
    recipe |= {"seeds": 1, "verify": {"blocks": 5, "teacher_latency": False}}
    recipe["student"] = {"dim": 32, "width": 32, **recipe["student"]} | student
    recipe["student"] |= {"input": {"vocabulary_size": 600, "max_tokens": 24}}
    return recipe


def ran(cli: Cli, folder: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    cli("run", "recipe.yaml", "--out", "out", "--threads", 1)
    found: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    return found


def test_clinc150_in_little(cli: Cli, cache: Path, few_intents: Path, tmp_path: Path) -> None:
    results = ran(cli, tmp_path, smoke("clinc150", few_intents))
    assert results["task"] == "text-classification" and len(results["classes"]) == INTENTS
    assert results["teacher"]["accuracy"]["value"] > 0.8
    assert results["arms"][0]["accuracy"]["value"] > 0.4  # chance is 0.08
    models = results["models"]
    assert models["teacher"]["params"] > 22e6 and models["teacher"]["params"] > 30 * models["student"]["params"]
    artifact = results["artifacts"][0]
    assert artifact["parity"]["top1_agreement"] == 1 and abs(artifact["accuracy_drop"]) < 1e-9
    assert results["teacher"]["rejection"]["auroc"] > 0.8 and results["student"]["rejection"]["num_outside"] == 40
    page = (tmp_path / "out" / "report.html").read_text()
    worst = results["disagreements"][0]["text"]
    assert worst and worst.split()[0] in page and "out of scope" in page
    measured = json.loads(cli("verify", "out/student.onnx", "--data", "recipe.yaml", "--json").stdout)
    assert measured["accuracy"]["value"] == artifact["accuracy"]["value"]
    # The file's own logits, which are not the module's bit for bit.
    assert measured["rejection"] == pytest.approx(results["student"]["rejection"], abs=1e-3)
    (tmp_path / "alone").mkdir()
    (tmp_path / "out" / "student.onnx").rename(tmp_path / "alone" / "student.onnx")
    assert (
        "must have its student.json beside it"
        in cli("verify", "alone/student.onnx", "--data", "recipe.yaml", check=2).stderr
    )


@pytest.mark.parametrize(
    "student",
    [
        {"kind": "text-gru", "dim": 24, "width": 24},
        {"kind": "text-transformer", "dim": 32, "width": None},
    ],
    ids=lambda s: s["kind"],
)
def test_few_labels_teach_the_other_families(
    cli: Cli, cache: Path, few_intents: Path, tmp_path: Path, student: dict[str, Any]
) -> None:
    recipe = smoke("clinc150-few-labels", few_intents, **student)
    recipe["student"] = {k: v for k, v in recipe["student"].items() if v is not None}
    recipe["controls"] = []
    results = ran(cli, tmp_path, recipe)
    assert results["data"]["labelled"] == 120 + 72  # validation rows have theirs
    assert results["arms"][0]["accuracy"]["value"] > 0.25
