"""Whether what an export needs is installed, asked before anything is trained."""

from __future__ import annotations

from potstill.core.extras import check_present
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.graph import Graph
from potstill.stages.export import ExportStage


def check_formats(graph: Graph, cache: ArtifactCache) -> None:
    """Look for the packages and programs of each export that is left to do.

    Raises:
        MissingExtraError: one is not installed; names the pip command.
    """
    for node in graph.nodes.values():
        if isinstance(node.spec, ExportStage) and not cache.has(node.key):
            for package in node.spec.exporter.packages:
                check_present(package, "runtimes", f"export.{node.spec.exporter.kind}")
            node.spec.exporter.check_tools()
