"""Modules and factories of the user's own process: what they are named by, and that no training touches another's."""

from __future__ import annotations

import functools
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from potstill.core import sources
from potstill.models import ModelIO
from potstill.models.object import object_digest, object_model
from potstill.models.torch_module import TorchModuleSpec

IO = ModelIO((5,), (1, 8, 8))


class Scaled(nn.Module):
    """A setting that neither its repr nor its weights show."""

    def __init__(self, scale: float = 1.0, width: int = 3, act: Any = torch.relu) -> None:
        super().__init__()
        self.scale, self.act, self.layer = scale, act, nn.Linear(2, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(x)) * self.scale


class Other(Scaled):
    """The same, of another class."""


def by_width(width: int) -> Any:
    return lambda: Scaled(width=width)


def test_a_factory_is_what_it_makes() -> None:
    same = [lambda: Scaled(), Scaled, functools.partial(Scaled, 1.0), lambda: Scaled(width=3)]
    assert len({object_digest(f) for f in same}) == 1
    other = [
        lambda: Other(),
        by_width(4),
        by_width(5),
        lambda: Scaled(scale=2.0),
        functools.partial(Scaled, act=torch.tanh),
    ]
    assert len({object_digest(f) for f in [Scaled, *other]}) == 6
    before = torch.get_rng_state()
    object_digest(Scaled)
    assert torch.equal(torch.get_rng_state(), before), "naming a student must not move the generator"


def test_a_module_is_its_weights_and_settings_whatever_its_mode() -> None:
    module = Scaled()
    first = object_digest(module)
    assert object_digest(module.eval()) == first
    assert object_digest(nn.Sequential(module)) != first != object_digest(Scaled)
    module.scale = 2.0
    assert object_digest(module) != first


def test_the_source_of_every_class_inside_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from torch import nn\n\n\nclass Layer(nn.Module):\n    def forward(self, x):\n        return x + 1\n"
    (tmp_path / "layer_of_mine.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    import layer_of_mine  # type: ignore[import-not-found]

    module = nn.Sequential(layer_of_mine.Layer())
    first = object_digest(module)
    (tmp_path / "layer_of_mine.py").write_text(text.replace("+ 1", "+ 2"))
    sources.forget()
    assert object_digest(module) != first


SCRIPT = """
from torch import nn
from potstill.models.object import object_digest

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
    def forward(self, x):
        return helper(self.layer(x)) + 1

def helper(x):
    return x * 2

DIGESTS = [object_digest(Mine), object_digest(lambda: Mine()), object_digest(Mine())]
"""


@pytest.mark.parametrize("how", ["file", "prompt"])
def test_a_class_of_a_script_counts_by_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Each text is run as the module `__main__`, which has a file or, as in a notebook, has none."""

    def digests(text: str) -> list[str]:
        main = types.ModuleType("__main__")
        if how == "file":
            (tmp_path / "script.py").write_text(text)
            main.__file__ = str(tmp_path / "script.py")
        monkeypatch.setitem(sys.modules, "__main__", main)
        sources.forget()
        exec(compile(text, "script.py", "exec"), vars(main))
        found: list[str] = main.DIGESTS
        return found

    first, changed = digests(SCRIPT), digests(SCRIPT.replace("+ 1", "+ 3"))
    assert digests(SCRIPT)[:2] == first[:2] and first[0] == first[1] != first[2]
    assert not set(first) & set(changed)
    if how == "file":
        assert not set(first) & set(digests(SCRIPT.replace("x * 2", "x * 3")))
    sources.forget()


@pytest.mark.parametrize("attribute", ["SHARED", "give"])
def test_every_build_is_a_module_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
    """A recipe may name a module, or a function that gives the same one each time: seeds must not train it in turn."""
    (tmp_path / "shared_of_mine.py").write_text(
        "from torch import nn\nSHARED = nn.Linear(2, 3)\n\ndef give():\n    return SHARED\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = TorchModuleSpec(factory=f"shared_of_mine:{attribute}")
    shared = nn.Linear(2, 3)
    for make in (
        lambda: spec.build(IO),
        lambda: object_model(lambda: shared).build(IO),
        lambda: object_model(shared).build(IO),
    ):
        first = make()
        start = first.weight.detach().clone()
        with torch.no_grad():
            first.weight.add_(1)
        assert torch.equal(make().weight, start)
