"""Adapters from two shapes. Shapes: B rows, C channels, H, W pixels, L tokens, D width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from potstill.core.errors import ShapeError
from potstill.taps import Joins, Shape
from potstill.taps.adapters import Resize, join


def drawn(shape: Shape, rows: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(rows, *shape))).float()


def numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("student", "teacher", "after", "parameters"),
    [
        ((4, 8, 8), (4, 8, 8), (4, 8, 8), 0),
        ((4, 8, 8), (6, 8, 8), (6, 8, 8), 30),
        ((4, 8, 8), (4, 4, 4), (4, 4, 4), 0),
        ((4, 2, 2), (6, 4, 8), (6, 4, 8), 30),
        ((4, 8, 2), (6, 4, 4), (6, 4, 4), 30),
        ((5, 4), (5, 6), (5, 6), 30),
        ((7, 4), (5, 4), (5, 4), 0),
        ((5, 4), (7, 6), (7, 6), 30),
        ((16, 4), (4, 6), (6, 2, 2), 30),
        ((17, 4), (16, 4), (4, 4, 4), 0),
        ((16, 4), (6, 2, 2), (6, 2, 2), 30),
        ((17, 4), (6, 8, 8), (6, 8, 8), 30),
        ((4, 8, 8), (17, 6), (6, 4, 4), 30),
        ((4,), (6,), (6,), 30),
        ((4, 8, 8), (6,), (6,), 30),
        ((9, 4), (6,), (6,), 30),
        ((4,), (6, 8, 8), (6,), 30),
        ((4,), (9, 4), (4,), 0),
        ((2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 4, 5), 0),
    ],
    ids=str,
)
def test_two_shapes_are_joined(student: Shape, teacher: Shape, after: Shape, parameters: int) -> None:
    joint = join(student, teacher, "all", "x")
    ours, theirs = joint.student(drawn(student)), joint.teacher(drawn(teacher))
    assert ours.shape == theirs.shape == (3, *after)
    assert numel(joint.student) == parameters and numel(joint.teacher) == 0
    assert bool(joint.says) == (student != teacher)
    assert set(joint.student.state_dict()) == {n for n, _ in joint.student.named_parameters()}, "matrices are not state"


@pytest.mark.parametrize(
    ("student", "teacher"), [((4, 8, 8), (6, 4, 4)), ((16, 4), (6, 8, 8)), ((16, 4), (17, 9)), ((5, 4), (5, 9))]
)
def test_for_positions_alone_nothing_is_trainable(student: Shape, teacher: Shape) -> None:
    joint = join(student, teacher, "space", "x")
    ours, theirs = joint.student(drawn(student)), joint.teacher(drawn(teacher))
    assert numel(joint.student) == 0
    picture = ours.ndim == 4
    assert (ours.shape[2:] == theirs.shape[2:]) if picture else (ours.shape[1] == theirs.shape[1])
    assert ours.shape[1 if picture else 2] == 4, "the student keeps its width"


def test_relations_join_nothing() -> None:
    joint = join((4, 8, 8), (2, 3, 4, 5, 6), "nothing", "x")
    x = drawn((4, 8, 8))
    assert joint.student(x) is x and joint.teacher(x) is x and joint.says == ""


def test_resizing_is_pooling_one_way_and_interpolation_the_other() -> None:
    x = drawn((4, 6, 8))
    torch.testing.assert_close(Resize((6, 8), (4, 3))(x), F.adaptive_avg_pool2d(x, (4, 3)))
    torch.testing.assert_close(Resize((6, 8), (9, 11))(x), F.interpolate(x, (9, 11), mode="bilinear"))
    torch.testing.assert_close(Resize((6, 8), (6, 8))(x), x)


def test_tokens_go_back_where_they_came_from() -> None:
    """What a ViT flattens is put back in place; what stands before the square is the class token."""
    picture = drawn((5, 3, 3))
    tokens = picture.flatten(2).transpose(1, 2)
    joint = join((9, 5), (5, 3, 3), "all", "x")
    assert torch.equal(joint.student(tokens), picture)
    with_class = torch.cat([torch.full((3, 1, 5), 99.0), tokens], dim=1)
    joint = join((10, 5), (5, 3, 3), "all", "x")
    assert torch.equal(joint.student(with_class), picture) and "class token dropped" in joint.says
    assert "class token" not in join((9, 5), (5, 3, 3), "all", "x").says


@pytest.mark.parametrize(
    ("student", "teacher", "joins", "words"),
    [
        ((2, 3, 4, 5), (6, 8, 8), "all", r"\[2, 3, 4, 5\] \(4 dimensions\) of the student and \[6, 8, 8\] \(a picture\) of the teacher"),
        ((12, 4), (6, 8, 8), "all", r"\[12, 4\] \(tokens\).*12 tokens are no square"),
        ((6, 8, 8), (12, 4), "all", r"\[12, 4\] \(tokens\) of the teacher.*12 tokens are no square"),
        ((4,), (6, 8, 8), "space", r"\[4\] \(a vector\).*no positions to compare"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_says_both_shapes_and_what_could(
    student: Shape, teacher: Shape, joins: Joins, words: str
) -> None:
    with pytest.raises(
        ShapeError, match=r"term a:b: must be outputs that can be joined; got .*potstill taps"
    ) as caught:
        join(student, teacher, joins, "term a:b")
    caught.match(words)


def test_initial_weights_come_from_the_callers_seed() -> None:
    def weights(seed: int) -> Any:
        torch.manual_seed(seed)
        return [p.tolist() for p in join((4, 8, 8), (6, 4, 4), "all", "x").student.parameters()]

    assert weights(1) == weights(1) != weights(2)
