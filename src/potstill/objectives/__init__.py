"""Terms of the training loss. One method a file: a pure loss and its Spec; none leans on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, TeacherRows, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyObjective: TypeAlias = ObjectiveSpec
else:
    AnyObjective = registry.union()

__all__ = ["AnyObjective", "LossInputs", "Needs", "ObjectiveSpec", "TeacherRows", "registry"]
