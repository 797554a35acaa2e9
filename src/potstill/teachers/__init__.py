"""Teachers of every origin, one a file; each prepares itself once and loads as a Labeller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.teachers._base import Labeller, TeacherContext, TeacherSpec, registry

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyTeacher: TypeAlias = TeacherSpec
else:
    AnyTeacher = registry.union()

__all__ = ["AnyTeacher", "Labeller", "TeacherContext", "TeacherSpec", "registry"]
