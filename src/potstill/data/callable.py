"""A function of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from potstill.core.errors import DataError
from potstill.core.objects import load_attribute
from potstill.core.samples import SampleKind
from potstill.core.spec import ImportPath, InputPath
from potstill.data._arrays import source_of
from potstill.data._base import DataSpec, Source, registry


@registry.register
class CallableSpec(DataSpec):
    """What `module:function` returns: {"train": (images, labels), "test": ...}, or a Source read in chunks."""

    kind: Literal["callable"] = "callable"
    factory: ImportPath
    """`module:function`; its source, and what it imports of yours, is part of the key."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Passed to the function by name."""
    samples: SampleKind = "image"
    """What its samples are; other kinds than pictures come in a Source."""
    files: tuple[InputPath, ...] = ()
    """Files that the function reads: their content becomes part of the key."""
    classes: tuple[str, ...] | None = None
    """Names in label order; None names classes by their number."""

    def gives(self) -> SampleKind:
        return self.samples

    def open(self) -> Source:
        function = load_attribute(self.factory)
        try:
            found = function(**self.arguments)
        except Exception as err:
            raise DataError(
                f"data.factory {self.factory}: must return data; it raised {type(err).__name__}: {err}."
            ) from err
        if isinstance(found, Source):
            if found.kind != self.samples:
                raise DataError(f"data.samples: must be what {self.factory} gives, {found.kind}; got {self.samples}. Say samples: "
                                f"{found.kind}.")  # fmt: skip
            return found
        if not isinstance(found, Mapping):
            raise DataError(
                f"data.factory {self.factory}: must return a dict of (images, labels) by split, or a Source; got "
                f"{type(found).__name__}."
            )
        return source_of(found, list(self.classes) if self.classes else None, self.factory)
