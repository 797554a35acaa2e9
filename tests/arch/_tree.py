"""The source tree, parsed once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "potstill"


@functools.cache
def sources() -> dict[Path, ast.Module]:
    """Return every module of the package, parsed."""
    return {path: ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}


def name(path: Path) -> str:
    """Return a file's path from the root, for messages."""
    return path.relative_to(ROOT).as_posix()


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def aliases(tree: ast.Module) -> dict[str, str]:
    """Return local name -> full name, for every import of a module."""
    out: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for entry in node.names:
                out[entry.asname or entry.name.split(".")[0]] = entry.name if entry.asname else entry.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for entry in node.names:
                out[entry.asname or entry.name] = f"{node.module}.{entry.name}"
    return out


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield (full name, call) for every call whose name is a plain chain."""
    known = aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            head, _, rest = dotted(node.func).partition(".")
            full = known.get(head, head)
            yield (f"{full}.{rest}" if rest else full), node


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield (module, line) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for entry in node.names:
                yield entry.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
