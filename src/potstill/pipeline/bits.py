"""Whether a recipe's student can be quantised as its quantize step says, tried on an untrained one before anything is trained."""

from __future__ import annotations

from potstill.core import rng
from potstill.core.errors import PotstillError, RecipeError
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import Graph, data_shape
from potstill.pipeline.shape import DataShape
from potstill.recipe.model import Recipe
from potstill.stages.quantize import QuantizeStep


def check_bits(graph: Graph, cache: ArtifactCache) -> None:
    """Trace the student and plan its integers; nothing where no quantize step is left to do, or the data's shape is not known yet.

    Raises:
        RecipeError: the student cannot be traced, a layer has no integer kernel, or `float_layers` names no module.
    """
    waiting = [n for n in graph.named("steps/") if n.spec.kind == "quantize" and not cache.has(n.key)]
    asks = [s for s in graph.recipe.steps if isinstance(s, QuantizeStep) and s.scheme != "float16"]
    shape = data_shape(graph, cache) if waiting and asks else None
    if shape is not None:
        _try(graph.recipe, shape)


def _try(recipe: Recipe, shape: DataShape) -> None:
    import torch

    from potstill.models.tools.build import new_model
    from potstill.quant.graph import trace
    from potstill.quant.plan import make_plan

    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(rng.seed_of(recipe.seed, "init"))
        new = new_model(recipe.student, shape.io, shape.stats)
    example = torch.zeros(2, *new.io.shape, dtype=getattr(torch, new.io.dtype))
    for i, step in enumerate(recipe.steps):
        if isinstance(step, QuantizeStep):
            try:
                make_plan(trace(new.module, example), step.scheme, step.float_layers)
            except PotstillError as err:
                raise RecipeError([f"steps[{i}] {err}"]) from err
