"""Terms of the training loss. One method a file: a pure loss and its Spec; none leans on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.objectives._balance import BalanceSpec, name_terms
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, TeacherRows, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyObjective: TypeAlias = ObjectiveSpec
else:
    AnyObjective = registry.union()

__all__ = [
    "AnyObjective",
    "BalanceSpec",
    "LossInputs",
    "Needs",
    "ObjectiveSpec",
    "TeacherRows",
    "name_terms",
    "registry",
]
