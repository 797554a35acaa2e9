"""A whole run with a teacher assistant: trained once, labelled once, read by all that read the teacher; the shipped recipe, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "digits-assistant.yaml"


def small(folder: Path) -> Path:
    """Return the shipped recipe with few rows, short trainings, features of the assistant and a control that reads labels."""
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["data"] |= {"limit": 300}
    recipe["labels"]["views"] = 1
    recipe["teacher"] |= {"model": {"kind": "resnet", "depth": 8, "width": 8}}
    recipe["teacher"]["training"]["epochs"] = 6
    for step in recipe["steps"]:
        step["training"]["epochs"] = 8
    recipe["steps"][1]["objectives"].append({"kind": "rkd", "weight": 0.1})
    recipe |= {"seeds": 2, "controls": ["hard-label", "hard-pseudo-label"], "export": []}
    path = folder / "assistant.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def test_the_assistant_is_trained_once_and_teaches_all(tmp_path: Path, cache: Path, cli: Any) -> None:
    cli("run", small(tmp_path), "--out", "run", "--threads", "1")
    run = tmp_path / "run"
    keys = json.loads((run / "run.json").read_text())["keys"]
    manifests = {n: json.loads((cache / "artifacts" / k / "artifact.json").read_text()) for n, k in keys.items()}
    assert [n for n in keys if n.startswith("assist/")] == ["assist/1"]
    assert manifests["assist/1"]["inputs"] == {"data": keys["prepare"], "labels": keys["label"]}
    assert manifests["label"]["inputs"]["teacher"] == keys["teach"]
    assert manifests["label/1"]["inputs"]["teacher"] == keys["assist/1"]
    for seed in (0, 1):
        student = manifests[f"steps/student/seed{seed}/2-distill"]
        assert student["inputs"]["labels"] == keys["label/1"] and student["inputs"]["teacher"] == keys["assist/1"]
        assert manifests[f"steps/hard-pseudo-label/seed{seed}/2-distill"]["inputs"]["labels"] == keys["label/1"]
        assert set(manifests[f"steps/hard-label/seed{seed}/2-distill"]["inputs"]) == {"data"}
    stores = json.loads(cli("labels", "check", "run", "--json").stdout)
    assert [Path(store["folder"]).name for store in stores] == [keys["label"], keys["label/1"]], "the assistant's, too"
    results = json.loads((run / "results.json").read_text())
    (assistant,) = results["assistants"]
    assert results["models"]["assistant"] == assistant["model"] and assistant["model"]["params"] == 5142
    assert {a["steps"] for a in results["arms"]} == {assistant["steps"]}
    assert results["arms"][0]["taps"]["rkd"][0]["teacher_shape"][0] == 16, (
        "features of the assistant, not of the teacher"
    )
    page = (run / "report.html").read_text()
    assert "<small>resnet</small>" in page and "The student learnt from assistant (resnet," in page
