"""Ends of stages, automatic pairs, names and patterns."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from potstill.core.errors import RecipeError
from potstill.models import ModelIO, ModelSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.mobilenet_v2 import MobileNetV2Spec
from potstill.models.resnet import ResNetSpec
from potstill.models.vit import ViTSpec
from potstill.taps import Place, TapPair
from potstill.taps.pairing import Pair, auto_pairs, resolve, stage_ends
from potstill.taps.places import list_places

SIZE = 32


def places(module: nn.Module | ModelSpec, size: int = SIZE) -> list[Place]:
    if isinstance(module, ModelSpec):
        module = module.build(ModelIO((10,), (3, size, size)))
    return list_places(module, torch.zeros(2, 3, size, size), "model")


def names(found: list[Pair]) -> list[str]:
    return [p.name for p in found]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Wide inside, before the stride: what a stage end must not be."""
    return nn.Sequential(conv(inputs, 9), nn.ReLU(), conv(9, outputs, stride))


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x)


class Backbone(nn.Module):
    """Gives a feature map; its stages are inside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stages = conv(3, 4), nn.Sequential(block(4, 4, 1), block(4, 6, 2), block(6, 8, 2))

    def forward(self, x: torch.Tensor) -> Any:
        return self.stages(self.stem(x))


class Gate(nn.Module):
    """Squeeze and excitation: passes through one pixel and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.scale = nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return x * self.scale(self.pool(x))


HEAD = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
VGG = nn.Sequential(
    nn.Sequential(conv(3, 4), nn.ReLU(inplace=True), nn.MaxPool2d(2), conv(4, 8), nn.ReLU(inplace=True), nn.MaxPool2d(2)), *HEAD
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "ends"),
    [
        (ResNetSpec(depth=14), ["layer1", "layer2", "layer3"]),
        (DsCnnSpec(), ["2", "4", "6"]),
        (MobileNetV2Spec(), ["5", "8", "15", "22"]),
        (ViTSpec(depth=3), ["blocks.0", "blocks.1", "blocks.2"]),
        (Wrapped(ResNetSpec(depth=8).build(ModelIO((10,), (3, SIZE, SIZE)))), ["inner.layer1", "inner.layer2", "inner.layer3"]),
        (nn.Sequential(Backbone(), *HEAD), ["0.stages.0", "0.stages.1", "0"]),
        (nn.Sequential(conv(3, 4), block(4, 4, 1), block(4, 8, 2), *HEAD), ["1", "2"]),
        (nn.Sequential(conv(3, 4), Gate(), block(4, 8, 2), *HEAD), ["1", "2"]),
        (VGG, ["0.1", "0.4", "0"]),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 10)), []),
    ],
    ids=["resnet", "ds-cnn", "mobilenet", "vit", "wrapped", "backbone", "blocks", "gate", "vgg", "none"],
)  # fmt: skip
def test_ends_of_stages(model: Any, ends: list[str]) -> None:
    assert [p.name for p in stage_ends(places(model))] == ends


def test_sizes_that_both_have_are_paired() -> None:
    student, teacher = places(DsCnnSpec(depth=2, downsample=1)), places(ResNetSpec(depth=8))
    assert names(auto_pairs(student, teacher)) == ["2:layer1", "4:layer2"]
    assert names(resolve("last", student, teacher, "x")) == ["4:layer3"]


def test_other_sizes_are_paired_by_order_from_the_last() -> None:
    student, teacher = places(DsCnnSpec(depth=2, downsample=1)), places(ResNetSpec(depth=8), size=20)
    assert names(auto_pairs(student, teacher)) == ["2:layer2", "4:layer3"]


def test_token_blocks_are_spread_evenly_the_last_with_the_last() -> None:
    three, six = places(ViTSpec(depth=3, dim=32)), places(ViTSpec(depth=6))
    assert names(auto_pairs(three, six)) == ["blocks.0:blocks.1", "blocks.1:blocks.3", "blocks.2:blocks.5"]
    assert names(auto_pairs(six, three)) == ["blocks.1:blocks.0", "blocks.3:blocks.1", "blocks.5:blocks.2"]
    assert names(auto_pairs(six, places(ResNetSpec(depth=8)))) == [
        "blocks.1:layer1",
        "blocks.3:layer2",
        "blocks.5:layer3",
    ]


def test_every_two_families_have_a_pair_for_their_last_stage_or_size() -> None:
    models = [places(s) for s in (ResNetSpec(depth=8), DsCnnSpec(), MobileNetV2Spec(), ViTSpec())]
    for a, b in itertools.product(models, models):
        pairs = auto_pairs(a, b)
        assert pairs and len({p.student.name for p in pairs}) == len({p.teacher.name for p in pairs}) == len(pairs)


def pair(student: str, teacher: str) -> tuple[TapPair, ...]:
    return (TapPair(student=student, teacher=teacher),)


@pytest.mark.parametrize(
    ("student", "teacher", "found"),
    [
        ("4", "layer2.0.conv1", ["4:layer2.0.conv1"]),
        ("blocks.*", "layer?", ["blocks.0:layer1", "blocks.1:layer2", "blocks.2:layer3"]),
        ("blocks.[12]", "layer[23]", ["blocks.1:layer2", "blocks.2:layer3"]),
    ],
)
def test_names_and_patterns(student: str, teacher: str, found: list[str]) -> None:
    ours = places(ViTSpec(depth=3) if student.startswith("b") else DsCnnSpec())
    assert names(resolve(pair(student, teacher), ours, places(ResNetSpec(depth=8)), "x")) == found


@pytest.mark.parametrize(
    ("taps", "words"),
    [
        (pair("blocks.9", "layer1"), r"x\.taps\[0\]\.student: must name a module of the student .* got 'blocks\.9'\. Nearest: 'blocks\.\d'"),
        (pair("blocks.0", "layer9"), r"x\.taps\[0\]\.teacher: must name .* teacher .* Nearest: 'layer\d'.*potstill taps"),
        (pair("nothing.*", "layer1"), "must match a module of the student"),
        (pair("blocks.?", "layer[12]"), r"match as many places.*\['blocks.0', 'blocks.1', 'blocks.2'\] and \['layer1', 'layer2'\]"),
    ],
    ids=["student", "teacher", "pattern", "unequal"],
)  # fmt: skip
def test_names_that_match_nothing_or_unequally_many(taps: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        resolve(taps, places(ViTSpec(depth=3)), places(ResNetSpec(depth=8)), "x")


def test_an_output_that_is_written_over_is_refused_by_name_and_passed_over_by_auto() -> None:
    ours = places(VGG)
    assert "0.0" not in [p.name for p in stage_ends(ours)]
    with pytest.raises(RecipeError, match=r"must keep its output; got '0\.0'.*writes in place"):
        resolve(pair("0.0", "layer1"), ours, places(ResNetSpec(depth=8)), "x")


class Spoilt(nn.Module):
    """Writes over its first stage, whose end is then the module before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(3, 4), conv(4, 4), conv(4, 8, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.third(self.second(self.first(x)).relu_())


def test_auto_takes_the_last_output_that_is_kept() -> None:
    assert [p.name for p in stage_ends(places(nn.Sequential(Spoilt(), *HEAD)))] == ["0.first", "0"]


@pytest.mark.parametrize("taps", ["auto", "last"])
@pytest.mark.parametrize(("student", "none"), [(True, "student"), (False, "teacher")])
def test_a_model_without_stages_is_named(taps: Any, student: bool, none: str) -> None:
    flat, net = places(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 10))), places(ResNetSpec(depth=8))
    with pytest.raises(RecipeError, match=f"the {none} has none. Name the pairs"):
        resolve(taps, *((flat, net) if student else (net, flat)), "x")
