"""Folders by class, with or without folders of splits above them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
          "validation": "validation", "test": "test", "testing": "test"}  # fmt: skip
"""A folder's name -> the split that its classes are of."""
UNLABELLED = "unlabelled"
"""The class whose rows have no label."""


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below, but nothing hidden: neither `._1.jpg` nor what lies in `.ipynb_checkpoints`."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield Path(root, name)


def folders_in(root: Path) -> list[Path]:
    """Return the folders of a folder in order, but nothing hidden."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != "__MACOSX")
