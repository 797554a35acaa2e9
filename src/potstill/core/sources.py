"""Digest of the source a stage runs: its modules and what they import, of potstill and of the user, transitively.

Found by reading import statements (also those inside functions), never by running anything. Installed packages are
left out: their versions are in the key instead.
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

from potstill.core.hashing import digest_json

_STDLIB = Path(sysconfig.get_paths()["stdlib"]).resolve()


@functools.lru_cache(maxsize=4096)
def _locate(module: str) -> Path | None:
    """Return the source file of a module if it is potstill's or the user's own, else None; imports nothing."""
    top, *rest = module.split(".")
    if top in sys.stdlib_module_names:
        return None
    try:
        found = importlib.util.find_spec(top)  # of a submodule, it would import the package
    except (ImportError, ValueError, AttributeError):
        return None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        return None
    path = Path(found.origin).resolve()
    installed = "site-packages" in path.parts or "dist-packages" in path.parts or _STDLIB in path.parents
    if installed and top != "potstill":
        return None
    if not rest:
        return path
    base = path.parent.joinpath(*rest) if path.name == "__init__.py" else None
    if base is None:
        return None
    candidates = (base.with_name(base.name + ".py"), base / "__init__.py")
    return next((c for c in candidates if c.is_file()), None)


@functools.lru_cache(maxsize=4096)
def _imports(module: str, path: Path) -> tuple[str, ...]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
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


def digest_modules(roots: Iterable[str]) -> str:
    """Return one digest over the bytes of every module that `roots` use."""
    used = modules_used(roots)
    return digest_json([[name, hashlib.sha256(used[name].read_bytes()).hexdigest()] for name in sorted(used)])


def forget() -> None:
    """Drop what was remembered of source files (for long-lived processes in which sources change)."""
    _locate.cache_clear()
    _imports.cache_clear()
