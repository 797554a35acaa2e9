"""What a recipe's prune steps would cut, tried on an untrained student before anything is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from potstill.core import atomic, rng
from potstill.core.extras import require
from potstill.core.hashing import digest_json
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import STUDENT, Graph, data_shape
from potstill.pipeline.shape import DataShape
from potstill.stages.prune import PruneStage
from potstill.taps import Place

_ROWS = 4
"""Of the example on which cuts are tried."""


@dataclass(frozen=True)
class PlannedCut:
    """What one prune step would leave. Which layers lose most depends on the trained weights, unless the scope is per-layer."""

    step: int
    plan: dict[str, Any]
    """As PruningPlan.as_dict gives it."""
    places: list[Place]
    """What of the student can be tapped from then on."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, without the places."""
        return {"step": self.step, "plan": self.plan}

    def text(self) -> str:
        """Return one line for the terminal."""
        before, after, whole = self.plan["before"], self.plan["after"], self.plan["whole"]
        cut = sum(layer["after"] < layer["before"] for layer in self.plan["layers"])
        kept = ", ".join(f"{name} ({why})" for name, why in whole.items())
        return (
            f"steps[{self.step}] prune: about {after['params']:,} of {before['params']:,} parameters and {after['macs']:,} of "
            f"{before['macs']:,} MACs are left, with {cut} of {len(self.plan['layers'])} layers narrower"
            + (f"; whole stay {kept}" if kept else "")
            + (f"; it would fit {self.plan['fits']}" if self.plan["fits"] else "")
            + "."
        )


def check_cuts(graph: Graph, cache: ArtifactCache) -> list[PlannedCut]:
    """Try the prune steps on a new student, or remember what came of it, since a device's budget takes many exports; empty where
    nothing is left to cut, or the data's shape is not known yet.

    Raises:
        BudgetError: a budget cannot be reached.
        DeviceError: what is left cannot be judged on a budget's device.
        PotstillError: nothing can be cut, or `protect` names no module.
        MissingExtraError: torch-pruning is not installed.
    """
    waiting = [n for n in graph.named("steps/") if n.spec.kind == "prune" and not cache.has(n.key)]
    if not waiting:
        return []
    shape = data_shape(graph, cache)
    if shape is None:
        require("torch_pruning", "prune", "steps: prune")
        return []
    file = cache.root / "profiles" / f"{digest_json(['cuts', vars(shape.io), *(n.key for n in waiting)])}.json"
    if not file.exists():
        found = [
            {"step": cut.step, "plan": cut.plan, "places": [asdict(p) for p in cut.places]}
            for cut in _try(graph, shape)
        ]
        atomic.write_json(file, found)
    return [PlannedCut(x["step"], x["plan"], [Place(**{**p, "shape": tuple(p["shape"])}) for p in x["places"]])
            for x in atomic.read_json(file)]  # fmt: skip


def _try(graph: Graph, shape: DataShape) -> list[PlannedCut]:
    import torch

    from potstill.compress.prune import plan_pruning, prune
    from potstill.models.tools.build import new_model
    from potstill.taps.places import ROWS, list_places
    from potstill.verify.on_device import device_judge

    recipe = graph.recipe
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(rng.seed_of(recipe.seed, "init"))
        new = new_model(recipe.student, shape.io, shape.stats)
        first = new_model(recipe.student, shape.io, shape.stats).module
    rows = example_rows(shape)
    example, outside = (new.preprocess(rows),), [new.preprocess.outside_numpy(rows.numpy())]
    out = []
    for i in range(len(recipe.steps)):
        node = graph.nodes.get(f"steps/{STUDENT}/seed{recipe.seed}/{i + 1}-prune")
        if node is None:
            continue
        assert isinstance(node.spec, PruneStage)
        step = node.spec
        # Without a gradient yet, squares stand for taylor: how many channels can go does not depend on which.
        settings = step.model_copy(update={"importance": "l2"}) if step.importance == "taylor" else step
        judge = device_judge(step.budget, new.preprocess.inside, outside, step.runtimes)
        plan = plan_pruning(
            new.module, example, settings, first=first, seed=recipe.seed, where=f"steps[{i}]", judge=judge
        )
        prune(new.module, plan, example, f"steps[{i}]")
        out.append(PlannedCut(i, plan.as_dict(), list_places(new.module, example[0][:ROWS], "student")))
    return out


def example_rows(shape: DataShape) -> Any:
    """Return [_ROWS, *X] noise of the data's shape; letters and spaces where it is text."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if shape.io.dtype == "float32":
        return torch.rand(_ROWS, *shape.io.shape, generator=generator)
    letters = torch.randint(97, 123, (_ROWS, *shape.io.shape), generator=generator)
    letters[..., ::6] = 32
    return letters.to(getattr(torch, shape.io.dtype))
