"""A whole run with pruning: the teacher cut as a student, trained, cut again, trained; and pruned models of every family exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import potstill as ps
from potstill.exporters.onnx import OnnxSpec
from potstill.models import registry
from potstill.testing import check_prunable, example

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "digits-prune.yaml"


def small(folder: Path, **changes: Any) -> Path:
    """Return the shipped recipe with few rows and short trainings, cut twice."""
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["data"] |= {"limit": 300}
    recipe["labels"]["views"] = 1
    for section in ("teacher", "student"):
        (recipe[section].get("model") or recipe[section])["width"] = 8
    recipe["teacher"]["training"]["epochs"] = 4
    inherit, prune, distill = recipe["steps"]
    prune |= {"budget": {"params": 0.6}, "round_to": 2}
    distill["training"]["epochs"] = 3
    distill["objectives"].append({"kind": "feature-l2", "weight": 0.1})
    again = {"kind": "prune", "budget": {"params": 0.3}, "round_to": 2, "scope": "per-layer"}
    recipe["steps"] = [inherit, prune, distill, again, distill]
    recipe |= {"seeds": 1, "verify": {"blocks": 5}, **changes}
    path = folder / "prune.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def test_cut_and_trained_twice_to_the_report(tmp_path: Path, cache: Path, cli: Any) -> None:
    recipe = small(tmp_path)
    plan = json.loads(cli("plan", recipe, "--json").stdout)
    assert [cut["step"] for cut in plan["cuts"]] == [1, 3] and "steps/student/4-prune" in {
        s["stage"] for s in plan["stages"]
    }
    shares = [cut["plan"]["after"]["params"] / cut["plan"]["first"]["params"] for cut in plan["cuts"]]
    assert shares[0] <= 0.6 and shares[1] <= 0.3
    assert "steps[3] prune: about" in " ".join(cli("plan", recipe).stdout.split())
    cli("run", recipe, "--out", "run", "--threads", "1")
    run = tmp_path / "run"
    results = json.loads((run / "results.json").read_text())
    first, second = results["pruning"]
    assert (first["step"], second["step"]) == (2, 4) and first["start"] == "teacher"
    assert second["plan"]["first"] == first["plan"]["first"] and second["plan"]["before"] == first["plan"]["after"]
    student, teacher = (results["models"][n] for n in ("student", "teacher"))
    assert student["params"] == second["plan"]["after"]["params"] <= 0.3 * teacher["params"]
    assert student["macs"] < teacher["macs"] and student["file_bytes"] < teacher["file_bytes"]
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert arms["student"]["steps"] == arms["hard-label"]["steps"] > 0
    assert arms["student"]["taps"]["feature-l2"][0]["student_shape"][0] < 8
    keys = json.loads((run / "run.json").read_text())["keys"]
    manifests = {n: json.loads((cache / "artifacts" / k / "artifact.json").read_text()) for n, k in keys.items()}
    assert (
        manifests["steps/hard-label/seed0/2-prune"]["facts"]["plan"]
        == manifests["steps/student/seed0/2-prune"]["facts"]["plan"]
    )
    assert manifests["steps/student/seed0/4-prune"]["inputs"]["student"] == keys["steps/student/seed0/3-distill"]
    (artifact,) = results["artifacts"]
    assert artifact["parity"]["max_abs_diff"] < 1e-4
    page = (run / "report.html").read_text()
    assert "<h2>Pruning</h2>" in page and "Step 4 cut the student by importance taylor" not in page
    assert "Step 2 cut the teacher, as the student&#39;s beginning, by importance taylor" in page
    assert '<th scope="row">layer2.0.conv1</th>' in page and "its channels are the model&#39;s output" in page
    finished = ps.Result(run, results).student()
    assert sum(p.numel() for p in finished.parameters()) == student["params"]
    said = cli("verify", "run/student.onnx", "--data", recipe, "--json")
    assert json.loads(said.stdout)["accuracy"]["value"] == artifact["accuracy"]["value"]


def test_cut_to_a_devices_budget_the_exported_file_keeps_to_it(tmp_path: Path, cache: Path, cli: Any) -> None:
    recipe = yaml.safe_load(small(tmp_path).read_text())
    inherit, prune, distill = recipe["steps"][:3]
    prune |= {"budget": {"device": "rpi4", "flash_bytes": 60_000}, "round_to": 4, "importance": "random"}
    distill |= {"objectives": [{"kind": "soft-label"}], "training": {"epochs": 1}}
    recipe |= {"steps": [inherit, prune, distill], "controls": [], "export": [{"kind": "litert"}]}
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    cli("run", path, "--out", "run", "--threads", "1")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    (found,) = results["pruning"]
    assert found["plan"]["fits"].startswith("rpi4 under ") and "flash binds" in found["plan"]["fits"]
    assert found["plan"]["after"]["params"] < found["plan"]["before"]["params"]
    (judged,) = ps.fit(tmp_path / "run" / "student.tflite", "rpi4", flash_bytes=60_000)[:1]
    assert judged.verdict == "fits" and judged.cost is not None and 30_000 < judged.cost.weight_bytes <= 60_000
    page = (tmp_path / "run" / "report.html").read_text()
    assert "It is the least that fits rpi4 under " in page


@pytest.mark.parametrize(
    ("edit", "code", "told"),
    [
        ({"budget": {"params": 0.001}}, 3, "steps[1].budget.params: must be at least"),
        ({"budget": {"device": "rpi4", "flash_bytes": 10}}, 3, "steps[1].budget.device: must fit once all is cut that can be; got 'rpi4', under"),
        ({"budget": {"device": "rpi44"}}, 2, "steps[1].budget.device: must be one of the profiles, or a .yaml file; got 'rpi44'. Nearest: 'rpi4'"),
        ({"protect": ["layer9"]}, 2, "steps[1].protect: must name modules of the model; got 'layer9'. Nearest: 'layer"),
        ({"ratio": 0.5}, 2, "steps[1]: must have exactly one of ratio and budget; got both"),
        ({"importance": "taylr"}, 2, "steps[1].importance: must be 'l1', 'l2', 'taylor', 'bn-scale' or 'random'; got 'taylr'. Nearest: 'taylor'"),
        ({"round_to": 64}, 2, "must find a layer that can be cut; got none"),
    ],
    ids=["budget", "device", "no device", "protect", "both", "typo", "too coarse"],
)  # fmt: skip
def test_what_cannot_be_cut_is_said_before_the_teacher_is_trained(
    tmp_path: Path, cache: Path, cli: Any, edit: dict[str, Any], code: int, told: str
) -> None:
    recipe = yaml.safe_load(small(tmp_path).read_text())
    inherit, prune, distill = recipe["steps"][:3]
    recipe |= {"steps": [inherit, prune | edit, distill], "export": [{"kind": "litert"}]}
    (tmp_path / "prune.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    done = cli("run", "prune.yaml", "--out", "run", check=code)
    assert told in " ".join(done.stderr.split()), done.stderr
    made = [json.loads(f.read_text())["stage"] for f in cache.glob("artifacts/*/artifact.json")]
    assert "teach" not in made


CANNOT = ("forecast-linear", "object", "torch")
"""One layer; modules of the user's."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in registry.kinds() if kind not in CANNOT])
def test_a_cut_family_is_exported(kind: str) -> None:
    check_prunable(example(registry[kind]), 0.5, OnnxSpec())
