"""What a plain import loads: lists, schemas, plans and `--help` start at once because torch stays out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["torch", "onnx", "onnxruntime", "onnxscript", "sklearn", "pyarrow", "PIL", "scipy", "accelerate"]

MODULES = [
    "potstill",
    "potstill.cli",
    "potstill.cli.app",
    "potstill.data",
    "potstill.data.augment",
    "potstill.devices.judge",
    "potstill.devices.catalogue",
    "potstill.exporters",
    "potstill.labels",
    "potstill.labels.codecs",
    "potstill.models",
    "potstill.objectives",
    "potstill.pipeline",
    "potstill.pipeline.plan",
    "potstill.recipe",
    "potstill.recipe.load",
    "potstill.recipe.model",
    "potstill.report",
    "potstill.schedules",
    "potstill.stages",
    "potstill.tasks",
    "potstill.teachers",
]


def _loaded(statement: str) -> list[str]:
    code = f"import json, sys\n{statement}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_importing_everything_public_loads_nothing_heavy() -> None:
    assert _loaded("import " + ", ".join(MODULES)) == []


def test_the_check_above_can_fail() -> None:
    assert _loaded("import PIL") == ["PIL"]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["list", "objectives"], ["schema"]], ids=" ".join
)
def test_command_loads_nothing_heavy(arguments: list[str]) -> None:
    statement = (
        f"import contextlib, io\nfrom potstill.cli import main\nsys.argv = ['potstill', *{arguments!r}]\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out):\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, end.code\n"
        "assert len(out.getvalue()) > 5, 'printed nothing'"
    )
    assert _loaded(statement) == []
