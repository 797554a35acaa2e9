"""Everything a recipe may say is described where it is defined, and the reference page says the same."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from importlib import import_module
from typing import Any, get_args

import pytest
from _tree import ROOT, name, sources

from potstill.cli.show import FAMILIES
from potstill.core.spec import Registry, Spec


@functools.cache
def _registries() -> dict[str, Registry[Any]]:
    out = {}
    for family, where in FAMILIES.items():
        module, _, attribute = where.partition(":")
        out[family] = getattr(import_module(module), attribute)
    return out


def _every_spec() -> dict[str, type[Spec]]:
    """Return every Spec that a recipe can hold: of each registry, the root, and what their fields nest."""
    from potstill.recipe.model import Recipe

    todo: list[Any] = [Recipe, *(spec for r in _registries().values() for _, spec in r.items())]
    seen: dict[str, type[Spec]] = {}
    while todo:
        found = todo.pop()
        if isinstance(found, type) and issubclass(found, Spec):
            where = f"{found.__module__}.{found.__qualname__}"
            if where not in seen:
                seen[where] = found
                todo.extend(field.annotation for field in found.model_fields.values())
        else:
            todo.extend(get_args(found))
    return seen


def test_every_registry_holds_something() -> None:
    assert len(_registries()) >= 11
    empty = [family for family, registry in _registries().items() if not registry.kinds()]
    assert not empty, f"no kind registered in: {empty}"


def test_every_registry_of_the_package_can_be_listed() -> None:
    """A registry that `potstill list` does not know is in no reference page and in none of these tests."""
    made = sum(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Registry"
        for tree in sources().values()
        for node in ast.walk(tree)
    )
    assert made == len(FAMILIES)


@pytest.mark.parametrize("where", sorted(_every_spec()))
def test_every_field_is_described(where: str) -> None:
    spec = _every_spec()[where]
    assert (spec.__doc__ or "").strip(), f"{where}: needs a docstring"
    bare = [n for n, f in spec.model_fields.items() if n != "kind" and not (f.description or "").strip()]
    assert not bare, f"{where}: fields without a docstring line under them: {bare}"


@pytest.mark.parametrize("where", sorted(_every_spec()))
def test_every_spec_is_closed_and_frozen(where: str) -> None:
    config = _every_spec()[where].model_config
    assert config.get("extra") == "forbid"
    assert config.get("frozen") is True


def test_every_kind_is_spelt_alike() -> None:
    for family, registry in _registries().items():
        for kind in registry.kinds():
            assert kind == kind.lower(), f"{family} {kind}"
            assert "_" not in kind, f"{family} {kind}: words are joined by a dash"


def test_every_objective_names_its_paper() -> None:
    for kind, spec in _registries()["objectives"].items():
        assert spec.reference.strip(), kind


def test_the_reference_page_is_up_to_date() -> None:
    script = ROOT / "scripts" / "make_reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"docs/reference.md is not what the code says. Write it again: make docs\n{done.stderr}"
    )


def test_links_between_pages_lead_somewhere() -> None:
    import re

    missing = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                missing.append(f"{name(page)} -> {target}")
    assert not missing, missing
