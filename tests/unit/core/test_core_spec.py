"""Specs: closed, frozen, and identified by content; the registry: one file, one kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from potstill.core.hashing import StatCache, digest_json
from potstill.core.spec import ImportPath, InputPath, Registry, Spec


class Leaf(Spec):
    """Files and imports in every position that a field may have."""

    one: InputPath
    """One."""
    perhaps: InputPath | None = None
    """Optional."""
    many: tuple[InputPath, ...] = ()
    """A list."""
    named: dict[str, InputPath] = Field(default_factory=dict)
    """A map."""
    plain: Path | None = None
    """A path that is no input: its text counts."""
    factory: ImportPath | None = None
    """An import."""
    factories: tuple[ImportPath, ...] = ()
    """Several."""
    number: float = 1.0
    """A number."""


class Tree(Spec):
    """Specs in every position."""

    leaf: Leaf
    """One."""
    leaves: tuple[Leaf, ...] = ()
    """A list."""
    by_name: dict[str, Leaf] = Field(default_factory=dict)
    """A map."""


def identity(spec: Spec) -> str:
    return digest_json(spec.identity(StatCache().digest))


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("field", ["one", "perhaps", "many", "named"])
def test_a_file_counts_by_content_and_never_by_name(file: Any, field: str) -> None:
    wrap = {"many": lambda p: (p,), "named": lambda p: {"x": p}}.get(field, lambda p: p)
    a, twin, b = file("a", "same"), file("twin", "same"), file("b", "else")
    base = {"one": a}
    first = identity(Leaf(**{**base, field: wrap(a)}))
    assert identity(Leaf(**{**base, field: wrap(twin)})) == first
    assert identity(Leaf(**{**base, field: wrap(b)})) != first
    nested = Tree(leaf=Leaf(**base), leaves=(Leaf(**{**base, field: wrap(a)}),), by_name={"n": Leaf(**base)})
    moved = Tree(leaf=Leaf(**base), leaves=(Leaf(**{**base, field: wrap(twin)}),), by_name={"n": Leaf(one=twin)})
    assert identity(nested) == identity(moved)
    assert identity(nested) != identity(Tree(leaf=Leaf(**base), leaves=(Leaf(**{**base, field: wrap(b)}),), by_name=nested.by_name))  # fmt: skip
    a.write_text("new!")
    assert identity(Leaf(**{**base, field: wrap(a)})) != first


def test_a_folder_counts_by_what_is_in_it(tmp_path: Path, file: Any) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("1")
    assert identity(Leaf(one=tmp_path / "x")) == identity(Leaf(one=tmp_path / "y"))
    (tmp_path / "y" / "g").write_text("")
    assert identity(Leaf(one=tmp_path / "x")) != identity(Leaf(one=tmp_path / "y"))


def test_every_other_field_counts(file: Any) -> None:
    a = file("a", "same")
    specs = [Leaf(one=a), Leaf(one=a, number=2), Leaf(one=a, plain=Path("p")), Leaf(one=a, plain=Path("q")),
             Leaf(one=a, factory="m:f"), Leaf(one=a, many=(a,)), Leaf(one=a, many=(a, a))]  # fmt: skip
    assert len({identity(s) for s in specs}) == len(specs)
    assert identity(Leaf(one=a, number=1)) == identity(Leaf(one=a, number=1.0))

    class Other(Leaf):
        """Of another name."""

    assert identity(Other(one=a)) != identity(Leaf(one=a))


def test_modules_are_its_own_and_those_it_names(file: Any) -> None:
    leaf = Leaf(one=file("a", ""), factory="mine.net:make", factories=("x.y:f", "z:g.h"))
    assert list(leaf.modules()) == [__name__, "mine.net", "x.y", "z"]
    tree = Tree(leaf=leaf, leaves=(leaf,), by_name={"n": leaf})
    assert [type(s).__name__ for s in tree.walk()] == ["Tree", "Leaf", "Leaf", "Leaf"]


def test_paths_are_relative_to_the_recipe_and_variables_are_filled_in(
    tmp_path: Path, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file("a", "")

    def one(path: str) -> Path:
        return Leaf.model_validate({"one": path}, context={"base": tmp_path}).one

    monkeypatch.setenv("FOLDER_FOR_TEST", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert one("a") == one("${FOLDER_FOR_TEST}/a") == one("~/a") == one(str(tmp_path / "a")) == tmp_path / "a"
    with pytest.raises(ValidationError, match="must have its variables set"):
        one("${NO_SUCH_VARIABLE_FOR_TEST}/a")
    with pytest.raises(ValidationError, match="must be a file or folder that exists"):
        one("absent")
    for bad in ("module", ":f", "m:"):
        with pytest.raises(ValidationError, match="must be 'module:attribute'"):
            Leaf(one=tmp_path, factory=bad)


@pytest.mark.parametrize("fields", [{"number": float("nan")}, {"number": float("inf")}, {"numbr": 1}, {"number": "x"}])
def test_specs_are_closed(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Leaf(**{"one": tmp_path, **fields})
    with pytest.raises(ValidationError, match="frozen"):
        Leaf(one=tmp_path).number = 2  # type: ignore[misc]


class Kind(Spec):
    """Base of a family."""

    kind: str


def kinds(*names: str) -> Registry[Kind]:
    registry: Registry[Kind] = Registry("things")
    for name in names:
        registry.register(type(name, (Kind,), {"__annotations__": {"kind": Literal[name]}, "kind": name, "__module__": __name__}))  # fmt: skip
    return registry


def test_a_kind_is_taken_once() -> None:
    registry = kinds("b", "a")
    assert registry.kinds() == ["a", "b"] and registry["a"].model_fields["kind"].default == "a"
    with pytest.raises(ValueError, match=f"things kind 'a' is defined twice: {__name__} and {__name__}"):
        registry.register(registry["a"])


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_the_union_knows_every_kind(names: tuple[str, ...]) -> None:
    registry = kinds(*names)
    adapter: TypeAdapter[Kind] = TypeAdapter(registry.union())
    for name in names:
        assert type(adapter.validate_python({"kind": name})) is registry[name]
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "z"})


def test_discovery_imports_public_modules_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "family_for_test"
    (package / "tools").mkdir(parents=True)
    for name, text in {
        "__init__": "SEEN = []\n",
        "one": "",
        "two": "",
        "_hidden": "",
        "tools/__init__": "",
        "tools/x": "",
    }.items():
        mark = f"from family_for_test import SEEN\nSEEN.append({name!r})\n" if name != "__init__" else text
        (package / f"{name}.py").write_text(mark)
    monkeypatch.syspath_prepend(str(tmp_path))
    kinds().discover("family_for_test")
    assert sys.modules["family_for_test"].SEEN == ["one", "two"]


def test_an_annotated_alias_keeps_its_mark(tmp_path: Path) -> None:
    class Wrapped(Spec):
        """An alias around an alias."""

        path: Annotated[InputPath, Field(description="of the file")]
        """Told twice."""

    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert identity(Wrapped(path=tmp_path / "a")) == identity(Wrapped(path=tmp_path / "b"))
