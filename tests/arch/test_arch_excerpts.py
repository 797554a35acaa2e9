"""Code in the documentation is real: excerpts stand in the file they name, and runnable blocks run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from _tree import ROOT, SRC

BLOCK = re.compile(r"^```python(?P<run> run)?\n(?P<code>.*?)^```", re.M | re.S)


def _blocks(page: str) -> list[tuple[str, str, bool]]:
    """Return (text before, code, runnable) of every Python block of a page."""
    text = (ROOT / page).read_text()
    out, end = [], 0
    for match in BLOCK.finditer(text):
        out.append((text[end : match.start()], match["code"], bool(match["run"])))
        end = match.end()
    return out


def test_excerpts_of_contributing_stand_in_the_files_they_name() -> None:
    blocks = _blocks("CONTRIBUTING.md")
    assert len(blocks) >= 9
    folder = ""
    for before, code, _ in blocks:
        folder = re.findall(r"`src/potstill/([\w/]+)/`", before)[-1] if "`src/potstill/" in before else folder
        file = SRC / folder / re.findall(r"From\s+`(\w+\.py)`", before)[-1]
        there = {line.strip() for line in file.read_text().splitlines()}
        for line in code.splitlines():
            if "..." not in line and line.strip() not in there | {"", '"""'}:
                pytest.fail(f"CONTRIBUTING.md quotes {file.name}, which has no line {line.strip()!r}")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/how-to/own-training-loop.md"])
def test_python_blocks_use_names_that_potstill_has(page: str) -> None:
    import potstill as ps

    for _, code, _ in _blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ps":
                assert hasattr(ps, node.attr), f"{page}: ps.{node.attr}"


def test_a_store_of_ones_own_as_the_page_writes_it(tmp_path: Path) -> None:
    blocks = [code for _, code, run in _blocks("docs/how-to/own-training-loop.md") if run and "write_store" in code]
    assert len(blocks) == 1
    exec(compile(blocks[0], "own-training-loop.md", "exec"), {"OUT": str(tmp_path)})
    assert (tmp_path / "labels" / "manifest.json").exists()


@pytest.mark.parametrize(
    "page", ["README.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs" / "how-to").glob("*.md"))]
)
def test_commands_that_pages_show_exist(page: str) -> None:
    from typer.main import get_command

    from potstill.cli.app import app

    root = get_command(app)
    for line in re.findall(r"^    potstill ([^#\n]+)", (ROOT / page).read_text(), re.M):
        words = line.split()
        command = root.commands[words[0]]  # type: ignore[attr-defined]
        if words[1:] and words[1] in getattr(command, "commands", {}):
            command = command.commands[words[1]]
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        asked = {w for w in words if w.startswith("--")}
        assert asked <= known, f"{page}: potstill {line}: {asked - known}"


YAML_BLOCK = re.compile(r"(?:^    .*\n|^\n)+", re.M)


def test_recipe_fragments_name_fields_that_exist() -> None:
    import textwrap

    import yaml

    from potstill.data import registry as data
    from potstill.teachers import registry as teachers

    seen = 0
    for page in (ROOT / "docs" / "how-to").glob("*.md"):
        for block in YAML_BLOCK.findall(page.read_text()):
            text = textwrap.dedent(block).strip()
            if not re.match(r"(teacher|data):\n", text):
                continue
            for section, body in yaml.safe_load(text).items():
                spec = (teachers if section == "teacher" else data)[body["kind"]]
                unknown = set(body) - set(spec.model_fields)
                assert not unknown, f"{page.name}: {section} of kind {body['kind']} has no field {unknown}"
                seen += 1
    assert seen >= 3
