"""Which values are rounded: groups, shortcuts, masks; layers in float; names; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import ExportError, PotstillError, StoreError
from potstill.models import registry
from potstill.quant.graph import trace
from potstill.quant.plan import make_plan
from potstill.quant.real import faked
from potstill.quant.spec import read
from potstill.testing.examples import example
from potstill.testing.modules import shortcut
from potstill.testing.quantised import rounding as rounding_of
from potstill.testing.quantised import trained


def test_places_of_a_small_model() -> None:
    """The convolution, its norm and its activation are one group; the sum has a range of its own; names are paths."""
    module, x = shortcut()
    plan = make_plan(trace(module, x), "int8_static_per_channel")
    assert list(plan.sites) == ["input", "act/relu", "second/conv2d", "/add", "/mean", "head/linear"]
    assert plan.paths() == ["first", "second", "head"]


def test_unrounded_the_graph_gives_what_the_module_gives() -> None:
    module, x = shortcut()
    fake = rounding_of(module, x)
    fake.only = set()
    with torch.no_grad():
        assert torch.allclose(fake(x), module(x), atol=1e-6)
        fake.only = None
        rounded = fake(x)
        assert 0 < float((rounded - module(x)).abs().max()) < 0.1


def test_numbers_on_disk_give_the_same_bits(tmp_path: Path) -> None:
    module, x = shortcut()
    fake = rounding_of(module, x)
    fake.numbers().write(tmp_path)
    spec = read(tmp_path)
    assert spec == fake.numbers()
    with torch.no_grad():
        assert torch.equal(faked(module, spec, x)(x), fake(x))


def test_a_layer_in_float_keeps_its_weights_and_is_rounded_where_integers_read_it() -> None:
    module, x = shortcut()
    plan = make_plan(trace(module, x), "int8_static_per_channel", ("first",))
    assert plan.paths() == ["second", "head"]
    assert "act/relu" in plan.sites and ("conv2d_1", "relu_") in plan.edges
    fake = rounding_of(module, x, float_layers=("first",))
    with torch.no_grad():
        whole = fake(x)
        fake.only = {"first.weight"}
        assert torch.allclose(fake(x), module(x), atol=1e-6)
        fake.only = None
        assert torch.equal(fake(x), whole)


def test_a_layer_that_is_not_there_is_named_with_the_nearest() -> None:
    module, x = shortcut()
    with pytest.raises(PotstillError, match=r"float_layers.*'secnd'.*Nearest: 'second'"):
        make_plan(trace(module, x), "int8_static_per_channel", ("secnd",))


def test_masks_stay_in_float() -> None:
    """-10,000 where a text has ended must not decide the range of anything that is rounded."""
    new, x = trained(example(registry["text-transformer"]), steps=2)
    fake = rounding_of(new.module, x)
    spans = {name: float(fake.range_of(name).high - fake.range_of(name).low) for name in fake.sites}
    assert max(spans.values()) < 1000, spans


def test_recurrent_layers_are_refused_with_what_to_use_instead() -> None:
    new, x = trained(example(registry["gru"]), steps=1)
    traced = trace(new.module, x[:2])
    with pytest.raises(ExportError, match=r"'gru'.*int8_dynamic.*float_layers: \[0\.gru\]"):
        make_plan(traced, "int8_static_per_channel")
    plan = make_plan(traced, "int8_static_per_channel", ("0.gru",))
    assert [layer.operator for layer in plan.layers.values()] == ["linear"]
    assert {layer.operator for layer in make_plan(traced, "int8_dynamic").constants.values()} == {"gru"}


class Flow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Writes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul(2).exp_()


@pytest.mark.parametrize(("module", "named"), [(Flow(), "float16"), (Writes(), "'exp_'")])
def test_what_cannot_be_traced_is_refused(module: nn.Module, named: str) -> None:
    with pytest.raises(ExportError, match=named):
        trace(module, torch.randn(2, 3))


def test_numbers_of_another_model_are_refused() -> None:
    module, x = shortcut()
    spec = rounding_of(module, x).numbers()
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 10)).eval()
    with pytest.raises(ExportError, match=r"quant\.json values"):
        faked(other, spec, x)


@pytest.mark.parametrize("damage", ["scale", "schema", "text"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    module, x = shortcut()
    rounding_of(module, x).numbers().write(tmp_path)
    path = tmp_path / "quant.json"
    value = json.loads(path.read_text())
    if damage == "scale":
        value["values"]["input"]["scale"] = 0.0
    elif damage == "schema":
        value["schema"] = 9
    else:
        value = [1]
    path.write_text(json.dumps(value))
    with pytest.raises(StoreError, match=r"quant\.json"):
        read(tmp_path)


def test_no_file_is_a_model_in_float(tmp_path: Path) -> None:
    assert read(tmp_path) is None
