"""YAML with the place of every value, so that an error can point at it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from potstill.core.errors import RecipeError

Path = tuple[str | int, ...]

_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MAX_DEPTH = 60
_MAX_VALUES = 100_000
"""Aliases of aliases make a short text into as many values as there are atoms."""


@dataclass
class Document:
    """A parsed file: plain values, and (line, column), both from 1, of each path."""

    file: str
    value: Any = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """Return `file:line:column` of a path, or of its nearest parent that is written down."""
        while path and path not in self.places:
            path = path[:-1]
        line, column = self.places.get(path, (1, 1))
        return f"{self.file}:{line}:{column}"

    def at_key(self, path: Path) -> str:
        """Return `file:line:column` of the key itself."""
        if path in self.keys:
            line, column = self.keys[path]
            return f"{self.file}:{line}:{column}"
        return self.where(path)


class _Loader(yaml.SafeLoader):
    """Safe loader in which 1e-3 is a number, as in YAML 1.2."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def parse(text: str, file: str) -> Document:
    """Parse one YAML document.

    Raises:
        RecipeError: it is not YAML, has a key twice, an alias loop, or is nested past 60 levels.
    """
    document = Document(file)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise RecipeError([f"{file}:1:1 must be a mapping with at least name, data, teacher, student and steps; "
                               "got an empty file. Write one: potstill init image-classification"])  # fmt: skip
        faults: list[str] = []
        document.value = _build(loader, node, (), document, faults, 0)
        if faults:
            raise RecipeError(faults)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise RecipeError([f"{file}:{place} must be YAML; got: {err.problem or err.context}."]) from err
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as err:
        if isinstance(err, RecipeError):
            raise
        raise RecipeError([f"{file}:1:1 must be YAML; got: {str(err).splitlines()[0]}."]) from err
    finally:
        if loader is not None:
            loader.dispose()
    return document


def _build(loader: Any, node: yaml.Node, path: Path, document: Document, faults: list[str], depth: int) -> Any:
    mark = (node.start_mark.line + 1, node.start_mark.column + 1)
    document.places[path] = mark
    if len(document.places) > _MAX_VALUES:
        raise RecipeError(
            [f"{document.file}:{mark[0]}:{mark[1]} must hold at most {_MAX_VALUES} values, aliases included."]
        )
    if depth > _MAX_DEPTH:
        raise RecipeError([f"{document.file}:{mark[0]}:{mark[1]} must be nested at most {_MAX_DEPTH} levels deep."])
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
        faults.append(f"{document.file}:{mark[0]}:{mark[1]} must be a plain mapping or list; got the tag {node.tag!r}.")
    if isinstance(node, yaml.MappingNode):
        out: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True) if isinstance(key_node, yaml.ScalarNode) else None
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key, str):
                faults.append(f"{document.file}:{place[0]}:{place[1]} a key must be text; got {key!r}.")
                continue
            if key in out:
                faults.append(f"{document.file}:{place[0]}:{place[1]} {key}: must be given once; got it twice.")
            document.keys[(*path, key)] = place
            out[key] = _build(loader, value_node, (*path, key), document, faults, depth + 1)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, v, (*path, i), document, faults, depth + 1) for i, v in enumerate(node.value)]
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, OverflowError) as err:
        faults.append(f"{document.file}:{mark[0]}:{mark[1]} must be a plain value; got {str(err).splitlines()[0]}.")
        return None
