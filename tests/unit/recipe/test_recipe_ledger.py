"""Every training that the ledger of gains plans is a valid recipe: one that is not would only be left out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from potstill.recipe.load import check
from potstill.recipe.model import Recipe


@pytest.fixture(scope="module")
def cells() -> Any:
    folder = Path(__file__).resolve().parents[3] / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        import _gain_cells
    finally:
        sys.path.remove(str(folder))
    return _gain_cells


def elsewhere(value: Any, file: Path) -> Any:
    """Return the recipe with every path named by that of one file that exists: what is in it is not read."""
    if isinstance(value, dict):
        return {k: elsewhere(v, file) for k, v in value.items()}
    if isinstance(value, list):
        return [elsewhere(v, file) for v in value]
    return str(file) if isinstance(value, str) and value.startswith(("/", "$", "package:")) else value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that stands for any."""
    out = tmp_path / "stands for any"
    out.touch()
    return out


def test_every_arm_of_every_task_of_images_is_a_recipe(cells: Any, file: Path) -> None:
    for task in cells.IMAGES:
        for arm in cells.ARMS:
            for student in range(len(cells.TASKS[task].students)):
                recipe = elsewhere(cells.Training(task, "few", student, arm, 3).recipe(), file)
                check(Recipe.model_validate(recipe))


def test_every_training_beyond_images_is_a_recipe(cells: Any, file: Path) -> None:
    for training in cells._beyond_images():
        check(Recipe.model_validate(elsewhere(training.recipe(), file)))


def test_a_training_of_another_fold_or_share_is_another_training(cells: Any) -> None:
    names = {(t.cell, t.arm, t.replicate, t.views): t.id for t in cells._beyond_images()}
    assert len(names) == len(set(names.values())) == len(cells._beyond_images())
    assert {t.task for t in cells._beyond_images()} == set(cells.MORE)


def test_each_speaker_is_held_out_once_and_never_watched_in_the_same_fold(cells: Any) -> None:
    folds = cells.TASKS["spoken-digits"].folds
    held = [fold["test_groups"] for fold in folds]
    assert len(held) == len({name for (name,) in held}) == 6
    assert all(fold["test_groups"] != fold["validation_groups"] for fold in folds)
