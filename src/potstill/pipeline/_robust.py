"""What the report says of damaged samples: teacher, strongest control, student and artifacts side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.core.tensorfile import open_arrays
from potstill.stages.robust import CLEAN
from potstill.verify.gain import one_group
from potstill.verify.robustness import Answers, corruption_error, figures

if TYPE_CHECKING:
    from potstill.pipeline.results import Results

_ORDER = ("teacher", "control", "student")


def robustness(results: Results) -> dict[str, Any] | None:
    """Return the figures of every side, the teacher first; None where the recipe does not ask for them."""
    spec = results.recipe.robustness
    if spec is None:
        return None
    nodes = [node.name for node in results.graph.named("robust/")]
    nodes.sort(key=lambda name: _ORDER.index(s) if (s := name.removeprefix("robust/")) in _ORDER else len(_ORDER))
    task, names = results.recipe.task, list(spec.names(results.dataset.kind))
    rows, answers = _answers(results, nodes[0], names)
    truth, groups = results.truth.take(rows), results.dataset.splits["test"].groups
    groups = None if groups is None else groups[rows]
    known = truth.labels_N >= 0
    counted = None if groups is None or one_group(groups, truth) else groups[known]
    theirs = answers.errors(task, truth)
    sides = []
    for node in nodes:
        found = _answers(results, node, names)[1]
        sides.append({
            "side": node.removeprefix("robust/"), "model": results.facts(node)["model"], "source": "measured",
            **figures(task, found, truth, groups),
            "corruption_error": corruption_error(found.errors(task, truth), theirs, names, counted),
        })  # fmt: skip
    return {
        "seed": results.recipe.seed,
        "rows": len(rows),
        "judged_rows": int(known.sum()),
        "groups": None if counted is None else len(np.unique(counted)),
        "severities": list(spec.severities),
        "corruptions": names,
        "sides": sides,
    }


def _answers(results: Results, node: str, names: list[str]) -> tuple[Any, Answers]:
    """Return (positions in the test split, what a model gave for these rows)."""
    arrays = {n: np.asarray(a) for n, a in open_arrays(results.folder(node) / "answers.safetensors").items()}
    spec = results.recipe.robustness
    assert spec is not None
    corrupted = {name: {s: arrays[f"{name}/{s}"] for s in spec.severities} for name in names}
    return arrays["rows"], Answers(arrays[CLEAN], corrupted)
