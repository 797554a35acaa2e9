"""Sound from files to a report: the shipped recipe at smoke settings, and a folder of WAV files by `init`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from potstill.core.onnx_session import OnnxSession
from potstill.data._wav import encode_wav

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "spoken-digits.yaml"
Cli = Callable[..., Any]


def results_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.mark.data
@pytest.mark.slow
def test_spoken_digits(tmp_path: Path, cli: Cli, cache: Path, shared_data: Path) -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe |= {"seeds": 1, "verify": {"blocks": 5}}
    recipe["data"] |= {"limit": 200, "test": 0.15}  # one speaker of the two
    recipe["teacher"]["views"] = 0
    recipe["labels"]["views"] = 1
    recipe["steps"][0]["training"]["epochs"] = 3
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    cli("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run", "--threads", 1, POTSTILL_DATA=str(shared_data))
    found = results_of(tmp_path / "run")
    assert (
        found["data"]["sample"] == "audio" and found["data"]["rate_hz"] == 8000 and found["data"]["rows"]["test"] == 500
    )
    assert found["teacher"]["accuracy"]["value"] > 0.6 and found["teacher"]["saw_hidden_labels"] is False
    assert found["models"]["student"]["params"] < 60_000
    assert found["artifacts"][0]["accuracy_drop"] == pytest.approx(0, abs=2e-3)
    drawn = [tmp_path / "run" / entry["file"] for entry in found["disagreements"]]
    assert drawn and all(file.read_bytes().startswith(b"\x89PNG") for file in drawn)  # spectrograms
    assert (tmp_path / "run" / "report.html").read_text().count("data:image/png;base64,") >= len(drawn)
    # The exported student takes sound as the data gives it.
    session = OnnxSession(tmp_path / "run" / found["artifacts"][0]["file"])
    assert session(np.zeros((2, 8000), np.float32)).shape == (2, 10)


def tones(root: Path) -> Path:
    """Three classes of pitch in noise, by four speakers who are a little apart, at mixed rates."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("high", "low", "middle")):
        for i in range(40):
            rate = 8000 if i % 7 else 11025
            t = np.arange(int(rate * rng.uniform(0.35, 0.5))) / rate
            hz = 300 * 2.2**k * (1 + 0.03 * (i % 4))
            sound = 0.3 * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)) + rng.normal(scale=0.01, size=t.size)
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"{'abcd'[i % 4]}_{i}.wav").write_bytes(encode_wav((sound * 32767).astype(np.int16), rate))
    return root


def test_a_folder_of_recordings_from_init_to_report(tmp_path: Path, cli: Cli, cache: Path) -> None:
    said = cli(
        "init", "audio-classification", "--data", tones(tmp_path / "tones"), "--out", tmp_path / "recipe.yaml"
    ).stdout
    assert "Found 3 classes: high, low, middle" in said and "120 recordings to learn from; 8000 Hz, 11025 Hz" in said
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert recipe["data"] == {
        "kind": "audio-folder",
        "path": "tones",
        "seconds": 0.5,
        "rate_hz": 8000,
        "validation": 0.1,
        "test": 0.2,
    }
    recipe |= {"seeds": 1, "verify": {"blocks": 5}}
    recipe["data"]["group_pattern"] = "^([a-d])_"
    recipe["teacher"]["model"] |= {"width": 8, "depth": 3}
    recipe["student"] |= {"width": 8, "depth": 3}
    recipe["labels"]["views"] = 1
    recipe["teacher"]["training"]["epochs"], recipe["steps"][0]["training"]["epochs"] = 12, 2
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    cli("run", "recipe.yaml", "--out", "run", "--threads", 1)
    found = results_of(tmp_path / "run")
    assert found["data"]["shape"] == [4000] and found["classes"] == ["high", "low", "middle"]
    assert found["teacher"]["accuracy"]["value"] > 0.6
    assert any("one group" in note["text"] for note in found["notes"])  # a single speaker is left for the test
    rerun = cli("run", "recipe.yaml", "--out", "run", "--threads", 1)
    assert results_of(tmp_path / "run")["student"]["sha256"] == found["student"]["sha256"], rerun.stdout
