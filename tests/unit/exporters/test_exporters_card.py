"""The card beside an artifact: what a host needs to run the file without the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from potstill.core.hashing import digest_file
from potstill.exporters.card import card_name, write_card
from potstill.exporters.model import export_model
from potstill.exporters.onnx import OnnxSpec
from potstill.models import registry
from potstill.models.tools.build import new_model
from potstill.models.tools.saved import load_model, save_model
from potstill.quant.spec import QuantSpec, ValueRange
from potstill.testing import tiny

CASES: dict[str, tuple[str, dict[str, Any], list[str], list[str]]] = {
    "image": ("ds-cnn", {"input": {"kind": "image", "size": 12}}, ["resize"], ["normalise"]),
    "audio": ("ds-cnn", {"input": {"kind": "audio", "rate_hz": 4000}}, ["resample"], ["log-mel"]),
    "series": ("ds-cnn-1d", {"input": {"kind": "series", "by_window": [1]}}, [], ["normalise-window"]),
    "text": ("text-cnn", {"width": 8}, ["tokenize"], []),
}  # fmt: skip


def written(kind: Any, folder: Path, quant: QuantSpec | None = None) -> tuple[dict[str, Any], Any, Any]:
    """Return (the card, the artifact, what it is called with) of a small model of untrained weights."""
    family, more, _, _ = CASES[kind]
    io = tiny.io_for(kind)
    torch.manual_seed(0)
    new = new_model(registry[family].model_validate({"kind": family, **more}), io, tiny.stats_for(kind))
    saved, out = folder / "saved", folder / "out"
    saved.mkdir()
    out.mkdir()
    save_model(saved, new.module, new.spec, io, [f"class {i}" for i in range(10)])
    model = load_model(saved)
    inputs = model.preprocess.outside_numpy(tiny.inputs(kind, 4))
    artifact = export_model(OnnxSpec(), model.preprocess, model.module, inputs, out)
    path = write_card(OnnxSpec(), artifact, model, inputs, quant, "image-classification", model.classes)
    assert path.name == card_name("student.onnx") == "student.onnx.json"
    return json.loads(path.read_text()), artifact, inputs


@pytest.mark.parametrize("kind", CASES)
def test_a_card_says_what_stands_at_both_ends(kind: str, tmp_path: Path) -> None:
    card, artifact, inputs = written(kind, tmp_path)
    assert [step["do"] for step in card["outside"]] == CASES[kind][2]
    assert [step["do"] for step in card["inside"]] == CASES[kind][3]
    assert card["sample"]["kind"] == kind and card["classes"][3] == "class 3"
    assert card["inputs"]["shape"] == [None, *inputs.shape[1:]] and card["inputs"]["dtype"] == inputs.dtype.name
    assert card["outputs"]["shape"] == [None, 10] and card["outputs"]["gives"] == "classes"
    assert card["outputs"]["step"] is None and card["scheme"] == "float32"
    assert card["files"] == {
        "student.onnx": {"sha256": digest_file(artifact.path), "bytes": artifact.path.stat().st_size}
    }


def test_a_tokenizer_in_a_card_makes_the_ids(tmp_path: Path) -> None:
    from potstill.models.inputs._ids import ids_of
    from potstill.models.inputs.text import opened

    card, _, inputs = written("text", tmp_path)
    (step,) = card["outside"]
    texts = [bytes(row[row > 0]).decode() for row in tiny.inputs("text", 4)]
    assert (ids_of(opened(json.dumps(step["tokenizer"]), "card"), texts, step["max_tokens"]) == inputs).all()


def test_a_model_of_integers_says_its_step(tmp_path: Path) -> None:
    quant = QuantSpec(
        scheme="int8_static_per_channel", output="head", values={"head": ValueRange(scale=0.5, zero_point=3)}
    )
    card, _, _ = written("image", tmp_path, quant)
    assert card["outputs"]["step"] == 0.5 and card["scheme"] == "int8_static_per_channel"
    assert card["outputs"]["dtype"] == "float32" and card["outputs"]["scale"] is None, "ONNX widens its codes itself"
