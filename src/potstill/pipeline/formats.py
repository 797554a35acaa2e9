"""Whether what an export needs is installed, asked before anything is trained."""

from __future__ import annotations

from potstill.core.errors import RecipeError
from potstill.core.extras import check_present
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import Graph
from potstill.quant.spec import STATIC
from potstill.stages.export import ExportStage

_EXTRAS = {"tflite_micro": "mcu"}
"""Package -> the extra that brings it, where it is not `runtimes`."""


def check_formats(graph: Graph, cache: ArtifactCache) -> None:
    """Look for what each export that is left to do needs.

    Raises:
        RecipeError: a format takes integers alone, and no step makes them.
        MissingExtraError: a package or a program is not installed; names the command.
    """
    if not any(getattr(step, "scheme", "") in STATIC for step in graph.recipe.steps):
        faults = [
            f"export[{i}]: must have a student in integers before it; got kind={e.kind!r} and no step that makes them. Add to steps: "
            "{kind: quantize, scheme: int8_static_per_channel}"
            for i, e in enumerate(graph.recipe.export) if e.integers
        ]  # fmt: skip
        if faults:
            raise RecipeError(faults)
    for node in graph.nodes.values():
        if isinstance(node.spec, ExportStage) and not cache.has(node.key):
            node.spec.exporter.check_tools()
            for package in node.spec.exporter.packages:
                check_present(package, _EXTRAS.get(package, "runtimes"), f"export.{node.spec.exporter.kind}")
