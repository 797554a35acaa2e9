"""One new file is one new kind: in the lists, the schema, recipes and contracts, with nothing else edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import potstill
from potstill.core.spec import Spec
from potstill.testing import CONTRACTS, check_kind

OBJECTIVE = '''
"""The mean absolute difference of logits."""

from typing import ClassVar, Literal

from pydantic import Field

from potstill.core.errors import StoreError
from potstill.objectives._base import LossInputs, Needs, ObjectiveSpec, registry


@registry.register
class LogitMaeSpec(ObjectiveSpec):
    """Absolute distance between logits, summed over classes."""

    reference: ClassVar[str] = "nobody"
    dense: ClassVar[bool] = True
    kind: Literal["logit-mae"] = "logit-mae"
    scale: float = Field(gt=0, examples=[0.5])
    """Multiplier."""

    def needs(self) -> Needs:
        return Needs(teacher="logits", temperatures=(1.0,))

    def loss(self, x: LossInputs):
        if x.teacher is None:
            raise StoreError("logit-mae: needs a teacher")
        return self.scale * (x.logits_BK - x.teacher.logits().detach()).abs().sum(dim=1)
'''
RECIPE = """
name: mine
data: {kind: digits}
teacher: {kind: train, model: {kind: ds-cnn}}
student: {kind: ds-cnn, width: 4}
steps: [{kind: distill, objectives: [{kind: logit-mae, scale: 2}]}]
"""
LOOK = """
import contextlib, io, json, sys
from pathlib import Path
from potstill.cli import main
from potstill.core.hashing import StatCache
from potstill.pipeline.graph import build
from potstill.recipe.load import from_text, load

def said(*words):
    sys.argv = ["potstill", *words]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            assert not end.code
    return json.loads(out.getvalue())

recipe = load(Path("mine.yaml"))
try:
    from_text(Path("mine.yaml").read_text().replace("logit-mae", "logit-maee"), "mine.yaml", Path.cwd())
except Exception as err:
    fault = str(err)
node = build(recipe, StatCache()).named("steps/student")[0]
found = {
    "listed": said("list", "objectives", "--json"), "schema": sorted(said("schema")["$defs"]), "fault": fault,
    "objective": recipe.steps[0].objectives[0].model_dump(), "sources": sorted(node.parts["sources"]),
    "versions": node.parts["versions"], "torch": "torch" in sys.modules,
}
if Path("plugin").exists():
    from potstill.testing import CONTRACTS, check_kind
    check_kind("objectives", CONTRACTS["objectives"][0]["logit-mae"])
print(json.dumps(found))
"""


def look(folder: Path, *search: Path) -> dict[str, Any]:
    (folder / "mine.yaml").write_text(RECIPE)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search)), "POTSTILL_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_found(found: dict[str, Any]) -> None:
    (listed,) = [entry for entry in found["listed"] if entry["kind"] == "logit-mae"]
    assert (
        listed["summary"] == "Absolute distance between logits, summed over classes."
        and listed["reference"] == "nobody"
    )
    assert "LogitMaeSpec" in found["schema"]
    assert found["objective"] == {"kind": "logit-mae", "weight": 1.0, "scale": 2.0}
    assert "mine.yaml:6:38 steps[0].objectives[0]" in found["fault"] and "Nearest: 'logit-mae'" in found["fault"]
    assert not found["torch"], "a list, a schema, a recipe and its keys must load no torch"


def test_a_file_dropped_into_its_folder_is_a_kind(tmp_path: Path) -> None:
    package = Path(potstill.__file__).parent
    shutil.copytree(package, tmp_path / "src" / "potstill", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src" / "potstill" / "objectives" / "logit_mae.py").write_text(OBJECTIVE)
    found = look(tmp_path, tmp_path / "src")
    check_found(found)
    assert "potstill.objectives.logit_mae" in found["sources"]


def test_an_installed_package_adds_kinds_by_entry_point(tmp_path: Path) -> None:
    """And they keep the contracts, and the package's version is part of every key that uses them."""
    home = tmp_path / "site-packages"
    (home / "mine_plugin-3.4.dist-info").mkdir(parents=True)
    (home / "mine_plugin-3.4.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mine-plugin\nVersion: 3.4\n"
    )
    (home / "mine_plugin-3.4.dist-info" / "entry_points.txt").write_text(
        "[potstill.objectives]\nmae = mine_plugin.loss\n"
    )
    (home / "mine_plugin").mkdir()
    (home / "mine_plugin" / "__init__.py").write_text("")
    (home / "mine_plugin" / "loss.py").write_text(OBJECTIVE)
    (tmp_path / "plugin").touch()
    found = look(tmp_path, home)
    check_found(found)
    assert found["versions"]["mine_plugin"] == "3.4"


def test_a_kind_without_an_example_fails_with_what_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    from typing import Literal

    from potstill.data.augment import AugmentSpec

    class Turned(AugmentSpec):
        """Needs a number."""

        kind: Literal["turned"] = "turned"
        turns: int
        """How often."""

        def apply(self, batch: Any, draw: Any) -> Any:
            return batch

    def check(cls: type[Spec]) -> None:
        monkeypatch.setitem(CONTRACTS["augmentations"][0]._specs, "turned", cls)
        check_kind("augmentations", cls)

    with pytest.raises(
        AssertionError, match=r"Turned: must have an example.*turns: \.\.\. = Field\(examples=\[\.\.\.\]\)"
    ):
        check(Turned)
