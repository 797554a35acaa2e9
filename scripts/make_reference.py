"""Write docs/reference.md from the registries: every kind with its fields, types, defaults and descriptions.

.venv/bin/python scripts/make_reference.py            # write it
.venv/bin/python scripts/make_reference.py --check    # exit 1 if the page is out of date
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from potstill.cli.show import FAMILIES
from potstill.core.spec import IMPORT_MARK, INPUT_MARK, Registry, Spec

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"

HEAD = """\
# Reference

Written by `make docs` from the code; do not edit. The same, shorter, on the terminal: `potstill list FAMILY`; for
editors: `potstill schema`.

A section of a recipe that has a `kind` may be any kind of its family. An unknown field is an error. Paths are relative
to the recipe's folder. Where a number or a schedule is allowed, a plain number is a constant.

"""


class Page:
    """Renders specs; remembers which of them belong to a family, so that types can link to it."""

    def __init__(self) -> None:
        self.families: dict[str, Registry[Any]] = {}
        for family, where in FAMILIES.items():
            module, _, attribute = where.partition(":")
            self.families[family] = getattr(import_module(module), attribute)
        self.home = {spec: family for family, registry in self.families.items() for _, spec in registry.items()}
        self.shared: dict[str, type[Spec]] = {}

    def text(self) -> str:
        """Return the whole page."""
        from potstill.recipe.model import Recipe

        parts = [HEAD, "## The recipe\n\n", _doc(Recipe), self.table(Recipe)]
        for family, registry in self.families.items():
            if family == "stages":
                continue  # what a run is made of; a recipe never names one
            parts.append(f"## {family}\n\n")
            for kind, spec in registry.items():
                parts += [f"### {kind}\n\n", _doc(spec), self.table(spec)]
        parts.append("## Sections shared by several kinds\n\n")
        done: set[str] = set()
        while todo := sorted(set(self.shared) - done):
            for name in todo:
                done.add(name)
                parts += [f"### {name}\n\n", _doc(self.shared[name]), self.table(self.shared[name])]
        parts += ["## Stages\n\nWhat a run is made of, as `potstill plan` shows it.\n\n", self.stages()]
        parts += ["## Commands\n\n", *commands()]
        return "".join(parts).rstrip() + "\n"

    def table(self, spec: type[Spec]) -> str:
        """Return the fields of a spec as a table, `kind` left out."""
        rows = [
            f"| `{name}` | {self.type(f.annotation, f.metadata)} | {_default(f)} | {_plain(f.description)} |\n"
            for name, f in spec.model_fields.items()
            if name != "kind"
        ]
        if not rows:
            return "No fields.\n\n"
        return "| field | type | default | what it is |\n|---|---|---|---|\n" + "".join(rows) + "\n"

    def type(self, annotation: Any, metadata: Any = ()) -> str:
        """Return a type in words."""
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.type(args[0], args[1:])
        if origin in (Union, types.UnionType):
            return self._union(args, metadata)
        if origin is Literal:
            return " or ".join(f"`{a}`" for a in args)
        if origin in (tuple, list):
            inner = [a for a in args if a is not Ellipsis]
            names = list(dict.fromkeys(self.type(a) for a in inner))
            exact = f"{len(inner)} " if origin is tuple and Ellipsis not in args else ""
            return f"list of {exact}{', '.join(names)}{_bounds(metadata)}"
        if origin is dict:
            return f"map of {self.type(args[0])} to {self.type(args[1])}"
        if inspect.isclass(annotation) and issubclass(annotation, Spec):
            return self._spec(annotation)
        if any(m == IMPORT_MARK for m in metadata):
            return "`module:attribute`"
        if any(m == INPUT_MARK for m in metadata):
            return "path that exists"
        plain = {
            int: "whole number",
            float: "number",
            str: "text",
            bool: "true or false",
            Path: "path",
            Any: "anything",
        }
        return plain.get(annotation, getattr(annotation, "__name__", str(annotation))) + _bounds(metadata)

    def _union(self, args: tuple[Any, ...], metadata: Any) -> str:
        homes = {self.home.get(a) for a in args}
        if len(homes) == 1 and None not in homes:
            return self._spec(args[0])
        return " or ".join("nothing" if a is type(None) else self.type(a, metadata) for a in args)

    def _spec(self, spec: type[Spec]) -> str:
        if spec in self.home:
            return f"one of [{self.home[spec]}](#{self.home[spec]})"
        self.shared[spec.__name__] = spec
        return f"[{spec.__name__}](#{spec.__name__.lower()})"

    def stages(self) -> str:
        """Return what each stage reads and gives."""
        rows = []
        for kind, spec in self.families["stages"].items():
            reads = ", ".join(n.replace("?", " (if there is one)") for n in spec.requires) or "nothing"
            rows.append(f"| `{kind}` | {_plain(_first(spec))} | {reads} | {spec.provides} |\n")
        return "| stage | what it does | reads | gives |\n|---|---|---|---|\n" + "".join(rows) + "\n"


def commands() -> Iterator[str]:
    """Yield a section for every command."""
    from typer.main import get_command

    from potstill.cli.app import app

    yield from _command("potstill", get_command(app))


def _command(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        if command.invoke_without_command:
            yield _section(name, command)
        for child in command.commands.values():
            yield from _command(f"{name} {child.name}", child)
        return
    yield _section(name, command)


def _section(name: str, command: Any) -> str:
    """Return what a command is, and its arguments and options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([name, *(p.name.upper() for p in arguments)])
    text = f"### {name}\n\n`{usage}`\n\n{command.help}\n\n"
    rows = [f"| `{p.name.upper()}` | {_plain(p.help)} |\n" for p in arguments]
    rows += [f"| `{', '.join([*p.opts, *p.secondary_opts])}` | {_plain(p.help)}{_given(p)} |\n" for p in options]
    return text + ("| argument | what it is |\n|---|---|\n" + "".join(rows) + "\n" if rows else "")


def _given(option: Any) -> str:
    value = option.default
    shown = value is not None and not isinstance(value, bool) and not callable(value) and str(value) not in ("", "[]")
    return f" Default: `{value}`." if shown else ""


def _doc(spec: type[Spec]) -> str:
    text = inspect.cleandoc(spec.__doc__ or "") + "\n\n"
    reference = getattr(spec, "reference", "")
    return text + (f"Reference: {reference}.\n\n" if reference else "")


def _first(spec: type[Spec]) -> str:
    return inspect.cleandoc(spec.__doc__ or "").split("\n")[0]


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Spec):
        kind = getattr(value, "kind", None)
        return f"`{kind}`" if kind else "its defaults"
    if isinstance(value, (tuple, list)):
        return f"`[{', '.join(str(getattr(v, 'kind', v)) for v in value)}]`"
    words = {None: "nothing", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else f"`{value}`" if value != "" else "empty"


def _bounds(metadata: Any) -> str:
    signs = {
        "ge": "≥",
        "gt": ">",
        "le": "≤",
        "lt": "<",
        "min_length": "at least",
        "max_length": "at most",
        "pattern": "like",
    }
    found = []
    for entry in metadata:
        for inner in entry.metadata if isinstance(entry, FieldInfo) else [entry]:
            for name, sign in signs.items():
                value = getattr(inner, name, None)
                if value is not None and not callable(value):
                    found.append(f"{sign} {f'`{value}`' if name == 'pattern' else value}")
    return f" {', '.join(found)}" if found else ""


def main() -> int:
    """Write the page, or with --check compare it."""
    text = Page().text()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text() == text else 1
    PAGE.write_text(text)
    print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
