"""Recipes with random faults: refused with messages, or planned; never a traceback."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any, ClassVar

from _faults import ROOT, Fault, Trial, check, fresh

sys.path.append(str(ROOT / "tests" / "pipeline"))  # whose small tests of bad recipes these are in larger doses

HERE = "_faults_recipes"
EACH = 25


class RecipesHurt(Fault):
    """Values, keys and characters that do not belong."""

    name: ClassVar[str] = "mutated recipes"
    promise: ClassVar[str] = "every mutated recipe is planned, or refused with messages: never a traceback"
    unit: ClassVar[str] = "recipes"
    small: ClassVar[int] = 75
    full: ClassVar[int] = 3000

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        ended = self.server.must(
            f"{HERE}:mutate_recipes", folder=str(fresh(self.scratch / "here")), seed=draw.getrandbits(32)
        )
        for what, count in ended.items():
            out.ended[what] += count
            out.doses += count
        return out


def mutate_recipes(folder: str, seed: int) -> dict[str, int]:
    """Load mutated recipes: the properties of tests/pipeline/test_bad_recipes.py, and planning what loads."""
    import test_bad_recipes as small
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    options = settings(
        max_examples=EACH, database=None, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    tests = (small.test_mutated_recipes_never_give_a_traceback, small.test_mutated_text_never_gives_a_traceback)
    for number, test in enumerate(tests):
        seeded(seed + number)(options(given(st.data())(test.hypothesis.inner_test)))()
    draw, ended = random.Random(seed), {"values": EACH, "text": EACH}
    for _ in range(EACH):
        what = plan_mutated(draw, Path(folder))
        ended[what] = ended.get(what, 0) + 1
    return ended


def plan_mutated(draw: random.Random, folder: Path) -> str:
    """Change one value of a recipe and plan it; return "planned" or "refused"."""
    import yaml
    from test_bad_recipes import paths_of
    from tiny_recipe import changed

    from potstill.core.errors import PotstillError
    from potstill.core.hashing import StatCache
    from potstill.pipeline.graph import build
    from potstill.recipe.load import from_text

    recipe: Any = changed()
    where = draw.choice(paths_of(recipe))
    target = recipe
    for part in where[:-1]:
        target = target[part]
    value = target[where[-1]]
    if isinstance(value, (int, float)):
        target[where[-1]] = draw.choice([value + 1, value * 2, value / 3, -value, 10**9, 0.5])
    elif draw.random() < 0.5:
        target[where[-1]] = draw.choice(["", "x", None, [], {}, 3, [value, value], {"kind": value}])
    else:
        del target[where[-1]]
    try:
        graph = build(from_text(yaml.safe_dump(recipe, sort_keys=False), "recipe.yaml", folder), StatCache())
    except PotstillError as err:
        check(bool(str(err)), "an empty message")
        return "refused"
    check(all(node.key for node in graph.nodes.values()), "a node without a key")
    return "planned"
