"""Somebody with a folder of photos and the README: init, plan, run, verify, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("beach", "forest", "town")
ONE_CORE = ("--threads", "1")


def photo(kind: str, rng: np.random.Generator) -> Image.Image:
    """Return a picture as a phone has it: a sky above, what the class is below, oblong, no two of one size."""
    width, height = sorted((int(v) for v in rng.integers(100, 260, 2)), reverse=True)
    tint = {"beach": (230, 200, 120), "forest": (40, 120, 40), "town": (120, 120, 130)}[kind]
    pixels = np.empty((height, width, 3))
    pixels[: height // 2], pixels[height // 2 :] = (120, 170, 230), tint
    pixels += rng.normal(0, 25, pixels.shape) + rng.normal(0, 15)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def take(folder: Path, rng: np.random.Generator) -> None:
    """Write the photos: a third of them stored turned, some without a label, and what computers leave behind."""
    for kind in (*CLASSES, "unlabelled"):
        (folder / kind).mkdir(parents=True)
        for i in range(30):
            picture = photo(kind if kind in CLASSES else CLASSES[i % 3], rng)
            exif = Image.Exif()
            if i % 3 == 0:
                picture, exif[0x0112] = picture.transpose(Image.Transpose.ROTATE_90), 6
            picture.save(folder / kind / f"IMG_{i:04d}.JPG", "JPEG", exif=exif)
        (folder / kind / ".DS_Store").write_bytes(b"\0")
    (folder / "README.txt").write_text("taken in May")


def shorten(recipe: Path, **values: object) -> None:
    """Change single values of a written recipe; each must be there."""
    text = recipe.read_text()
    for name, value in values.items():
        lines = [line for line in text.splitlines() if f"{name}: " in line and not line.lstrip().startswith("#")]
        assert lines, f"{name} is not in the recipe"
        for line in lines:
            head, _, tail = line.partition(f"{name}: ")
            end = min(i for i in (*(tail.find(c) for c in ",}  "), len(tail)) if i >= 0)
            text = text.replace(line, f"{head}{name}: {value}{tail[end:]}")
    recipe.write_text(text)


def test_photos_as_they_come(tmp_path: Path, cli: Any, cache: Path) -> None:
    take(tmp_path / "photos", np.random.default_rng(0))
    said = cli("init", "image-classification", "--data", "./photos", "--out", "recipe.yaml").stdout
    assert "3 classes: beach, forest, town" in said and "30 of them without a label" in said
    assert said.splitlines()[-1] == "Next: potstill plan recipe.yaml"
    plan = cli("plan", "recipe.yaml", COLUMNS="80").stdout
    assert max(map(len, plan.splitlines())) <= 80
    assert "resnet" in plan and "steps/student/1-distill ×3" in plan and "10 of 10 to do" in plan
    shorten(tmp_path / "recipe.yaml", epochs=6, depth=8, seeds=1, views=1)
    with (tmp_path / "recipe.yaml").open("a") as recipe:
        recipe.write("verify: {blocks: 5}\n")
    done = cli("run", "recipe.yaml", "--out", "runs/photos", *ONE_CORE)
    assert "student" in done.stdout and "Report: runs/photos/report.html" in done.stdout
    results = json.loads((tmp_path / "runs/photos/results.json").read_text())
    assert results["classes"] == list(CLASSES)
    assert results["teacher"]["accuracy"]["value"] > 0.9
    assert results["data"]["shape"] == [64, 64, 3]
    assert sum(results["data"]["rows"].values()) == 120
    assert (tmp_path / "runs/photos/student.onnx").is_file() and (tmp_path / "runs/photos/model_card.md").is_file()
    found = json.loads(cli("verify", "runs/photos/student.onnx", "--data", "recipe.yaml", "--json").stdout)
    assert found["accuracy"]["value"] == results["artifacts"][0]["accuracy"]["value"]
    again = cli("run", "recipe.yaml", "--out", "runs/photos", *ONE_CORE)
    assert "Nothing to do" in again.stdout
