"""Objectives on features against references in plain Python loops. Shapes: B rows, C channels, P positions, D width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.core.errors import ShapeError, TrainingError
from potstill.objectives import LossInputs, Needs
from potstill.objectives._features import FeatureSpec
from potstill.objectives.attention_transfer import AttentionTransferSpec, attention_transfer
from potstill.objectives.feature_correlation import FeatureCorrelationSpec, feature_correlation
from potstill.objectives.feature_l2 import FeatureL2Spec, feature_l2
from potstill.objectives.rkd import RkdSpec, rkd_angle, rkd_distance
from potstill.objectives.similarity_preserving import SimilarityPreservingSpec, similarity_preserving

Array = NDArray[Any]
PICTURE, TOKENS, VECTOR = (5, 4, 3, 2), (5, 6, 4), (5, 4)
SHAPES = {"picture": PICTURE, "tokens": TOKENS, "vector": VECTOR}


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def positions(features: Array) -> Array:
    """[B, P, C] of any features."""
    if features.ndim == 4:
        return features.reshape(*features.shape[:2], -1).transpose(0, 2, 1)
    return features if features.ndim == 3 else features[:, None]


def norm(values: Array) -> float:
    return math.sqrt(math.fsum(float(v) ** 2 for v in values))


def huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) <= 1 else abs(difference) - 0.5


def reference_l2(student: Array, teacher: Array, normalize: bool = False) -> Array:
    out = []
    for s, t in zip(positions(student), positions(teacher), strict=True):
        if normalize:
            each = [
                math.fsum((a / norm(p) - b / norm(q)) ** 2 for a, b in zip(p, q, strict=True))
                for p, q in zip(s, t, strict=True)
            ]
            out.append(math.fsum(each) / len(each))
        else:
            out.append(math.fsum((a - b) ** 2 for a, b in zip(s.ravel(), t.ravel(), strict=True)) / s.size)
    return np.array(out)


def reference_attention(student: Array, teacher: Array) -> Array:
    out = []
    for s, t in zip(positions(student), positions(teacher), strict=True):
        maps = [[math.fsum(c**2 for c in p) for p in f] for f in (s, t)]
        a, b = ([v / norm(np.array(m)) for v in m] for m in maps)
        out.append(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a))
    return np.array(out)


def reference_similarity(student: Array, teacher: Array) -> float:
    """1 / B² times the squared Frobenius norm."""
    grams = []
    for f in (student, teacher):
        rows = f.reshape(len(f), -1)
        gram = [[math.fsum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
        grams.append([[v / norm(np.array(row)) for v in row] for row in gram])
    return (
        math.fsum((a - b) ** 2 for p, q in zip(*grams, strict=True) for a, b in zip(p, q, strict=True))
        / len(student) ** 2
    )


def pooled_rows(features: Array) -> list[Array]:
    return [np.array([math.fsum(c) / len(c) for c in row.T]) for row in positions(features)]


def reference_correlation(student: Array, teacher: Array, gamma: float = 0.4, order: int = 2) -> float:
    kernels = []
    for f in (student, teacher):
        rows = [r / norm(r) for r in pooled_rows(f)]
        kernels.append([[
            math.exp(-2 * gamma) * math.fsum((2 * gamma) ** p / math.factorial(p) * float(a @ b) ** p for p in range(order + 1))
            for b in rows] for a in rows
        ])  # fmt: skip
    return float(np.mean([(a - b) ** 2 for p, q in zip(*kernels, strict=True) for a, b in zip(p, q, strict=True)]))


def reference_distance(student: Array, teacher: Array) -> float:
    both = []
    for f in (student, teacher):
        rows = pooled_rows(f)
        apart = [norm(a - b) for a, b in itertools.permutations(rows, 2)]
        both.append([d / (math.fsum(apart) / len(apart)) for d in apart])
    return math.fsum(huber(a - b) for a, b in zip(*both, strict=True)) / len(student) ** 2


def reference_angle(student: Array, teacher: Array) -> float:
    total, num = [], len(student)
    ours, theirs = pooled_rows(student), pooled_rows(teacher)
    for j, i, k in itertools.product(range(num), repeat=3):
        if j in (i, k):
            continue
        cosines = []
        for rows in (ours, theirs):
            a, b = rows[i] - rows[j], rows[k] - rows[j]
            cosines.append(float(a @ b) / (norm(a) * norm(b)))
        total.append(huber(cosines[0] - cosines[1]))
    return math.fsum(total) / num**3


PER_EXAMPLE: dict[str, tuple[Callable[..., Tensor], Callable[..., Any], dict[str, Any]]] = {
    "feature-l2": (feature_l2, reference_l2, {}),
    "feature-l2 normalised": (feature_l2, reference_l2, {"normalize": True}),
    "attention-transfer": (attention_transfer, reference_attention, {}),
}
RELATIONS: dict[str, tuple[Callable[..., Tensor], Callable[..., Any], dict[str, Any]]] = {
    "similarity-preserving": (similarity_preserving, reference_similarity, {}),
    "feature-correlation": (feature_correlation, reference_correlation, {}),
    "feature-correlation 0.9 3": (feature_correlation, reference_correlation, {"gamma": 0.9, "order": 3}),
    "rkd distance": (rkd_distance, reference_distance, {}),
    "rkd angle": (rkd_angle, reference_angle, {}),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_a_loss_of_each_example_is_that_of_the_paper(name: str, shape: str) -> None:
    loss, reference, options = PER_EXAMPLE[name]
    student, teacher = drawn(SHAPES[shape], 1), drawn(SHAPES[shape], 2)
    if name == "attention-transfer" and shape == "vector":
        with pytest.raises(ShapeError):
            loss(student, teacher)
        return
    found = loss(student, teacher, **options)
    np.testing.assert_allclose(found.numpy(), reference(student.numpy(), teacher.numpy(), **options), rtol=1e-12)
    np.testing.assert_allclose(loss(student.float(), teacher.float(), **options).numpy(), found.numpy(), rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", RELATIONS)
def test_the_mean_of_a_relation_is_the_papers_batch_loss(name: str, shape: str) -> None:
    loss, reference, options = RELATIONS[name]
    student, teacher = drawn(SHAPES[shape], 1), drawn((5, 7), 2)
    found = loss(student, teacher, **options)
    assert found.shape == (5,)
    np.testing.assert_allclose(found.mean(), reference(student.numpy(), teacher.numpy(), **options), rtol=1e-10)


@pytest.mark.parametrize("name", [*PER_EXAMPLE, *RELATIONS])
def test_gradcheck(name: str) -> None:
    loss, _, options = {**PER_EXAMPLE, **RELATIONS}[name]
    student, teacher = drawn((4, 2, 2, 2), 3).requires_grad_(), drawn((4, 2, 2, 2), 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, **options), student)
    loss(student, teacher, **options).sum().backward()
    assert teacher.grad is None


def test_worked_by_hand() -> None:
    """(1, 2) against (4, 6): (9 + 16) / 2 over elements. Maps (1, 0) and (0, 1): (1 + 1) / 2."""
    assert feature_l2(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])).tolist() == [12.5]
    a, b = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]], [[0.0, 4.0]]]])
    assert attention_transfer(a, b).tolist() == [1.0]
    rows = torch.eye(2)
    np.testing.assert_allclose(similarity_preserving(rows, torch.ones(2, 2)), [0.2929, 0.2929], atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "change"),
    [
        (attention_transfer, "scale"), (similarity_preserving, "scale"), (feature_correlation, "scale"), (rkd_distance, "scale"),
        (rkd_angle, "scale"), (rkd_distance, "shift"), (rkd_angle, "shift"), (rkd_distance, "turn"), (rkd_angle, "turn"),
        (feature_correlation, "turn"), (similarity_preserving, "turn"),
    ],
    ids=lambda v: getattr(v, "__name__", v),
)  # fmt: skip
def test_what_a_loss_does_not_see(loss: Callable[..., Tensor], change: str) -> None:
    """Relations and maps are invariant to scale; distances and angles to shifts and turns as well."""
    teacher = drawn((5, 4) if loss is not attention_transfer else PICTURE, 5)
    turn = torch.linalg.qr(drawn((4, 4), 6))[0]
    student = {"scale": 3 * teacher, "shift": teacher + 7, "turn": teacher @ turn if teacher.ndim == 2 else teacher}[
        change
    ]
    assert float(loss(student, teacher).abs().max()) < 1e-20
    assert float(loss(drawn(tuple(teacher.shape), 8), teacher).max()) > 1e-4


def test_normalised_features_do_not_see_scale_and_others_do() -> None:
    features = drawn(PICTURE, 9)
    assert float(feature_l2(2 * features, features, normalize=True).max()) < 1e-20
    assert float(feature_l2(2 * features, features).min()) > 0.1


@pytest.mark.parametrize("name", RELATIONS)
def test_small_batches(name: str) -> None:
    """One row has no relation. Two have one distance, which is 1 by its own mean, and no angle."""
    loss, _, _ = RELATIONS[name]
    assert float(loss(drawn((1, 4), 1), drawn((1, 6), 2)).abs().max()) < 1e-12
    two = float(loss(drawn((2, 4), 1), drawn((2, 6), 2)).abs().max())
    assert (two < 1e-12) == name.startswith("rkd"), two


@pytest.mark.parametrize(("shapes", "error"), [
    (((4, 3, 2, 2), (4, 3, 2, 1)), ShapeError), (((4, 3, 2, 2), (4, 2, 2, 2)), ShapeError), (((4, 3), (1, 3)), ShapeError), (((4,), (4,)), ShapeError),
])  # fmt: skip
def test_features_that_do_not_fit_are_both_named(shapes: Any, error: type[Exception]) -> None:
    a, b = (torch.zeros(s) for s in shapes)
    with pytest.raises(error) as caught:
        feature_l2(a, b)
    assert str(list(shapes[0])) in str(caught.value) and str(list(shapes[1])) in str(caught.value)


@pytest.mark.parametrize(
    "loss", [similarity_preserving, feature_correlation, rkd_distance, rkd_angle], ids=lambda f: f.__name__
)
def test_relations_need_the_same_rows(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(ShapeError, match=r"\[3, 4\] and \[2, 4\]"):
        loss(torch.zeros(3, 4), torch.zeros(2, 4))


def test_attention_needs_the_same_positions_and_not_the_same_width() -> None:
    assert attention_transfer(drawn((2, 3, 4, 4), 1), drawn((2, 7, 4, 4), 2)).shape == (2,)
    with pytest.raises(ShapeError, match=r"\[2, 3, 4, 4\] and \[2, 3, 4, 2\]"):
        attention_transfer(drawn((2, 3, 4, 4), 1), drawn((2, 3, 4, 2), 2))


@pytest.mark.parametrize(("gamma", "order"), [(0.0, 2), (-1.0, 2), (math.inf, 2), (0.4, 0)])
def test_kernel_bounds(gamma: float, order: int) -> None:
    with pytest.raises(ValueError, match="feature_correlation: needs"):
        feature_correlation(torch.eye(3), torch.eye(3), gamma, order)


def test_rkd_weighs_its_parts_as_the_paper_does() -> None:
    student, teacher = drawn((5, 4), 1), drawn((5, 6), 2)
    parts = rkd_distance(student, teacher), rkd_angle(student, teacher)
    torch.testing.assert_close(RkdSpec().pair_loss(student, teacher), 25 * parts[0] + 50 * parts[1])
    torch.testing.assert_close(RkdSpec(angle=0).pair_loss(student, teacher), 25 * parts[0])
    torch.testing.assert_close(RkdSpec(distance=0).pair_loss(student, teacher), 50 * parts[1])
    with pytest.raises(ValueError, match="must not both be 0"):
        RkdSpec(distance=0, angle=0)


SPECS: dict[str, tuple[type[FeatureSpec], float, str, bool, str]] = {
    "feature-l2": (FeatureL2Spec, 1.0, "auto", False, "all"),
    "attention-transfer": (AttentionTransferSpec, 1000.0, "auto", False, "space"),
    "similarity-preserving": (SimilarityPreservingSpec, 3000.0, "last", True, "nothing"),
    "feature-correlation": (FeatureCorrelationSpec, 1.0, "last", True, "nothing"),
    "rkd": (RkdSpec, 1.0, "last", True, "nothing"),
}


@pytest.mark.parametrize("kind", SPECS)
def test_specs(kind: str) -> None:
    cls, weight, taps, relational, joins = SPECS[kind]
    spec = cls()
    assert spec.kind == kind and spec.weight == weight and spec.needs() == Needs(taps=taps)  # type: ignore[arg-type]
    assert (spec.relational, spec.joins) == (relational, joins)
    student, teacher = drawn((4, 2, 3, 3), 1), drawn((4, 2, 3, 3), 2)
    x = LossInputs(torch.zeros(4, 2), torch.zeros(4), 0.5, student_taps={"a": student, "b": teacher},
                   teacher_taps={"a": teacher, "b": student})  # fmt: skip
    torch.testing.assert_close(spec.loss(x), spec.pair_loss(student, teacher) + spec.pair_loss(teacher, student))
    with pytest.raises(TrainingError, match=r"under the same names; got \['a'\] and \[\]"):
        spec.loss(LossInputs(torch.zeros(4, 2), torch.zeros(4), 0.5, student_taps={"a": student}))


@pytest.mark.parametrize(
    "taps", [[], "first", [{"student": "2"}], [{"student": "", "teacher": "x"}], [{"student": 4.1, "teacher": "x"}]]
)
def test_taps_that_are_no_pairs_are_refused(taps: Any) -> None:
    with pytest.raises(ValueError):
        FeatureL2Spec.model_validate({"taps": taps})


def test_a_number_is_a_name() -> None:
    spec = FeatureL2Spec.model_validate({"taps": [{"student": 4, "teacher": "layer2"}]})
    assert not isinstance(spec.taps, str) and spec.taps[0].student == "4"
