"""Every family of the zoo is cut: the shape of its outputs stays, it is smaller, it trains, and it is saved and loaded."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from _prune_parts import CANNOT, FAMILIES, family
from torch import Tensor, nn

import potstill as ps
from potstill.compress.prune import PruningPlan
from potstill.core.errors import PotstillError, ShapeError, StoreError
from potstill.models import registry
from potstill.models._blocks import ResNet
from potstill.models.resnet import ResNetSpec
from potstill.models.tools.saved import load_model, save_model
from potstill.testing import check_prunable, example, tiny


def zeroed(module: nn.Module, plan: PruningPlan) -> nn.Module:
    """Return a copy whose makers of channels give zero where channels go: nothing else of it is touched."""
    twin = copy.deepcopy(module)

    def hook(gone: set[int], along: int) -> Any:
        def zero(_: nn.Module, __: Any, out: Tensor) -> Tensor:
            out = out.clone()
            out.index_fill_(along, torch.tensor(sorted(gone)), 0)
            return out

        return zero

    for (path, side), gone in plan.gone.items():
        part = twin.get_submodule(path) if not side.startswith("dim") else None
        if isinstance(part, nn.BatchNorm2d) or (side == "out" and isinstance(part, (nn.Conv2d, nn.Linear))):
            part.register_forward_hook(hook(gone, 1))
    return twin


@pytest.mark.parametrize("ratio", [0.3, 0.7])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_cut(kind: str, ratio: float) -> None:
    check_prunable(example(registry[kind]), ratio)


@pytest.mark.parametrize("kind", CANNOT)
def test_a_family_of_one_layer_is_refused_by_name(kind: str) -> None:
    new, read = family(kind)
    with pytest.raises(
        PotstillError, match=r"must find a layer that can be cut; got none\. Left whole: 'one': its channels are"
    ):
        ps.prune(new.module, read, ratio=0.5)


@pytest.mark.parametrize("scope", ["global", "per-layer"])
def test_zero_channels_of_padding_are_counted_with_those_they_stand_beside(scope: str) -> None:
    torch.manual_seed(0)
    whole = ResNet(1, 10, 1, 8, "pad").eval()
    read = torch.randn(5, 1, 8, 8)
    plan = ps.plan_pruning(whole, read, ratio=0.5, round_to=2, scope=scope)
    assert plan.whole == {"linear": "its channels are the model's output"}
    module, _ = ps.prune(whole, read, ratio=0.5, round_to=2, scope=scope)
    ends = [(s.before, s.after) for s in (module.layer2[0].shortcut, module.layer3[0].shortcut)]  # type: ignore[index, union-attr]
    assert ends != [(4, 4), (8, 8)] and module.linear.in_features < 32
    assert plan.after.params < 0.5 * plan.before.params


def test_a_cut_is_that_of_zeroed_channels_by_a_reference_of_its_own() -> None:
    torch.manual_seed(0)
    whole = ResNet(1, 10, 1, 8, "pad").eval()
    read = torch.randn(5, 1, 8, 8)
    plan = ps.plan_pruning(whole, read, ratio=0.5, round_to=2)
    module = copy.deepcopy(whole)
    from potstill.compress.prune import prune

    prune(module, plan, (read,))
    with torch.no_grad():
        expected = zeroed(whole, plan)(read)
        assert torch.allclose(module(read), expected, atol=1e-5 * float(expected.abs().max()))
        assert not torch.allclose(whole(read), expected, atol=1e-2), "something went"


def test_heads_go_whole_and_keep_their_width() -> None:
    new, read = family("vit")
    module, plan = ps.prune(new.module, read, ratio=0.5, round_to=2, scope="per-layer")
    block, whole = module.blocks[0], new.module.blocks[0]  # type: ignore[index]
    assert (
        block.attention.head_width == whole.attention.head_width and block.attention.heads == whole.attention.heads / 2
    )
    assert {"blocks.0.attention.qkv", "embed"} <= {entry.layer for entry in plan.layers if entry.after < entry.before}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nothing": {"in_channels": 2}}, "must be of the model's own modules; got 'nothing'"),
        ({"conv1": {"out_channels": 600}}, "conv1.out_channels=600, and it has"),
        ({"conv1": {"stride": [1, 1]}}, "conv1.stride="),
        ({"conv1": {"out_channels": -1}}, "conv1.out_channels=-1"),
        ({"conv1": {"weight": [2, 1, 3]}}, "conv1.weight="),
    ],
    ids=["module", "larger", "other attribute", "negative", "dimensions"],
)
def test_sizes_on_disk_are_those_of_the_family_cut(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    spec = ResNetSpec(depth=8, width=4)
    module = spec.build(tiny.IO)
    save_model(
        tmp_path,
        module,
        spec.model_copy(update={"input": spec.input.resolved(tiny.IO, tiny.STATS)}),
        tiny.IO,
        ["a"],
        change,
    )
    with pytest.raises(StoreError) as err:
        load_model(tmp_path)
    assert told in str(err.value)


def test_sizes_without_their_weights_are_no_model(tmp_path: Path) -> None:
    spec = ResNetSpec(depth=8, width=4)
    spec = spec.model_copy(update={"input": spec.input.resolved(tiny.IO, tiny.STATS)})
    save_model(
        tmp_path, spec.build(tiny.IO), spec, tiny.IO, ["a"], {"conv1": {"out_channels": 2, "weight": [2, 1, 3, 3]}}
    )
    with pytest.raises(ShapeError, match=r"conv1.weight must be \[2, 1, 3, 3\]"):
        load_model(tmp_path)
