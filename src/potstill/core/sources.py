"""Digest of the source a stage runs: its modules and what they import, of potstill and of the user, transitively.

Found by reading import statements (also those inside functions), never by running anything. Installed packages are
left out: `packages_used` names them, so that their versions can be in the key instead.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from potstill.core.errors import PotstillError
from potstill.core.hashing import digest_json

_STDLIB = Path(sysconfig.get_paths()["stdlib"]).resolve()


@functools.lru_cache(maxsize=4096)
def _homes(top: str) -> tuple[Path, ...]:
    """Return the file of a top-level module or package, or the folders of one without `__init__`; imports nothing."""
    if top == "__main__":
        script = Path(getattr(sys.modules[top], "__file__", None) or "-")
        return (script.resolve(),) if script.is_file() else ()
    if top in sys.stdlib_module_names:
        return ()
    try:
        found = importlib.util.find_spec(top)  # of a submodule, it would import the package
    except (ImportError, ValueError, AttributeError):
        return ()
    if found is None:
        return ()
    if found.origin and found.has_location:
        return (Path(found.origin).resolve(),)
    return tuple(Path(folder).resolve() for folder in found.submodule_search_locations or ())


def _installed(home: Path) -> bool:
    return "site-packages" in home.parts or "dist-packages" in home.parts or _STDLIB in home.parents


@functools.lru_cache(maxsize=4096)
def _locate(module: str) -> Path | None:
    """Return the source file of a module if it is potstill's or the user's own, else None; imports nothing."""
    top, *rest = module.split(".")
    for home in _homes(top):
        if _installed(home) and top != "potstill":
            continue
        if not rest and home.is_file():
            return home
        if rest and (home.is_dir() or home.name == "__init__.py"):
            base = (home if home.is_dir() else home.parent).joinpath(*rest)
            for candidate in (base.with_name(base.name + ".py"), base / "__init__.py"):
                if candidate.is_file():
                    return candidate
    return None


@functools.lru_cache(maxsize=4096)
def _imports(module: str, path: Path) -> tuple[str, ...]:
    if path.suffix != ".py":  # compiled, or a script of another name: its bytes count, what it imports is not seen
        return ()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    if module == "__main__":
        package = sys.modules[module].__package__ or ""
    found: set[str] = set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as err:
        line = getattr(err, "lineno", None) or 1
        raise PotstillError(f"{path}:{line}: must be Python that can be read; got {getattr(err, 'msg', err)}.") from err
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names if _locate(f"{base}.{alias.name}"))
    return tuple(sorted(found))


def modules_used(roots: Iterable[str]) -> dict[str, Path]:
    """Return every own module reachable from `roots` by import statements, with its file.

    A package reached on the way to one of its modules counts by that module, not by its `__init__`, so that adding a
    kind to a family changes no key.
    """
    seen: dict[str, Path] = {}
    todo = list(roots)
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        path = _locate(module)
        if path is None:
            continue
        seen[module] = path
        todo.extend(_imports(module, path))
    return seen


def packages_used(roots: Iterable[str]) -> set[str]:
    """Return the top-level names of installed packages that `roots` are in or import, through own modules; the
    standard library and potstill are left out."""
    names = set(roots)
    for module, path in modules_used(names).items():
        names.update(_imports(module, path))
    tops = {name.partition(".")[0] for name in names} - {"potstill", "__main__"}
    return {top for top in tops if any(_installed(home) for home in _homes(top))}


def digest_modules(roots: Iterable[str]) -> str:
    """Return one digest over the bytes of every module that `roots` use."""
    used = modules_used(roots)
    return digest_json([[name, hashlib.sha256(used[name].read_bytes()).hexdigest()] for name in sorted(used)])


def forget() -> None:
    """Drop what was remembered of source files (for long-lived processes in which sources change)."""
    _homes.cache_clear()
    _locate.cache_clear()
    _imports.cache_clear()
