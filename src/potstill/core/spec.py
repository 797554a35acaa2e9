"""Spec, the base of every recipe section, and Registry, which turns one file in a folder into one choice."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, Union, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic.fields import FieldInfo

S = TypeVar("S", bound="Spec")


class Spec(BaseModel):
    """Immutable and closed: an unknown key is an error, and so is NaN or Inf. Fields are keyword-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def walk(self) -> Iterator[Spec]:
        """Yield this spec and every spec nested in it, depth first."""
        yield self
        for name in type(self).model_fields:
            yield from _specs_in(getattr(self, name))

    def identity(self, digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return what makes this spec itself, for hashing: a file counts by content, never by its path."""
        out: dict[str, Any] = {"spec": f"{type(self).__module__}:{type(self).__qualname__}"}
        for name, field in type(self).model_fields.items():
            out[name] = _identity(getattr(self, name), digest, is_input=_marked(field, INPUT_MARK))
        return out

    def modules(self) -> Iterator[str]:
        """Yield the names of modules whose source decides what this spec does; walk() covers nested specs."""
        yield type(self).__module__
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is not None and _marked(field, IMPORT_MARK):
                for item in value if isinstance(value, (list, tuple)) else [value]:
                    yield str(item).split(":", 1)[0]


def _marked(field: FieldInfo, mark: str) -> bool:
    """Return whether a field's type has the mark: its own, or that of an option (`X | None`) or an item of it."""
    todo: list[Any] = [*field.metadata, field.annotation]
    while todo:
        found = todo.pop()
        if found is mark:
            return True
        todo += [*getattr(found, "__metadata__", ()), *get_args(found)]
    return False


def _specs_in(value: Any) -> Iterator[Spec]:
    if isinstance(value, Spec):
        yield from value.walk()
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _specs_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _specs_in(item)


def _identity(value: Any, digest: Callable[[Path], str], *, is_input: bool = False) -> Any:
    if isinstance(value, Spec):
        return value.identity(digest)
    if isinstance(value, Path):
        return {"content": digest(value)} if is_input else str(value)
    if isinstance(value, (list, tuple)):
        return [_identity(v, digest, is_input=is_input) for v in value]
    if isinstance(value, dict):
        return {str(k): _identity(v, digest, is_input=is_input) for k, v in value.items()}
    return value


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    path = Path(os.path.expandvars(path)).expanduser()
    if "$" in str(path):
        raise ValueError(f"must have its variables set; got path={str(path)!r}. Set them in the environment")
    if base is not None and not path.is_absolute():
        path = Path(base) / path
    if not path.exists():
        raise ValueError(f"must be a file or folder that exists; got path={str(path)!r}")
    return path


def _import_path(value: Any) -> Any:
    if isinstance(value, str):
        module, _, attribute = value.partition(":")
        if not module or not attribute:
            raise ValueError(f"must be 'module:attribute'; got {value!r}")
    return value


INPUT_MARK = "potstill-input-path"
IMPORT_MARK = "potstill-import-path"

InputPath = Annotated[Path, AfterValidator(_resolve), INPUT_MARK]
"""A file or folder that exists; relative to the recipe's folder, `${VARIABLES}` filled in; identified by content."""

ImportPath = Annotated[str, BeforeValidator(_import_path), IMPORT_MARK]
"""`module:attribute` of the user's; its module's source, transitively, is part of every key that uses it."""


class Registry(Generic[S]):
    """The kinds of one family. A module in the family's folder registers its Spec; the union is derived.

    Args:
        family: plural name, as in `potstill list <family>`; third parties add kinds by the entry-point group
            `potstill.<family>`.
    """

    def __init__(self, family: str) -> None:
        self.family = family
        self._specs: dict[str, type[S]] = {}

    def register(self, cls: type[S]) -> type[S]:
        """Add a Spec class whose `kind` is a one-valued Literal. Raises ValueError if the kind is taken."""
        kind = get_args(cls.model_fields["kind"].annotation)[0]
        if kind in self._specs:
            other = self._specs[kind]
            raise ValueError(
                f"{self.family} kind {kind!r} is defined twice: {other.__module__} and {cls.__module__}. Rename one."
            )
        self._specs[kind] = cls
        return cls

    def discover(self, package: str) -> None:
        """Import every public module (not the subpackages) of `package`, and the entry points of the family."""
        mod = importlib.import_module(package)
        for info in sorted(pkgutil.iter_modules(mod.__path__), key=lambda i: i.name):
            if not info.name.startswith("_") and not info.ispkg:
                importlib.import_module(f"{package}.{info.name}")
        for ep in entry_points(group=f"potstill.{self.family}"):
            ep.load()

    def kinds(self) -> list[str]:
        """Return the registered kinds, sorted."""
        return sorted(self._specs)

    def items(self) -> list[tuple[str, type[S]]]:
        """Return (kind, Spec class) pairs, sorted by kind."""
        return sorted(self._specs.items())

    def __getitem__(self, kind: str) -> type[S]:
        return self._specs[kind]

    def union(self) -> Any:
        """Return the union of all kinds, discriminated by `kind`, for use as a field's type."""
        members = tuple(self._specs[k] for k in self.kinds())
        if len(members) == 1:
            return members[0]
        return Annotated[Union[members], Field(discriminator="kind")]  # noqa: UP007 - built at run time
