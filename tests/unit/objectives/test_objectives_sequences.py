"""Objectives on tokens against references in plain Python loops. Shapes: B rows, A heads, L tokens, D width, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from potstill.core.errors import ShapeError, StoreError
from potstill.objectives import LossInputs, Needs
from potstill.objectives.attention_kl import AttentionKlSpec, attention_kl
from potstill.objectives.hidden_l2 import HiddenL2Spec, hidden_l2
from potstill.objectives.relation_kl import RelationKlSpec, relation_kl
from potstill.objectives.sequence_level import SequenceLevelSpec, sequence_level
from potstill.objectives.token_soft_label import TokenSoftLabelSpec, token_soft_label
from potstill.testing import tiny
from potstill.train.terms import Terms
from potstill.train.world import World

Array = NDArray[Any]
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
B, A, L, D, K = 3, 2, 4, 6, 5


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def softmax(scores: list[float]) -> list[float]:
    exp = [math.exp(s - max(scores)) for s in scores]
    return [e / math.fsum(exp) for e in exp]


def kl(p: list[float], q: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def over_tokens(row: Any, mask: Array | None) -> Array:
    """row(b, real tokens) -> the list of its values, one a real token; returns their means."""
    masks = np.ones((B, L), bool) if mask is None else mask
    means = []
    for b in range(B):
        real = np.flatnonzero(masks[b]).tolist()
        values = row(b, real)
        means.append(math.fsum(values) / len(values) if values else 0.0)
    return np.array(means)


def reference_attention(student: Array, teacher: Array, temperature: float, mask: Array | None) -> Array:
    def row(b: int, real: list[int]) -> list[float]:
        out = []
        for a in range(student.shape[1]):
            for i in real:
                both = []
                for maps in (teacher, student):
                    power = [float(maps[b, a, i, j]) ** (1 / temperature) for j in real]
                    both.append([p / math.fsum(power) for p in power])
                out.append(temperature**2 * kl(both[0], both[1]))
        return out

    return over_tokens(row, mask)


def reference_relation(student: Array, teacher: Array, heads: int, mask: Array | None) -> Array:
    def row(b: int, real: list[int]) -> list[float]:
        out = []
        for r in range(heads):
            for i in real:
                both = []
                for vectors in (teacher, student):
                    width = vectors.shape[2] // heads
                    part = vectors[b, :, r * width : (r + 1) * width]
                    both.append(softmax([float(part[i] @ part[j]) / math.sqrt(width) for j in real]))
                out.append(kl(both[0], both[1]))
        return out

    return over_tokens(row, mask)


def reference_hidden(student: Array, teacher: Array, mask: Array | None) -> Array:
    def row(b: int, real: list[int]) -> list[float]:
        return [math.fsum((s - t) ** 2 for s, t in zip(student[b, i], teacher[b, i], strict=True)) / D for i in real]

    return over_tokens(row, mask)


def reference_tokens(student: Array, teacher: Array, temperature: float, mask: Array | None) -> Array:
    def row(b: int, real: list[int]) -> list[float]:
        return [
            temperature**2 * kl(softmax((teacher[b, i] / temperature).tolist()), softmax((student[b, i] / temperature).tolist()))
            for i in real
        ]  # fmt: skip

    return over_tokens(row, mask)


def reference_sequence(student: Array, tokens: Array) -> Array:
    def row(b: int, real: list[int]) -> list[float]:
        return [-math.log(softmax(student[b, i].tolist())[tokens[b, i]]) for i in real]

    return over_tokens(row, tokens >= 0)


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_attention_is_the_references(temperature: float, mask: Tensor | None) -> None:
    student, teacher = (drawn(B, A, L, L, seed=s).softmax(dim=-1) for s in (1, 2))
    expected = reference_attention(
        student.numpy(), teacher.numpy(), temperature, None if mask is None else mask.numpy()
    )
    np.testing.assert_allclose(attention_kl(student, teacher, temperature, mask), expected, rtol=1e-9)
    assert expected[0] > 0.1 and bool(expected[2] == 0) is (mask is not None)


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
@pytest.mark.parametrize("heads", [1, 3])
def test_relations_are_the_references(heads: int, mask: Tensor | None) -> None:
    student, teacher = drawn(B, L, 6, seed=1), drawn(B, L, 9, seed=2)
    expected = reference_relation(student.numpy(), teacher.numpy(), heads, None if mask is None else mask.numpy())
    np.testing.assert_allclose(relation_kl(student, teacher, heads, mask), expected, rtol=1e-9)
    assert expected[0] > 0.1


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
def test_hidden_states_and_tokens_are_the_references(mask: Tensor | None) -> None:
    given = None if mask is None else mask.numpy()
    student, teacher = drawn(B, L, D, seed=1), drawn(B, L, D, seed=2)
    np.testing.assert_allclose(
        hidden_l2(student, teacher, mask), reference_hidden(student.numpy(), teacher.numpy(), given), rtol=1e-12
    )
    for temperature in (1.0, 3.0):
        expected = reference_tokens(student.numpy(), teacher.numpy(), temperature, given)
        np.testing.assert_allclose(token_soft_label(student, teacher, temperature, mask), expected, rtol=1e-9)


def test_sequences_are_the_references() -> None:
    student, tokens = drawn(B, L, K, seed=1), torch.tensor([[0, 4, 2, 2], [1, 3, -1, -1], [-1, -1, -1, -1]])
    np.testing.assert_allclose(
        sequence_level(student, tokens), reference_sequence(student.numpy(), tokens.numpy()), rtol=1e-12
    )


def test_worked_by_hand() -> None:
    """Attention (½, ½) against (¾, ¼): ¾ ln 1.5 + ¼ ln ½. Hidden (1, 2) against (4, 6): (9 + 16) / 2. A token of even odds
    among four: ln 4. Unit vectors at right angles: relations of e to 1."""
    found = attention_kl(torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[0.75, 0.25]]]]))
    assert found.tolist() == pytest.approx([0.75 * math.log(1.5) + 0.25 * math.log(0.5)], rel=1e-6)
    assert hidden_l2(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[4.0, 6.0]]])).tolist() == [12.5]
    assert sequence_level(torch.zeros(1, 1, 4), torch.tensor([[3]])).tolist() == pytest.approx([math.log(4)])
    p = math.e / (math.e + 1)
    apart = relation_kl(torch.zeros(1, 2, 1), torch.eye(2)[None] * 2**0.25, 1)  # scores of 1 and 0 over the root of 2
    assert apart.tolist() == pytest.approx([kl([p, 1 - p], [0.5, 0.5])], rel=1e-6)


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
@pytest.mark.parametrize("name", ["attention", "hidden", "relation", "tokens", "sequence"])
def test_gradcheck(name: str, mask: Tensor | None) -> None:
    student = drawn(B, A, L, L, seed=3) if name == "attention" else drawn(B, L, D, seed=3)
    teacher = torch.rand_like(student) if name == "attention" else drawn(B, L, D, seed=4)
    tokens = torch.tensor([[0, 4, 2, 2], [1, 3, -1, -1], [-1, -1, -1, -1]])
    losses: dict[str, Any] = {
        "attention": lambda s: attention_kl(s.softmax(dim=-1), teacher, 2.0, mask),
        "hidden": lambda s: hidden_l2(s, teacher, mask),
        "relation": lambda s: relation_kl(s, teacher, 2, mask),
        "tokens": lambda s: token_soft_label(s, teacher, 2.0, mask),
        "sequence": lambda s: sequence_level(s, tokens),
    }
    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(losses[name], student)
    losses[name](student).sum().backward()
    assert teacher.grad is None and student.grad is not None and bool(student.grad.any())


def test_a_student_that_looks_nowhere_is_moved_to_where_the_teacher_looks() -> None:
    """Through the softmax before it, the gradient is q - p even where the student's probability is next to nothing."""
    scores = torch.tensor([[[[0.0, -20.0]]]], dtype=torch.float32, requires_grad=True)
    attention_kl(scores.softmax(dim=-1), torch.tensor([[[[0.5, 0.5]]]])).sum().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    np.testing.assert_allclose(scores.grad.flatten(), [0.5, -0.5], atol=2e-3)


def test_relations_do_not_see_turns_of_a_head_and_hidden_states_do() -> None:
    teacher, turn = drawn(B, L, D, seed=5), torch.linalg.qr(drawn(3, 3, seed=6))[0]
    student = torch.cat([teacher[:, :, :3] @ turn, teacher[:, :, 3:] @ turn], dim=2)
    assert float(relation_kl(student, teacher, 2).abs().max()) < 1e-12
    assert float(relation_kl(student, teacher, 3).max()) > 1e-3 and float(hidden_l2(student, teacher).min()) > 0.1


def test_the_trainers_mean_is_over_the_tokens_of_the_batch() -> None:
    """Rows of 4, 2 and 0 tokens: Σ w l / Σ w is the mean over six tokens, not over rows."""
    student, teacher = drawn(B, L, K, seed=1).float(), drawn(B, L, K, seed=2).float()
    x = LossInputs(
        student, torch.full((B,), -1), 0.5, tiny.Rows(teacher.flatten(1)), token_mask_BL=MASK
    )  # flat, as a store gives it
    total, _ = Terms([TokenSoftLabelSpec()], World()).loss(x)
    each = token_soft_label(student[MASK][:, None], teacher[MASK][:, None], 1.0)
    assert float(total) == pytest.approx(float(each.mean()), rel=1e-5) and len(each) == 6
    assert float(total) != pytest.approx(float(token_soft_label(student, teacher, 1.0, MASK).mean()), rel=1e-2)
    tokens = torch.where(MASK, 1, -1)
    x = LossInputs(student, torch.full((B,), -1), 0.5, tiny.Rows(tokens, "tokens"))
    assert SequenceLevelSpec().mask(x).tolist() == [4, 2, 0]
    total, _ = Terms([SequenceLevelSpec()], World()).loss(x)
    assert float(total) == pytest.approx(-float(student.log_softmax(dim=2)[MASK][:, 1].mean()), rel=1e-5)


@pytest.mark.parametrize(("heads", "ours", "theirs", "says", "student", "teacher"), [
    ("group", 2, 2, "", [[1, 0], [0, 1]], [[1, 0], [0, 1]]),
    ("group", 2, 4, "the teacher's 4 heads as 2 means", [[1, 0], [0, 1]], [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]),
    ("group", 4, 2, "the student's 4 heads as 2 means", [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], [[1, 0], [0, 1]]),
    ("average", 2, 3, "the student's 2 heads as 1 means; the teacher's 3 heads as 1 means", [[0.5, 0.5]], [[1 / 3] * 3]),
    (((2,), (0, 1)), 2, 3, "the teacher's 3 heads as 2 means", [[1, 0], [0, 1]], [[0, 0, 1], [0.5, 0.5, 0]]),
])  # fmt: skip
def test_heads_are_joined(heads: Any, ours: int, theirs: int, says: str, student: Any, teacher: Any) -> None:
    joint = AttentionKlSpec(heads=heads).joint((ours, L, L), (theirs, L, L), "x")
    for side, num, shares in ((joint.student, ours, student), (joint.teacher, theirs, teacher)):
        maps = drawn(B, num, L, L, seed=7)
        torch.testing.assert_close(side(maps), torch.einsum("ga,bals->bgls", torch.tensor(shares).double(), maps))
        assert not list(side.parameters()) and not side.state_dict()
    assert joint.says == says


@pytest.mark.parametrize(("spec", "student", "teacher", "words"), [
    (AttentionKlSpec(), (2, 4, 4), (3, 4, 4), r"x: heads must be a multiple .*got 2 of the student and 3 .*heads: average"),
    (AttentionKlSpec(heads=((0,), (3,))), (2, 4, 4), (3, 4, 4), r"heads must list the teacher's, 0 to 2, .*with \[3\]"),
    (AttentionKlSpec(heads=((0,),)), (2, 4, 4), (3, 4, 4), r"for each of the student's 2; got 1 groups"),
    (AttentionKlSpec(), (2, 4, 4), (2, 9, 9), r"of the same tokens; got \[2, 4, 4\] of the student and \[2, 9, 9\]"),
    (AttentionKlSpec(), (4, 6), (4, 6), r"must be attention \[heads, L, L\]"),
    (HiddenL2Spec(), (4, 6), (9, 6), r"of the same tokens; got \[4, 6\] of the student and \[9, 6\].*Use feature-l2"),
    (HiddenL2Spec(), (6, 2, 2), (6, 2, 2), r"must be hidden states \[L, D\]"),
    (RelationKlSpec(), (4, 8), (9, 8), r"of the same tokens; got \[4, 8\] of the student and \[9, 8\]"),
    (RelationKlSpec(relation_heads=3), (4, 9), (2, 4, 5), r"relation_heads must divide both widths; got relation_heads=3, 9 .*10"),
    (RelationKlSpec(), (8,), (8,), r"must be vectors \[L, D\]"),
])  # fmt: skip
def test_what_cannot_be_joined_says_why(spec: Any, student: Any, teacher: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        spec.joint(student, teacher, "x")


def test_adapters_are_one_linear_map_or_none() -> None:
    joint = HiddenL2Spec().joint((L, 6), (L, 6), "x")
    assert (
        isinstance(joint.student, nn.Linear)
        and joint.student.bias is None
        and joint.says.startswith("linear map of 6 to 6")
    )
    joint = RelationKlSpec(relation_heads=2).joint((2, L, 3), (L, 8), "x")
    heads = drawn(B, 2, L, 3, seed=8)
    torch.testing.assert_close(joint.student(heads), torch.cat([heads[:, 0], heads[:, 1]], dim=2))
    assert not list(joint.student.parameters())


@pytest.mark.parametrize(("call", "words"), [
    (lambda: attention_kl(torch.ones(2, 1, 3, 3), torch.ones(2, 2, 3, 3)), r"\[2, 1, 3, 3\] and \[2, 2, 3, 3\]"),
    (lambda: attention_kl(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4), 1, torch.ones(2, 3)), r"\[2, 4\]; got \[2, 3\]"),
    (lambda: hidden_l2(torch.ones(2, 3, 4), torch.ones(2, 3, 5)), r"\[2, 3, 4\] and \[2, 3, 5\]"),
    (lambda: relation_kl(torch.ones(2, 3, 4), torch.ones(2, 2, 4), 1), r"\[2, 3, 4\] and \[2, 2, 4\]"),
    (lambda: relation_kl(torch.ones(2, 3, 4), torch.ones(2, 3, 4), 3), r"divide both widths"),
    (lambda: token_soft_label(torch.ones(2, 3), torch.ones(2, 3), 1), r"\[2, 3\] and \[2, 3\]"),
    (lambda: sequence_level(torch.ones(2, 3, 4), torch.ones(2, 2)), r"\[2, 3, 4\] and \[2, 2\]"),
    (lambda: sequence_level(torch.ones(1, 1, 4), torch.tensor([[4]])), r"must be in 0..3, the student's classes; got 4"),
])  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf])
def test_temperature_bounds(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be in"):
        attention_kl(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), temperature)
    with pytest.raises(ValueError, match="temperature must be in"):
        token_soft_label(torch.ones(1, 1, 2), torch.ones(1, 1, 2), temperature)


def test_specs() -> None:
    assert AttentionKlSpec().needs() == Needs(taps="auto", tap_sort="attention")
    assert RelationKlSpec().needs() == Needs(taps="last", tap_sort="qkv")
    assert HiddenL2Spec().needs() == Needs(taps="auto")
    assert TokenSoftLabelSpec(temperature=2.0).needs() == Needs(teacher="logits", temperatures=(2.0,))
    assert SequenceLevelSpec().needs() == Needs(teacher="tokens")
    assert AttentionKlSpec.teaches == ("classes", "tokens", "values") and SequenceLevelSpec.teaches == ("tokens",)
    with pytest.raises(StoreError, match="needs the teacher's tokens; the teacher gives logits"):
        SequenceLevelSpec().loss(LossInputs(torch.zeros(1, 2, 3), torch.zeros(1), 0.0, tiny.Rows(torch.zeros(1, 2, 3))))
    with pytest.raises(ShapeError, match=r"must give logits of tokens \[B, L, K\] for this objective; got \[2, 3\]"):
        TokenSoftLabelSpec().loss(LossInputs(torch.zeros(2, 3), torch.zeros(2), 0.0, tiny.Rows(torch.zeros(2, 3))))
