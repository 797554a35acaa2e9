"""Attention probabilities, queries, keys and values: found, paired block by block, captured, and never taken for pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import RecipeError
from potstill.models import ModelIO
from potstill.models.resnet import ResNetSpec
from potstill.models.vit import ViTSpec
from potstill.taps import Place, TapPair
from potstill.taps.capture import Capture
from potstill.taps.pairing import attention_groups, auto_pairs, resolve, stage_ends
from potstill.taps.places import list_places

IO = ModelIO((10,), (3, 8, 8))


class Attention(nn.Module):
    """As published language models have it: separate projections, dropout on the map, (context, probabilities)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (p(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
        probabilities = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(dim=-1)
        return (self.dropout(probabilities) @ v).transpose(1, 2).flatten(2), probabilities


class Layer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention, self.out = Attention(dim, heads), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        context, probabilities = self.attention(x)
        return x + self.out(context), probabilities


class Encoder(nn.Module):
    def __init__(self, dim: int = 8, depth: int = 3, heads: int = 2) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, dim, 2, 2), nn.Linear(dim, 10)
        self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(depth))

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)[0]
        return self.head(x.mean(dim=1))


class Mixed(nn.Module):
    """Convolutions, then attention over pixels that stands in no list: its map [4, 16, 16] is square, as pictures are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, 1)
        self.attention, self.head = Attention(8, 4), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Any:
        x = self.down(self.stem(x)).flatten(2).transpose(1, 2)
        return self.head(self.attention(x)[0].mean(dim=1))


def places(module: Any) -> list[Place]:
    torch.manual_seed(0)
    return list_places(module.build(IO) if hasattr(module, "build") else module, torch.zeros(2, 3, 8, 8), "model")


def named(found: list[Place]) -> dict[str, Place]:
    return {p.name: p for p in found}


def test_attention_of_our_transformer_is_found_and_is_no_picture() -> None:
    found = places(ViTSpec(patch=2, dim=8, depth=2, heads=2))
    assert [p.name for p in found if p.attention] == [f"blocks.{i}.attention.softmax" for i in (0, 1)]
    assert named(found)["blocks.0.attention.softmax"].shape == (2, 16, 16)
    assert named(found)["blocks.1.attention.query"].shape == (2, 16, 4)
    assert [p.name for p in stage_ends(found)] == ["blocks.0", "blocks.1"]


def test_auto_of_feature_losses_takes_no_map_for_a_stage() -> None:
    found = places(Mixed())
    assert [p.name for p in found if p.attention] == ["attention.dropout", "attention#1"]
    assert [p.name for p in stage_ends(found)] == ["stem", "down"]
    pairs = [p.name for p in auto_pairs(found, places(ResNetSpec(depth=8)))]
    assert pairs == ["stem:layer1", "down:layer2"]


def test_a_picture_is_no_attention() -> None:
    """Rows that add up to 1 by their nature, and only these."""
    assert not any(p.attention for p in places(ResNetSpec(depth=8)))
    shares = torch.full((2, 3, 4, 4), 0.25)
    for given, found in (
        (shares, True),
        (shares * 1.1, False),
        (shares - torch.eye(4), False),
        (shares[..., :1, :1] * 4, False),
    ):
        module = nn.Sequential(nn.Identity(), Fixed(given), nn.Flatten())
        assert [p.attention for p in places(module)][1] is found


class Fixed(nn.Module):
    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: Tensor) -> Tensor:
        return self.given


OURS, THEIRS = "blocks.{}.attention.softmax", "layers.{}.attention.dropout"


@pytest.mark.parametrize(("depths", "taps", "expected"), [
    ((2, 2), "auto", [(0, 0), (1, 1)]), ((2, 4), "auto", [(0, 1), (1, 3)]), ((3, 6), "auto", [(0, 1), (1, 3), (2, 5)]),
    ((4, 2), "auto", [(1, 0), (3, 1)]), ((2, 5), "last", [(1, 4)]),
])  # fmt: skip
def test_blocks_are_paired_evenly_the_last_with_the_last(depths: Any, taps: Any, expected: Any) -> None:
    student = places(ViTSpec(patch=2, dim=8, depth=depths[0], heads=2))
    teacher = places(Encoder(depth=depths[1]))
    found = [(p.student.name, p.teacher.name) for p in resolve(taps, student, teacher, "x", "attention")]
    assert found == [(OURS.format(a), THEIRS.format(b)) for a, b in expected]
    triples = [
        (f"blocks.{a}.attention.{n}", f"layers.{b}.attention.{n}")
        for a, b in expected
        for n in ("query", "key", "value")
    ]
    found = [(p.student.name, p.teacher.name) for p in resolve(taps, student, teacher, "x", "qkv")]
    assert found == triples


def test_of_a_block_the_first_map_of_a_model_without_blocks_all() -> None:
    assert [g[0].name for g in attention_groups(places(Encoder(depth=2)), "attention")] == [
        "layers.0.attention.dropout", "layers.1.attention.dropout",
    ]  # fmt: skip
    assert [g[0].name for g in attention_groups(places(Mixed()), "attention")] == ["attention.dropout", "attention#1"]


@pytest.mark.parametrize(("sort", "words"), [
    ("attention", r"x.taps: 'auto' needs attention probabilities .*the teacher has none"),
    ("qkv", "needs modules named query, key and value in both models; the teacher has none"),
])  # fmt: skip
def test_a_model_without_attention_is_named(sort: Any, words: str) -> None:
    vit, convolutions = places(ViTSpec(patch=2, dim=8, depth=2, heads=2)), places(ResNetSpec(depth=8))
    with pytest.raises(RecipeError, match=words):
        resolve("auto", vit, convolutions, "x", sort)
    with pytest.raises(RecipeError, match="the student has none"):
        resolve("last", convolutions, vit, "x", sort)


def test_further_tensors_of_a_module_are_places_of_their_own() -> None:
    module = Encoder(depth=2)
    found = named(places(module))
    assert found["layers.1"].shape == (16, 8) and found["layers.1#1"].shape == (2, 16, 16)
    assert found["layers.1.attention#1"].attention and found["layers.1.attention#1"].module == "layers.1.attention"
    both = Capture(module, [found["layers.1.attention"], found["layers.1.attention#1"]], "model", stop=True)
    x = torch.rand(5, 3, 8, 8)
    with both:
        module(x)
    taken = both.take()
    assert taken["layers.1.attention"].shape == (5, 16, 8) and taken["layers.1.attention#1"].shape == (5, 2, 16, 16)
    torch.testing.assert_close(taken["layers.1.attention#1"].sum(dim=-1), torch.ones(5, 2, 16))


def test_a_pattern_means_the_first_tensor_unless_it_says_another() -> None:
    student, teacher = places(Encoder(depth=2)), places(ViTSpec(patch=2, dim=8, depth=2, heads=2))

    def pairs(ours: str, theirs: str) -> list[str]:
        return [p.name for p in resolve((TapPair(student=ours, teacher=theirs),), student, teacher, "x")]

    assert pairs("layers.*", "blocks.*") == ["layers.0:blocks.0", "layers.1:blocks.1"]
    assert pairs("layers.*.attention#1", "blocks.*.attention.softmax") == [
        "layers.0.attention#1:blocks.0.attention.softmax", "layers.1.attention#1:blocks.1.attention.softmax",
    ]  # fmt: skip
    with pytest.raises(RecipeError, match="must name a module"):
        pairs("layers.0#2", "blocks.0")


def test_taps_change_neither_the_arithmetic_nor_the_names_of_our_transformer() -> None:
    torch.manual_seed(3)
    module = ViTSpec(patch=2, dim=8, depth=1, heads=2).build(IO).eval()
    block = [
        *(f"norm1.{p}" for p in ("weight", "bias")), *(f"attention.{m}.{p}" for m in ("qkv", "out") for p in ("weight", "bias")),
        *(f"norm2.{p}" for p in ("weight", "bias")), *(f"mlp.{i}.{p}" for i in (0, 2) for p in ("weight", "bias")),
    ]  # fmt: skip
    outside = ["embed.weight", "embed.bias", "norm.weight", "norm.bias", "head.weight", "head.bias"]
    assert sorted(module.state_dict()) == sorted(["position", *outside, *(f"blocks.0.{name}" for name in block)])
    attention: Any = module.get_submodule("blocks.0.attention")
    x = torch.randn(3, 16, 8)
    qkv = attention.qkv(x).reshape(-1, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
    mixed = (qkv[0] @ qkv[1].transpose(-2, -1) * 4**-0.5).softmax(dim=-1) @ qkv[2]
    assert torch.equal(attention(x), attention.out(mixed.transpose(1, 2).reshape(-1, 16, 8)))
