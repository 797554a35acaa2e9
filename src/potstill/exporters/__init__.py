"""One format a file; each gives an Artifact that is callable like the module it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.exporters._base import Artifact, ExporterSpec, Parity, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyExporter: TypeAlias = ExporterSpec
else:
    AnyExporter = registry.union()

__all__ = ["AnyExporter", "Artifact", "ExporterSpec", "Parity", "registry"]
