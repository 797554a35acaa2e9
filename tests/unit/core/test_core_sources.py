"""What counts as the source of a stage: everything of potstill's and the user's own that it reaches, and no more."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from potstill.core import sources
from potstill.core.errors import PotstillError
from potstill.core.sources import digest_modules, modules_used, packages_used

Files = Callable[..., Path]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """files({"a.py": text}) -> folder on the search path; nothing of it is ever imported."""

    def write(content: dict[str, str], folder: Path = tmp_path / "user") -> Path:
        for name, text in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        monkeypatch.syspath_prepend(str(folder))
        sources.forget()
        return folder

    yield write
    sources.forget()


BOOM = "raise RuntimeError('imported')\n"


@pytest.mark.parametrize(
    ("content", "root", "used"),
    [
        ({"m_a.py": "import m_b", "m_b.py": "", "m_c.py": ""}, "m_a", {"m_a", "m_b"}),
        ({"m_a.py": "def f():\n    from m_b import x", "m_b.py": ""}, "m_a", {"m_a", "m_b"}),
        ({"m_a.py": "from m_p import b", "m_p/__init__.py": "", "m_p/b.py": ""}, "m_a", {"m_a", "m_p", "m_p.b"}),
        ({"m_p/__init__.py": "", "m_p/a.py": "from . import b", "m_p/b.py": ""}, "m_p.a", {"m_p.a", "m_p", "m_p.b"}),
        ({"m_p/__init__.py": "", "m_p/q/__init__.py": "", "m_p/q/a.py": "from ..b import x", "m_p/b.py": ""},
         "m_p.q.a", {"m_p.q.a", "m_p.b"}),
        ({"m_n/a.py": "from m_n.deep.b import x", "m_n/deep/b.py": ""}, "m_n.a", {"m_n.a", "m_n.deep.b"}),
        ({"m_n/a.py": "from m_n import b", "m_n/b.py": ""}, "m_n.a", {"m_n.a", "m_n.b"}),
        ({"m_a.py": "import m_a, m_b", "m_b.py": "import m_a"}, "m_a", {"m_a", "m_b"}),
        ({"m_a.py": "import json, numpy, absent_package"}, "m_a", {"m_a"}),
        ({"m_a.py": "def f():\n    import_module('m_b')", "m_b.py": ""}, "m_a", {"m_a"}),
    ],
    ids=["import", "inside", "package", "relative", "two-up", "no-init", "no-init-from", "loop", "foreign", "by-name"],
)  # fmt: skip
def test_what_is_reached(files: Files, content: dict[str, str], root: str, used: set[str]) -> None:
    files({name: text + "\n" + BOOM for name, text in content.items()})
    assert set(modules_used([root])) == used


def test_one_character_anywhere_is_another_digest(files: Files) -> None:
    content = {"m_a.py": "from m_n.b import x\n", "m_n/b.py": "import m_c\n", "m_c.py": "x = 1\n", "m_d.py": "y = 1\n"}
    files(content)
    first = digest_modules(["m_a"])
    for name in ("m_a.py", "m_n/b.py", "m_c.py"):
        files({**content, name: content[name] + "#"})
        assert digest_modules(["m_a"]) != first, name
    files({**content, "m_d.py": "y = 2\n"})
    assert digest_modules(["m_a"]) == first, "a module that it does not use"


def test_a_compiled_module_counts_by_its_bytes(files: Files) -> None:
    from importlib.machinery import EXTENSION_SUFFIXES

    name = "m_compiled" + EXTENSION_SUFFIXES[0]
    files({name: "\x7fELF one", "m_a.py": "import m_compiled\n"})
    assert set(modules_used(["m_a"])) == {"m_a", "m_compiled"}
    first = digest_modules(["m_a"])
    files({name: "\x7fELF two"})
    assert digest_modules(["m_a"]) != first


@pytest.mark.parametrize("text", ["def f(:\n", "x = 1\n\0\n"])
def test_a_source_that_is_no_python_is_named(files: Files, text: str) -> None:
    files({"m_a.py": text})
    with pytest.raises(PotstillError, match=r"m_a\.py:1: must be Python that can be read"):
        modules_used(["m_a"])


def test_installed_packages_count_by_version(files: Files, tmp_path: Path) -> None:
    files({"m_plugin/__init__.py": "import torch\n", "m_plugin/loss.py": ""}, tmp_path / "site-packages")
    files({"m_a.py": "import m_plugin\n\n\ndef f():\n    from scipy.special import expit\n"})
    assert set(modules_used(["m_a", "m_plugin.loss"])) == {"m_a"}
    assert packages_used(["m_a"]) == {"m_plugin", "scipy"}
    assert packages_used(["m_plugin.loss"]) == {"m_plugin"}, "a kind that was installed, not written here"


def test_a_family_does_not_reach_its_other_kinds() -> None:
    used = modules_used(["potstill.objectives.soft_label"])
    assert "potstill.objectives._base" in used and "potstill.schedules" in used
    assert "potstill.objectives.hard_label" not in used
    assert packages_used(["potstill.objectives.soft_label"]) == {"torch", "pydantic"}


def test_a_script_counts_as_a_whole(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the module `__main__` there is no specification to ask."""
    script = files({"m_a.py": "SIZE = 1\n", "script.py": "import m_a\n"}) / "script.py"
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert modules_used(["__main__"]) == {}, "a prompt has no file"
    main.__file__ = str(script)
    sources.forget()
    assert set(modules_used(["__main__"])) == {"__main__", "m_a"}
    first = digest_modules(["__main__"])
    files({"m_a.py": "SIZE = 2\n"})
    second = digest_modules(["__main__"])
    files({"script.py": "import m_a  # more\n"})
    assert len({first, second, digest_modules(["__main__"])}) == 3
