"""What a batch, an output and a metric are, one task a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.tasks._base import TaskSpec, Truth, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyTask: TypeAlias = TaskSpec
else:
    AnyTask = registry.union()

__all__ = ["AnyTask", "TaskSpec", "Truth", "registry"]
