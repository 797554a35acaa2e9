"""The translation recipe in little, on made-up pairs and on real ones: every arm trains, resumes and is judged by its texts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import potstill as ps
from potstill.core.errors import PotstillError, RecipeError
from potstill.core.progress import Progress
from potstill.pipeline.arms import ARMS as ARMS_OF_ALL
from potstill.pipeline.arms import CompareSpec
from potstill.pipeline.check import verify_against
from potstill.pipeline.compare import compare
from potstill.pipeline.run import run
from potstill.recipe.load import from_text
from potstill.report import build
from potstill.stages import RunOptions

ROOT = Path(__file__).resolve().parents[2]
WORDS = (
    {
        "der Hund": "the dog",
        "die Katze": "the cat",
        "ein Mann": "a man",
        "eine Frau": "a woman",
        "das Kind": "the child",
    },
    {"sieht": "sees", "ruft": "calls", "malt": "paints", "sucht": "seeks"},
    {"den Ball": "the ball", "das Haus": "the house", "einen Baum": "a tree", "die Tür": "the door"},
)
ARMS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "output": (
        [{"kind": "token-soft-label"}, {"kind": "token-hard-label"}],
        {"kind": "token-topk", "length": 16, "k": 8},
    ),
    "sequence-level": ([{"kind": "sequence-level"}], {"kind": "token-ids"}),
    "inside": ([{"kind": "token-hard-label"}, {"kind": "attention-kl"}, {"kind": "hidden-l2"}], {"kind": "float16"}),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs whose cache the arms share."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["source,target"]
    for parts in itertools.product(*(words.items() for words in WORDS)):
        lines.append(f"{' '.join(p[0] for p in parts)}.,{' '.join(p[1] for p in parts)}.")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder


def little(arm: str, **student: Any) -> dict[str, Any]:
    objectives, codec = ARMS[arm]
    pair = {"vocabulary_size": 300, "max_tokens": 16}
    model = {"kind": "encoder-decoder", "heads": 2, "encoder": 1, "decoder": 1}
    return {
        "name": "pairs", "task": {"kind": "translation"}, "data": {"kind": "parallel", "train": {"source": "pairs.csv"}},
        "teacher": {"kind": "train", "model": {**model, "dim": 32, "heads": 4, "dropout": 0.0, "input": {**pair, "beam": 2}},
                    "training": {"epochs": 20, "batch_size": 8, "learning_rate": 0.006, "clip_norm": 1.0, "evaluate_every": 20}},
        "labels": {"codec": codec}, "student": {**model, "dim": 24, "dropout": 0.0, "input": pair} | student,
        "steps": [{"kind": "distill", "objectives": objectives,
                   "training": {"epochs": 12, "batch_size": 8, "learning_rate": 0.006, "clip_norm": 1.0, "evaluate_every": 6}}],
        "controls": [], "export": [],
    }  # fmt: skip


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_learns_to_write(arm: str, shared: Path) -> None:
    text = yaml.safe_dump(little(arm))
    run(from_text(text, "recipe.yaml", shared), text, shared / arm, RunOptions(shared / "cache"), Progress("quiet"))
    results = json.loads((shared / arm / "results.json").read_text())
    assert results["teacher"]["accuracy"]["value"] > 0.5 and results["teacher"]["gate"]["chance"] < 0.7
    student = results["arms"][0]
    assert student["accuracy"]["value"] > 0.25 and "bleu" in student
    assert "tok:13a" in results["student"]["bleu_signature"]
    assert {"source", "target", "teacher", "student"} < set(results["sentences"][0])
    if arm == "inside":
        pairs = [(p["student"], p["teacher"]) for p in student["taps"]["attention-kl"]]
        assert pairs == [(f"{side}.blocks.0.attention.softmax",) * 2 for side in ("encoder", "decoder")]


def test_compared_under_one_budget(shared: Path) -> None:
    recipe = little("output") | {"export": [{"kind": "onnx"}], "verify": {"blocks": 5}}
    text = yaml.safe_dump(recipe)
    found, out = from_text(text, "recipe.yaml", shared), shared / "compared"
    options, progress = RunOptions(shared / "cache"), Progress("quiet")
    spec = CompareSpec(arms=("prune+distill",))
    done = compare(found, spec, text, out, options, progress, 1).results
    arms = {arm["name"]: arm for arm in done["arms"]}
    assert list(arms) == ["control", "prune+distill"] and done["metric"] == "sentence chrF"
    for arm in arms.values():
        assert arm["accuracy"]["value"] > 0.2 and arm["latency_ratio"]["low"] > 0 and not arm["over"]
    assert arms["prune+distill"]["params"] < done["teacher"]["params"]
    with pytest.raises(RecipeError) as caught:
        compare(found, CompareSpec(), text, out, options, progress, 1)
    assert [f.split(":")[0] for f in caught.value.faults] == [f"--arms {a}" for a in ARMS_OF_ALL if "quantize" in a]
    assert "exported in float32. Leave this step out. Or leave this arm out." in caught.value.faults[0]
    with pytest.raises(
        PotstillError, match="--latency-ms: must be of a model that answers at once; got one that writes"
    ):
        compare(found, CompareSpec(arms=("distill",), latency_ms=1), text, out, options, progress, 1)


def test_tokens_that_differ_are_not_compared(shared: Path) -> None:
    other = {"input": {"vocabulary_size": 290, "max_tokens": 16}}
    with pytest.raises(
        RecipeError, match="'token-soft-label' compares tokens, and the inputs of student and teacher make different"
    ):
        from_text(yaml.safe_dump(little("output", **other)), "recipe.yaml", shared)
    from_text(yaml.safe_dump(little("sequence-level", **other)), "recipe.yaml", shared)  # texts have no tokenizer
    recipe = little("sequence-level")
    recipe["steps"][0]["objectives"].append({"kind": "token-hard-label"})
    with pytest.raises(
        RecipeError, match="reads the true text, and sequence-level feeds the student what the teacher wrote"
    ):
        from_text(yaml.safe_dump(recipe), "recipe.yaml", shared)
    recipe = little("output")
    recipe["data"] = {"kind": "text", "train": "pairs.csv", "text_column": "source", "label_column": "target"}
    with pytest.raises(
        RecipeError, match=r"'translation' asks for tokens, and data of kind 'text' has no texts to be written"
    ):
        from_text(yaml.safe_dump(recipe), "recipe.yaml", shared)


def test_multi30k_in_little(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_DATA", str(shared_data))
    recipe = yaml.safe_load((ROOT / "recipes" / "multi30k.yaml").read_text())
    recipe["data"]["limit"] = 1000
    for side in ("validation", "test"):
        recipe["data"].pop(f"{side}_files")
    recipe["data"]["test"] = 0.01
    recipe["teacher"]["model"] |= {
        "dim": 64,
        "dropout": 0.0,
        "encoder": 1,
        "decoder": 1,
        "input": {"vocabulary_size": 500, "max_tokens": 40},
    }
    recipe["student"] |= {"dim": 16, "encoder": 1, "decoder": 1, "input": {"vocabulary_size": 500, "max_tokens": 40}}
    recipe["teacher"]["training"] |= {"epochs": 10, "batch_size": 16, "learning_rate": 0.003, "evaluate_every": 10}
    recipe["steps"][0]["training"] |= {"epochs": 2, "evaluate_every": 2}
    recipe["seeds"] = 1
    recipe["verify"] = {"blocks": 5}
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    text = yaml.safe_dump(recipe)
    run(
        from_text(text, "recipe.yaml", tmp_path),
        text,
        tmp_path / "out",
        RunOptions(tmp_path / "cache"),
        Progress("quiet"),
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [a["name"] for a in results["arms"]] == ["student", "hard-label"]
    assert results["store"]["codec"] == "token-topk" and results["store"]["kl_error"]["1"]["mean"] < 2
    artifact = results["artifacts"][0]
    files = {"student.onnx", "student.step.onnx", "student.shared.bin"}
    assert set(artifact["files"]) == files | {"student.onnx.json"}
    assert artifact["bytes"] == sum((tmp_path / "out" / n).stat().st_size for n in files), (
        "the card is no part of the model"
    )
    assert artifact["parity"]["top1_agreement"] >= 0.99 and abs(artifact["accuracy_drop"]) < 0.01
    assert artifact["teacher_latency_ms"]["runtime"] == "onnx" and artifact["peak_memory_bytes"]["source"] == "measured"
    assert artifact["latency_ms"]["rows"] == 8
    build(tmp_path / "out")
    assert "student.step.onnx" in (tmp_path / "out" / "report.html").read_text()
    _is_run_by_file_and_by_name(tmp_path, text, artifact)


def _is_run_by_file_and_by_name(folder: Path, text: str, artifact: dict[str, Any]) -> None:
    """`potstill verify` finds what the run found; the student translates without torch."""
    facts = verify_against(
        folder / "out" / "student.onnx",
        from_text(text, "recipe.yaml", folder),
        threads=1,
        scale=1.0,
        progress=Progress("quiet"),
    )
    assert facts["sentence_chrf"]["value"] == artifact["accuracy"]["value"] and facts["file_bytes"] == artifact["bytes"]
    assert "tok:13a" in facts["bleu_signature"]
    written = ps.Translator(folder / "out")(["Ein Mann steht auf der Straße.", "Zwei Hunde spielen."])
    assert len(written) == 2 and all(written)


OWN = '''
import torch
from torch import nn

class Mine(nn.Module):
    """Knows the words of the source and, of what is written, the last word and the mean of all."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.read, self.write = nn.Embedding(tokens, dim), nn.Embedding(tokens, dim)
        self.mix = nn.Sequential(nn.Linear(3 * dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, tokens))

    def forward(self, ids):
        real = (ids[:, 0] > 0).unsqueeze(2).float()
        source = (self.read(ids[:, 0]) * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        last = self.write(ids[:, 1])
        mean = last.cumsum(1) / torch.arange(1, last.shape[1] + 1, device=ids.device).view(1, -1, 1)
        return self.mix(torch.cat([source.expand_as(last), last, mean], dim=2))
'''


def test_a_module_of_ones_own_writes(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shared / "my_writer.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(shared))
    recipe = little("output")
    recipe["student"] = {
        "kind": "torch", "factory": "my_writer:Mine", "arguments": {"tokens": 301, "dim": 24},
        "input": {"kind": "text", "writes": True, "vocabulary_size": 300, "max_tokens": 16},
    }  # fmt: skip
    recipe |= {"export": [{"kind": "onnx"}], "verify": {"blocks": 5, "teacher_latency": False}}
    text = yaml.safe_dump(recipe)
    run(from_text(text, "recipe.yaml", shared), text, shared / "own", RunOptions(shared / "cache"), Progress("quiet"))
    results = json.loads((shared / "own" / "results.json").read_text())
    assert results["arms"][0]["accuracy"]["value"] > 0.2
    artifact = results["artifacts"][0]
    assert (
        sorted(artifact["files"]) == ["student.onnx", "student.onnx.json"]
        and artifact["parity"]["top1_agreement"] == 1.0
    )
    recipe["student"]["input"].pop("writes")
    with pytest.raises(RecipeError, match=r"student\.input: must make tokens of both texts.* Say writes: true in it"):
        from_text(yaml.safe_dump(recipe), "recipe.yaml", shared)
