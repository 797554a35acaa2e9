"""A whole run whose student ends as C: written, compared, measured here by its arithmetic, and verified on an emulated core."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_recipe import changed

INTEGERS = {"kind": "quantize", "scheme": "int8_static_per_channel"}
EDITS = (
    ("export", [{"kind": "c"}]), ("data.limit", 200), ("teacher.training.epochs", 6), ("steps.0.training.epochs", 2),
    ("controls", []), ("labels.views", 1), ("augment", []),
)  # fmt: skip


def written(folder: Path, *steps: dict[str, Any]) -> Path:
    recipe = changed(*EDITS)
    recipe["steps"] += steps
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def test_a_student_in_float_is_refused_before_anything_is_done(tmp_path: Path, cache: Path, cli: Any) -> None:
    done = cli("plan", written(tmp_path), check=2)
    assert "export[0]: must have a student in integers before it; got kind='c'" in done.stderr


def test_the_demos_second_recipe_trains_nothing_anew() -> None:
    recipes = Path(__file__).resolve().parents[2] / "recipes"
    first, second = (yaml.safe_load((recipes / f"{name}.yaml").read_text()) for name in ("digits", "digits-mcu"))
    shared = ("data", "augment", "teacher", "labels", "student", "seeds")
    assert {k: first[k] for k in shared} == {k: second[k] for k in shared}
    assert second["steps"][:-1] == first["steps"] and set(second["controls"]) <= set(first["controls"])


def test_a_plan_says_what_the_student_would_take_as_c(tmp_path: Path, cache: Path, cli: Any) -> None:
    """Of the untrained student, without a compiler for the core: within its budget on one board, over it on another."""
    recipe = written(tmp_path, INTEGERS)
    devices = [
        {"device": "stm32l4r5", "latency_ms": 5, "peak_memory_bytes": 8192, "flash_bytes": 16384},
        {"device": "nano33ble", "latency_ms": 2},
    ]
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), "devices": devices}, sort_keys=False))
    board, slow = json.loads(cli("plan", recipe, "--json").stdout.splitlines()[-1])["verdicts"]
    assert (board["verdict"], slow["verdict"]) == ("fits", "does not fit")
    assert board["under"] == "potstill C, int8, 1 thread" and "becomes C" in board["rests_on"] and not board["others"]
    lines = {line["name"]: line for line in board["lines"]}
    assert {lines[n]["word"] for n in ("latency_ms", "peak_memory_bytes", "flash_bytes")} == {"modelled"}
    took = board["cost"]["generated"]
    each = sum(took[f"{part}_instructions"] for part in ("product", "value", "place"))
    assert lines["latency_ms"]["low"] == pytest.approx(each * 0.96 * 1.23 / 120e3) and 1e5 < each < 2e5
    assert lines["peak_memory_bytes"]["low"] == took["arena_bytes"] < lines["flash_bytes"]["low"]
    assert any("fewer MACs" in remedy for remedy in slow["remedies"])


@pytest.mark.slow
def test_a_student_ends_on_an_emulated_core(
    tmp_path: Path, cache: Path, cli: Any, require_tool: Callable[..., str]
) -> None:
    for tool in ("gcc", "arm-none-eabi-gcc", "qemu-system-arm"):
        require_tool(tool)
    recipe = written(tmp_path, INTEGERS)
    devices = [{"device": "stm32l4r5", "flash_bytes": 16384, "accuracy_drop": 100}, {"device": "nano33ble"}]
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), "devices": devices}, sort_keys=False))
    cli("run", recipe, "--out", "run", "--threads", "1")
    run = tmp_path / "run"
    board, _ = json.loads((run / "results.json").read_text())["verdicts"]
    modelled = {line["name"]: line for line in board["lines"]}
    assert board["verdict"] == "fits" and board["file"] == "model.c" and board["rests_on"] == ""
    assert modelled["accuracy_drop"]["word"] == "measured" and modelled["latency_ms"]["word"] == "modelled"
    (found,) = json.loads((run / "results.json").read_text())["artifacts"]
    assert found["format"] == "c" and found["file"] == "c/model.c" and found["parity"]["codes_max"] <= 2
    assert found["quantised"]["float_bytes"] > 0 and found["peak_memory_bytes"]["source"] == "measured"
    assert {p.name for p in (run / "c").iterdir()} >= {
        "model.c",
        "model.h",
        "Makefile",
        "link.ld",
        "golden.c",
        "model.tflite",
    }
    page = (run / "report.html").read_text()
    assert "its memory, call by call" in page and page.count(" bytes at ") == len(
        json.loads((run / "c" / "report.json").read_text())["memory"]
    )
    said = json.loads(
        cli("verify", run / "c" / "model.c", "--data", recipe, "--device", "stm32l4r5", "--rows", "5", "--json").stdout
    )
    assert said["codes"] == {"equal": True, "rows_here": 256, "rows_emulated": 5, "rows_are": "of the test split"}
    assert said["host"]["accuracy"]["value"] == found["accuracy"]["value"]
    assert said["latency_ms"]["source"] == "modelled" and said["instructions"]["source"] == "emulated"
    (built,) = said["verdicts"]
    lines = {line["name"]: line for line in built["lines"]}
    assert (lines["flash_bytes"]["word"], lines["peak_memory_bytes"]["word"]) == ("measured", "emulated")
    for name, source in (("flash_bytes", "flash_bytes"), ("peak_memory_bytes", "ram_bytes")):
        assert modelled[name]["low"] <= lines[name]["value"] == said[source]["value"] <= modelled[name]["high"]
    assert lines["latency_ms"]["low"] == said["latency_ms"]["low"] and "emulated" in lines["latency_ms"]["reason"]
    assert lines["accuracy_drop"]["value"] == modelled["accuracy_drop"]["value"] and built["verdict"] == "fits"
    (run / "c" / "ps_math.h").write_text((run / "c" / "ps_math.h").read_text() + "\n")
    done = cli("verify", run / "c", "--device", "cortex-m4", check=2)
    assert "ps_math.h is not what this version of potstill makes" in done.stderr and "--run-program" in done.stderr
    assert (
        "no run on this machine made this one" in cli("verify", run / "c" / "model.c", "--data", recipe, check=2).stderr
    )


@pytest.mark.slow
def test_a_spectrogram_is_left_to_the_host(tmp_path: Path, require_tool: Callable[..., str]) -> None:
    import torch
    from torch import nn

    from potstill.compress.quant_specs import CalibrationSpec
    from potstill.compress.quantize import quantise
    from potstill.core.mel import MelSpectrum
    from potstill.exporters.c import CSpec
    from potstill.exporters.parity import compare_rounded
    from potstill.models import registry
    from potstill.models._io import ModelIO
    from potstill.models.inputs.sound import LogMel

    for tool in ("gcc", "arm-none-eabi-gcc", "qemu-system-arm"):
        require_tool(tool)
    from potstill.verify.emulated import target_of, verify_on_core

    spectrum = MelSpectrum(8000, 256, 128, 16, 50.0, 4000.0, 50.0)
    front = LogMel(spectrum)
    rng = np.random.default_rng(0)
    sounds = rng.normal(0, 0.1, (24, 2176)).astype(np.float32) * np.geomspace(1, 0.01, 2176, dtype=np.float32)
    torch.manual_seed(0)
    model = registry["ds-cnn"](width=8, depth=2).build(ModelIO(outputs=(3,), shape=(1, 16, 16))).eval()
    with torch.no_grad():
        made = quantise(model, front(torch.from_numpy(sounds)), "int8_static_per_channel", CalibrationSpec())
    artifact = CSpec().export(nn.Sequential(front, made.module), sounds, tmp_path, made.spec)
    report = json.loads((tmp_path / "c" / "report.json").read_text())
    assert report["host"] == {"do": "log-mel", "takes": [2176], **spectrum.as_dict()}
    assert report["inputs"][0]["shape"] == [1, 1, 16, 16] and report["inputs"][0]["dtype"] == "int8"
    step = made.spec.values[made.spec.output].scale
    rounding = nn.Sequential(front, made.fake).eval()
    found = compare_rounded(nn.Sequential(front, made.module), rounding, artifact, sounds, step, 2.0)
    assert found.codes_max is not None and found.codes_max <= 2
    said = verify_on_core(tmp_path / "c", target_of("cortex-m4"), sounds, 2)
    assert said["codes"] == {"equal": True, "rows_here": 24, "rows_emulated": 2, "rows_are": "of the test split"}
