"""A recipe small enough to run many times."""

from __future__ import annotations

import copy
from typing import Any

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"kind": "digits", "limit": 600, "test": 0.2, "labelled": 120},
    "augment": [{"kind": "shift", "pixels": 1}],
    "teacher": {
        "kind": "train",
        "model": {"kind": "resnet", "depth": 8, "width": 8},
        "training": {"epochs": 8, "batch_size": 32, "learning_rate": 0.01},
        "labels": "all",
    },
    "labels": {"views": 2, "codec": {"kind": "float16"}},
    "student": {"kind": "ds-cnn", "width": 6, "depth": 2, "downsample": 1},
    "steps": [
        {
            "kind": "distill",
            "objectives": [{"kind": "soft-label", "temperature": 2.0}, {"kind": "hard-label", "weight": 0.2}],
            "training": {"epochs": 12, "batch_size": 50, "learning_rate": 0.02},
        }
    ],
    "controls": ["hard-label"],
    "verify": {"blocks": 5},
}


def changed(*edits: tuple[str, Any], base: dict[str, Any] = TINY) -> dict[str, Any]:
    """Return the tiny recipe with dotted paths set: ("steps.0.training.epochs", 3)."""
    recipe = copy.deepcopy(base)
    for path, value in edits:
        *parents, last = path.split(".")
        target: Any = recipe
        for part in parents:
            target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
        key: Any = int(last) if last.isdigit() else last
        if value is None:
            del target[key]
        else:
            target[key] = value
    return recipe
