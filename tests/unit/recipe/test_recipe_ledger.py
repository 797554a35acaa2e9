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
    return str(file) if isinstance(value, str) and value.startswith(("/", "$")) else value


def test_every_arm_of_every_task_is_a_recipe(cells: Any, tmp_path: Path) -> None:
    file = tmp_path / "stands for any"
    file.touch()
    for task, spec in cells.TASKS.items():
        for arm in cells.ARMS:
            for student in range(len(spec.students)):
                recipe = elsewhere(cells.Training(task, "few", student, arm, 3).recipe(), file)
                check(Recipe.model_validate(recipe))
