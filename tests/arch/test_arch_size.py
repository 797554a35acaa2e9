"""Files and functions stay small enough to read. These bounds only tighten."""

from __future__ import annotations

import ast

import pytest
from _tree import SRC, name, sources

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def test_files_are_short() -> None:
    files = [p for p in SRC.rglob("*") if p.suffix in (".py", ".html", ".css", ".js") and p.is_file()]
    assert len(files) > 50
    found = {name(p): n for p in files if (n := len(p.read_text().splitlines())) > MAX_FILE_LINES}
    assert not found, f"over {MAX_FILE_LINES} lines: {found}"


def test_functions_are_short() -> None:
    found = {}
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)
                if length > MAX_FUNCTION_LINES:
                    found[f"{name(path)}:{node.lineno} {node.name}"] = length
    assert not found, f"over {MAX_FUNCTION_LINES} lines without the docstring: {found}"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or 0) - first.lineno + 1


@pytest.mark.parametrize("folder", sorted(p.parent for p in SRC.rglob("__init__.py")), ids=lambda p: p.name)
def test_every_package_says_what_lives_there(folder: object) -> None:
    from pathlib import Path

    init = Path(str(folder)) / "__init__.py"
    text = ast.get_docstring(sources()[init])
    assert text, f"{name(init)}: a folder opens with a docstring saying what lives there"
    assert len(text) > 30, f"{name(init)}: the docstring says too little: {text!r}"


def test_every_folder_of_modules_is_a_package() -> None:
    loose = {name(p.parent) for p in sources() if not (p.parent / "__init__.py").exists()}
    assert not loose, f"without __init__.py: {loose}"
