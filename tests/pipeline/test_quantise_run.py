"""A whole run on digits: distilled, trained a little further as it rounds, exported, reported; the numbers are the same throughout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import numpy_helper
from safetensors.numpy import load_file

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "digits-int8.yaml"

QUANTIZE = {
    "kind": "quantize", "objectives": [{"kind": "soft-label", "temperature": 2.0}], "sensitivity": {"max_drop": 30.0},
    "training": {"epochs": 3, "batch_size": 50, "learning_rate": 0.003},
}  # fmt: skip


def small(folder: Path) -> Path:
    """Return the shipped recipe with few rows and short trainings, its quantisation trained."""
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["data"] |= {"limit": 500}
    recipe["labels"]["views"] = 1
    recipe["teacher"]["training"]["epochs"] = 6
    recipe["steps"][0]["training"]["epochs"] = 12
    recipe["steps"][1] |= QUANTIZE
    recipe["verify"] = {"blocks": 5, "timing": {"threads": [1], "cold_starts": 1}}
    recipe["robustness"] = {"rows": 60, "corruptions": ["noise", "blur"], "severities": [1, 5]}
    path = folder / "int8.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def test_from_recipe_to_report(tmp_path: Path, cache: Path, cli: Any) -> None:
    recipe = small(tmp_path)
    cli("run", recipe, "--out", "run", "--threads", "1")
    run = tmp_path / "run"
    numbers = json.loads((run / "quant.json").read_text())
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(run / "student.onnx")).graph.initializer}
    scales = {n: float(a) for n, a in held.items() if ".places." in n and n.endswith("scale")}
    assert {n.removeprefix("1.places.").removesuffix(".scale").replace(":", "."): s for n, s in scales.items()} == {
        name: value["scale"] for name, value in numbers["values"].items()
    }
    results = json.loads((run / "results.json").read_text())
    found, (artifact,) = results["quantised"], results["artifacts"]
    assert found["scheme"] == "int8_static_per_channel" and found["trained"] and found["sensitivity"]["reached"]
    assert found["weight_bytes"]["kept"] * 4 == found["weight_bytes"]["float32"]
    assert artifact["parity"]["codes_equal"] > 0.98 and abs(artifact["accuracy_drop"]) < 0.01
    assert artifact["quantised"]["float_bytes"] > 0 and artifact["quantised"]["latency_ratio"]["value"] > 0
    assert abs(found["points"]) < 10, "trained as it rounds"
    keys = json.loads((run / "run.json").read_text())["keys"]
    manifests = {n: json.loads((cache / "artifacts" / k / "artifact.json").read_text()) for n, k in keys.items()}
    assert set(manifests["steps/student/seed0/2-quantize"]["inputs"]) == {"data", "student", "labels"}
    assert set(manifests["steps/hard-label/seed0/2-quantize"]["inputs"]) == {"data", "student"}
    steps = {a["name"]: a["steps"] for a in results["arms"]}
    assert (
        steps["student"]
        == steps["hard-label"]
        == sum(manifests[f"steps/student/seed0/{s}"]["facts"]["steps"] for s in ("1-distill", "2-quantize"))
    )
    timed = artifact["timing"]
    assert set(timed["models"]) == {"student", "teacher"} and timed["models"]["student"]["ratio"]["value"] > 0
    assert timed["cold_start"]["total_ms"] > 0 and timed["rows"] == 64 and timed["source"] == "measured"
    sides = results["robustness"]["sides"]
    assert [s["side"] for s in sides] == ["teacher", "control", "student", "onnx"]
    assert (
        sides[2]["clean"]["value"] >= sides[3]["clean"]["value"] - 0.1
        and sides[0]["corruption_error"]["mce"]["value"] == 1
    )
    assert all(s["corruptions"]["blur"]["5"]["value"] < s["clean"]["value"] for s in sides)
    answers = [cache / "artifacts" / keys[f"robust/{s}"] / "answers.safetensors" for s in ("student", "onnx")]
    float_, int8 = (load_file(path) for path in answers)
    assert np.array_equal(float_["rows"], int8["rows"]) and not np.array_equal(float_["noise/5"], int8["noise/5"])
    whole = load_file(cache / "artifacts" / keys["verify/onnx"] / "outputs.safetensors")["outputs"]
    np.testing.assert_allclose(int8["clean"], whole[int8["rows"]], atol=1e-5)
    page, card = (run / "report.html").read_text(), (run / "model_card.md").read_text()
    assert "in float32" in page and "int8_static_per_channel, in its runtime" in page and "## Robustness" in card
    assert "<h2>Quantisation</h2>" in page and "Cost of each layer, quantised alone" in page
    assert "## Quantisation" in card and "session.qdqisint8allowed" in card
    cli("bundle", run, "--rows", "40")
    cli("verify", run, "--from-device", _measured(run / "bundle-onnx"))
    (record,) = json.loads((run / "results.json").read_text())["measured_on"]
    assert record["parity"]["codes_equal"] > 0.99 and record["parity"]["top1_agreement"] == 1.0


def _measured(bundle: Path) -> Path:
    command = [sys.executable, str(bundle / "run.py"), "--seconds", "0.05", "--out", str(bundle / "result.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return bundle / "result.json"


def test_plan_names_the_step(cache: Path, cli: Any) -> None:
    said = cli("plan", RECIPE).stdout
    assert "2-quantize" in said
