"""What Google's speech embedding knows of spoken digits: a logistic head, each speaker left out in turn, on plain and on augmented
recordings of the unseen speaker.

Usage: python benchmarks/speech_embedding.py        # prints a table and writes docs/results/speech_embedding.json

Needs POTSTILL_DATA. Recordings lie in the middle of a second, or at its start; heads are fitted to plain recordings, or to two
augmented versions of each beside them (the augmentation of recipes/spoken-digits.yaml).
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter

from potstill.core.progress import Progress
from potstill.data.audio_table import AudioTableSpec
from potstill.data.augment import AnyAugment, make_batch
from potstill.data.dataset import Dataset, prepare
from potstill.stages._parts import data_io
from potstill.teachers.speech_embedding import Ear, SpeechEmbeddingSpec, fit_head

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("POTSTILL_DATA", ROOT.parent / "shared" / "data"))
FILES = DATA / "models" / "speech_embedding"
SPEC = SpeechEmbeddingSpec(melspectrogram=FILES / "melspectrogram.onnx", embedding=FILES / "embedding_model.onnx")
VIEWS = 3
"""Augmented versions: two to fit heads to, one to judge by."""


def heard(align: Any, folder: Path) -> tuple[list[NDArray[Any]], NDArray[Any], NDArray[Any]]:
    """Return (features [N, 96] of the plain recordings and of each view, labels, speakers)."""
    prepare(AudioTableSpec(train=DATA / "spoken_digits" / "all.parquet", group_column="speaker", seconds=1.0, align=align),
            folder, Progress("quiet"))  # fmt: skip
    dataset = Dataset.open(folder)
    recipe = yaml.safe_load((ROOT / "recipes" / "spoken-digits.yaml").read_text())
    ops = TypeAdapter(tuple[AnyAugment, ...]).validate_python(recipe["augment"])
    ear, parts = Ear(SPEC, data_io(dataset)), list(dataset.splits.values())
    features = []
    for view in range(1 + (VIEWS if align == "centre" else 0)):
        batches = [make_batch(split, rows, view, ops if view else (), 0, reveal=True).inputs_BX.numpy()
                   for split in parts for rows in np.array_split(np.arange(len(split), dtype=np.int64), 30)]  # fmt: skip
        features.append(np.concatenate([ear(batch) for batch in batches]))
    groups = [np.asarray(split.groups) for split in parts]
    return features, np.concatenate([np.asarray(s.labels) for s in parts]), np.concatenate(groups)


def left_out(
    fitted: list[NDArray[Any]], judged: NDArray[Any], labels: NDArray[Any], speakers: NDArray[Any]
) -> list[float]:
    """Return the accuracy on each speaker of a head fitted to all others."""
    out = []
    for speaker in np.unique(speakers):
        known = speakers != speaker
        weight, bias = fit_head(
            np.concatenate([f[known] for f in fitted]), np.tile(labels[known], len(fitted)), SPEC.penalty
        )
        out.append(float(((judged[~known] @ weight + bias).argmax(1) == labels[~known]).mean()))
    return out


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    rows: dict[str, list[float]] = {}
    for align in ("centre", "start"):
        with tempfile.TemporaryDirectory() as folder:
            features, labels, speakers = heard(align, Path(folder))
        rows[f"{align}, plain, judged on plain"] = left_out(features[:1], features[0], labels, speakers)
        if len(features) > 1:
            rows[f"{align}, plain, judged on augmented"] = left_out(features[:1], features[-1], labels, speakers)
            rows[f"{align}, with views, judged on plain"] = left_out(features[:-1], features[0], labels, speakers)
            rows[f"{align}, with views, judged on augmented"] = left_out(features[:-1], features[-1], labels, speakers)
    for name, values in rows.items():
        print(f"{name:45} {np.mean(values):.1%}   by speaker {' '.join(f'{v:.3f}' for v in values)}", flush=True)
    (ROOT / "docs" / "results" / "speech_embedding.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
