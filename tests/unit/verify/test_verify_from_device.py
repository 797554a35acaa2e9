"""What comes back from a device: the measure that it is held to, and the runner that goes there alone."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from potstill.core.errors import ParityError
from potstill.verify import device_runner
from potstill.verify.from_device import agreement

HERE = Path("result.json")
RUNNER = Path(device_runner.__file__)


def rows(num: int = 400) -> np.ndarray:
    """Return [num, 4] answers of a model in codes of 0.5, its top class ahead by 4 codes."""
    out = np.zeros((num, 4), np.float32)
    out[np.arange(num), np.arange(num) % 4] = 2.0
    return out


def test_floats_are_held_to_the_exports_tolerance() -> None:
    expected = rows()
    found = agreement(HERE, expected + 1.9e-4, expected, 1e-4, None, classes=True)
    assert found["max_abs_diff"] == pytest.approx(1.9e-4, rel=1e-3) and found["top1_agreement"] == 1.0
    off = expected.copy()
    off[17] += 2.1e-4
    with pytest.raises(ParityError, match=r"result\.json.*in row 17, over 0\.0002"):
        agreement(HERE, off, expected, 1e-4, None, classes=True)


def test_codes_may_be_one_off_and_one_in_a_hundred_more() -> None:
    expected = rows()
    near = expected.copy()
    near[::2] += 0.5
    found = agreement(HERE, near, expected, 1.0, 0.5, classes=True)
    assert found["codes_equal"] == 0.5 and found["codes_max"] == 1.0
    near[:4] += 1.0
    assert agreement(HERE, near, expected, 1.0, 0.5, classes=True)["codes_max"] == 3.0
    near[:20] += 1.0
    with pytest.raises(ParityError, match="codes within one"):
        agreement(HERE, near, expected, 1.0, 0.5, classes=True)


def test_another_top_class_counts_where_the_answer_is_clear() -> None:
    expected, given = rows(), rows()
    expected[:100] = [0.5, 0, 0, 0]  # a code apart: either may be first
    given[:100] = [0, 0.5, 0, 0]
    assert agreement(HERE, given, expected, 1.0, 0.5, classes=True)["top1_agreement"] == 0.75
    given[100:104] = np.roll(given[100:104], 1, axis=1)
    with pytest.raises(ParityError, match=r"98\.7% of 300 clear rows"):
        agreement(HERE, given, expected, 1.0, 0.5, classes=True)
    with pytest.raises(ParityError, match=r"must be \[400, 4\]"):
        agreement(HERE, expected[:3], expected, 1.0, 0.5, classes=True)


def test_the_runner_needs_nothing_but_numpy_and_old_syntax() -> None:
    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 9))
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names <= {*sys.stdlib_module_names, "numpy"}
    assert not any(isinstance(n, ast.Match) for n in ast.walk(tree))


@pytest.mark.parametrize("how", ["changed", "missing", "elsewhere", "no manifest"])
def test_the_runner_refuses_a_bundle_that_is_not_whole(how: str, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_bytes(RUNNER.read_bytes())
    name = "../outside" if how == "elsewhere" else "model.onnx"
    manifest = {"files": {name: {"sha256": device_runner.sha256(b"model")}}, "format": "onnx"}
    if how != "missing":
        (tmp_path / name).write_bytes(b"model" if how != "changed" else b"other")
    if how != "no manifest":
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py")], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "Copy the whole folder again" in done.stderr
    assert not (tmp_path / "result.json").exists()
