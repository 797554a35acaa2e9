"""What can be cut, what is refused, by what it is ranked, and targets that cannot be met."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from _prune_parts import Chomped, Dense, Fixed, Mha, Padded, Recurrent, family, seeded
from torch import Tensor, nn

import potstill as ps
from potstill.compress import _planner
from potstill.compress._layers import cut
from potstill.compress._planner import Planner
from potstill.compress._select import nearest_width
from potstill.compress._settings import PruneSettings
from potstill.compress.prune import prune, recalibrate
from potstill.core.errors import BudgetError, PotstillError


def rows(*shape: int) -> Tensor:
    return torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))


def simple() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3),
    ).eval()  # fmt: skip


IMAGE = rows(1, 8, 8)


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_units_are_cut_in_every_gate_layer_and_direction(cell: type[nn.RNNBase]) -> None:
    whole = seeded(Recurrent, cell)
    module, plan = ps.prune(whole, rows(4, 9), ratio=0.5, round_to=2, scope="per-layer")
    part: Any = module.cell
    assert part.hidden_size == 8 and part.input_size == 8 and module.head.in_features == 32  # type: ignore[union-attr]
    assert plan.after.params < 0.4 * plan.before.params and "cell" not in plan.whole
    optimizer = torch.optim.SGD(module.train().parameters(), 0.1)
    module(rows(4, 9)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(("cls", "shape"), [(Chomped, (2, 20)), (Dense, (1, 8, 8))])
def test_channels_are_followed_through_slices_flattening_and_concatenation(cls: Any, shape: tuple[int, ...]) -> None:
    plan = ps.plan_pruning(seeded(cls), rows(*shape), ratio=0.5, round_to=2)
    assert list(plan.whole) == ["head"]
    assert all(entry.after < entry.before for entry in plan.layers if entry.layer != "head")


def test_a_zero_padded_shortcut_of_ones_own_is_refused_by_name() -> None:
    plan = ps.plan_pruning(seeded(Padded), IMAGE, ratio=0.5)
    assert "zero padding" in plan.whole["a"] and "zero padding" in plan.whole["c"]
    assert [e.layer for e in plan.layers if e.after < e.before] == ["b"]


def test_pytorchs_own_attention_is_refused_by_name() -> None:
    module, plan = ps.prune(seeded(Mha), rows(5, 4), ratio=0.5)
    assert "nn.MultiheadAttention is not cut; write it with" in plan.whole["embed"]
    assert [e.layer for e in plan.layers if e.after < e.before] == ["up"] and module.embed.out_features == 16  # type: ignore[union-attr]


def test_a_width_written_into_the_code_is_refused_by_name() -> None:
    plan = ps.plan_pruning(seeded(Fixed), IMAGE, ratio=0.5)
    assert plan.whole["a"].startswith("with fewer channels its model stops: shape '[-1, 16, 6, 6]'")
    assert [e.layer for e in plan.layers if e.after < e.before] == ["b"]


def test_a_module_that_fails_is_named() -> None:
    broken = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(9, 8, 3))
    with pytest.raises(PotstillError, match=r"must run on its example to be traced; got RuntimeError in '1'"):
        ps.plan_pruning(broken, IMAGE, ratio=0.5)


def test_where_nothing_can_go_every_layer_says_why() -> None:
    with pytest.raises(PotstillError) as err:
        ps.plan_pruning(simple(), IMAGE, ratio=0.5, round_to=32)
    assert "must find a layer that can be cut; got none" in str(err.value)
    assert (
        "'0': no wider than round_to=32; '3': no wider than round_to=32; '8': its channels are the model's output"
        in str(err.value)
    )


def test_a_ratio_that_rounds_to_nothing_is_an_error() -> None:
    with pytest.raises(
        PotstillError, match=r"must cut something; got ratio=0\.05, after which all 3,795 parameters are left"
    ):
        ps.plan_pruning(simple(), IMAGE, ratio=0.05, scope="per-layer")


def test_protected_layers_keep_their_width() -> None:
    _, plan = ps.prune(simple(), IMAGE, ratio=0.5, protect=("3",))
    assert plan.whole["3"] == "protected (3)" and [e.after for e in plan.layers] == [8, 24, 3]
    with pytest.raises(PotstillError, match=r"prune.protect: must name modules of the model; got '33'. Nearest: '3'"):
        ps.plan_pruning(simple(), IMAGE, ratio=0.5, protect=("33",))
    with pytest.raises(
        PotstillError, match=r"must name layers that have channels of their own; got '2'\..*These are: 0, 3, 8"
    ):
        ps.plan_pruning(simple(), IMAGE, ratio=0.5, protect=("2",))
    assert ps.plan_pruning(simple(), IMAGE, ratio=0.5, protect=("1",)).whole["0"] == "protected (1)"


@pytest.mark.parametrize(("measure", "share"), [("params", 0.5), ("macs", 0.4), ("bytes", 0.6)])
@pytest.mark.parametrize("scope", ["global", "per-layer"])
def test_a_budget_is_kept_and_used(measure: str, share: float, scope: str) -> None:
    plan = ps.plan_pruning(simple(), IMAGE, budget={measure: share}, round_to=1, scope=scope)
    found = getattr(plan.after, measure) / getattr(plan.first, measure)
    assert share - 0.1 < found <= share
    absolute = ps.plan_pruning(
        simple(), IMAGE, budget={measure: share * getattr(plan.first, measure)}, round_to=1, scope=scope
    )
    assert absolute.after == plan.after


def test_a_budget_that_cannot_be_met_says_the_least() -> None:
    with pytest.raises(BudgetError) as err:
        ps.plan_pruning(simple(), IMAGE, budget={"params": 0.01})
    least = ps.plan_pruning(simple(), IMAGE, ratio=0.99).after.params
    assert f"prune.budget.params: must be at least {least:,} (" in str(err.value) and err.value.exit_code == 3
    with pytest.raises(BudgetError, match="must be less than what there is, 3,795"):
        ps.plan_pruning(simple(), IMAGE, budget={"params": 4000})


def test_a_larger_ratio_keeps_a_part_of_what_a_smaller_one_keeps() -> None:
    before: dict[tuple[str, str], set[int]] = {}
    for ratio in np.linspace(0.1, 0.95, 12):
        plan = ps.plan_pruning(simple(), IMAGE, ratio=float(ratio), round_to=1)
        assert all(places <= plan.gone.get(key, set()) for key, places in before.items())
        before = plan.gone
    assert before


@pytest.mark.parametrize(
    ("units", "wanted", "step", "found"),
    [
        (16, 11.2, 8, 8),
        (16, 12, 8, 16),
        (20, 18, 8, 20),
        (20, 17, 8, 16),
        (6, 2, 8, 6),
        (8, 0, 8, 8),
        (24, 0, 8, 8),
        (5, 2.4, 1, 2),
    ],
)
def test_widths_are_the_nearest_multiple_and_never_more(units: int, wanted: float, step: int, found: int) -> None:
    assert nearest_width(units, wanted, step) == found


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "bn-scale"])
def test_what_counts_least_goes_first(importance: str) -> None:
    module = simple()
    dead = [1, 4, 6, 13]
    with torch.no_grad():
        module[0].weight[dead] *= 0.01
        module[1].weight[dead] = 0.01
        module[3].weight[:, dead] *= 0.01
    loss = (lambda m: nn.functional.cross_entropy(m(IMAGE), torch.arange(5) % 3)) if importance == "taylor" else None
    plan = ps.plan_pruning(module, IMAGE, loss=loss, ratio=0.25, round_to=1, importance=importance, protect=("3",))
    assert plan.gone["0", "out"] == set(dead)


def test_chance_is_of_the_seed() -> None:
    gone = [ps.plan_pruning(simple(), IMAGE, ratio=0.5, importance="random", seed=s).gone for s in (0, 0, 1)]
    assert gone[0] == gone[1] != gone[2]


def test_importances_ask_for_what_they_need() -> None:
    with pytest.raises(PotstillError, match="taylor needs the gradient of a loss"):
        ps.plan_pruning(simple(), IMAGE, ratio=0.5, importance="taylor")
    new, read = family("vit")
    with pytest.raises(PotstillError, match="it has no BatchNorm, whose scales bn-scale ranks by"):
        ps.plan_pruning(new.module, read, ratio=0.5, round_to=2, importance="bn-scale")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "must have exactly one of ratio and budget; got neither"),
        ({"ratio": 0.5, "budget": {"params": 0.5}}, "got both"),
        ({"ratio": 1.0}, "ratio: Input should be less than 1; got 1.0"),
        ({"budget": {"params": 0.5, "macs": 0.5}}, "must name one of params, macs, bytes and device; got params, macs"),
        ({"ratio": 0.5, "importanc": "l1"}, "Allowed: ratio, budget, importance, scope, round_to, protect"),
    ],
)
def test_settings_from_python_are_checked(given: dict[str, Any], told: str) -> None:
    with pytest.raises(PotstillError) as err:
        ps.plan_pruning(simple(), IMAGE, **given)
    assert told in str(err.value)


def test_a_second_cut_counts_from_the_first_model() -> None:
    whole = simple()
    once, first = ps.prune(whole, IMAGE, budget={"params": 0.6}, round_to=1)
    twice, plan = ps.prune(once, IMAGE, budget={"params": 0.3}, round_to=1, first=whole)
    assert plan.first == first.before and plan.before == first.after
    assert 0.2 < plan.after.params / plan.first.params <= 0.3
    with pytest.raises(BudgetError, match="must be less than what there is"):
        ps.plan_pruning(twice, IMAGE, budget={"params": 0.6}, round_to=1, first=whole)
    half, _ = ps.prune(whole, IMAGE, ratio=0.5, scope="per-layer")
    assert [
        e.after for e in ps.plan_pruning(half, IMAGE, ratio=0.7, scope="per-layer", round_to=1, first=whole).layers
    ] == [5, 7, 3]
    with pytest.raises(PotstillError, match="must cut something"):
        ps.plan_pruning(half, IMAGE, ratio=0.5, scope="per-layer", first=whole)


def test_a_cut_that_changes_the_outputs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = simple()
    plan = ps.plan_pruning(module, IMAGE, ratio=0.5)

    def other_places(module: nn.Module, path: str, side: str, places: set[int]) -> None:
        cut(module, path, side, places if side != "in" else {(p + 1) % 16 for p in places} if path == "3" else places)

    monkeypatch.setattr("potstill.compress.prune.cut", other_places)
    with pytest.raises(PotstillError, match="must leave the outputs of channels set to zero; the outputs differ by"):
        prune(copy.deepcopy(module), plan, (IMAGE,))


def test_a_wrong_trace_is_found_by_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _planner.trace

    def shifted(*args: Any) -> Any:
        traced = found(*args)
        for member in traced.bundles[0].members:
            if member.side == "in":
                member.places[:] = (member.places + 1) % len(member.places)
        return traced

    monkeypatch.setattr(_planner, "trace", shifted)
    planner = Planner(simple(), (IMAGE,), PruneSettings(ratio=0.5), simple(), None, 0, "x")
    assert [b.name for b in planner.able] == ["3"]
    assert "channels are moved or mixed" in planner.bundles[0].refused


def test_statistics_of_batchnorm_are_the_plain_mean_over_batches() -> None:
    module = simple()
    batches = [rows(1, 8, 8), 3 * rows(1, 8, 8) + 1]
    assert recalibrate(module, [(b,) for b in batches]) == 2
    with torch.no_grad():
        means = [module[0](b).mean((0, 2, 3)) for b in batches]
    assert torch.allclose(module[1].running_mean, sum(means) / 2, atol=1e-6)
    assert module[1].momentum == 0.1 and not module[1].training
    untouched = simple()
    smaller, _ = ps.prune(untouched, IMAGE, ratio=0.5)
    assert torch.equal(untouched[1].running_mean, torch.zeros(16)), "the module given is left as it is"
    assert bool(smaller[1].running_mean.any())  # type: ignore[index, union-attr]


def test_layers_that_share_weights_stay_whole() -> None:
    module = nn.Sequential(
        nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )
    module[2].weight = module[0].weight
    plan = ps.plan_pruning(module, rows(16), ratio=0.5)
    assert plan.whole["0"] == "its weights are those of '2.weight' too (0.weight)" and "0.weight" in plan.whole["2"]
    assert [e.after for e in plan.layers] == [16, 16, 8, 3]


def test_a_layer_left_whole_by_groups_is_told() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 16, 1), nn.Flatten(), nn.Linear(256, 3)
    )
    plan = ps.plan_pruning(module, IMAGE, ratio=0.5)
    assert plan.whole["0"] == plan.whole["1"] == "a convolution in groups is not cut (1)"
    assert plan.layers[2].after == 8 and plan.after.params < plan.before.params
