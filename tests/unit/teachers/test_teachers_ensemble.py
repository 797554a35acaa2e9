"""Several teachers as one: weights that are the same for all rows, and weights by each member's confidence. Shapes: M members,
B rows, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from potstill.core.errors import TeacherError
from potstill.models.resnet import ResNetSpec
from potstill.teachers.ensemble import EnsembleLabeller, EnsembleSpec, confidence
from potstill.teachers.train import TrainedTeacherSpec

PIXELS = np.zeros((4, 1, 2, 2), np.float32)
TWO = (TrainedTeacherSpec(model=ResNetSpec(depth=8)),) * 2


class Says:
    """A labeller that gives what it was told to."""

    def __init__(self, values_BK: NDArray[Any], output: Any = "logits") -> None:
        self.values, self.output, self.num_classes = values_BK.astype(np.float32), output, values_BK.shape[1]

    def __call__(self, pixels_BCHW: NDArray[Any]) -> NDArray[Any]:
        return self.values[: len(pixels_BCHW)]


def drawn(seed: int, scale: float = 2.0) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(scale=scale, size=(4, 5))


def softmax(row: list[float]) -> list[float]:
    exp = [math.exp(z - max(row)) for z in row]
    return [e / math.fsum(exp) for e in exp]


def reference(members: list[NDArray[Any]], fixed: list[float], by_entropy: bool, of_logits: bool) -> NDArray[Any]:
    """The weighted mean, a row at a time in plain Python."""
    out = []
    for rows in zip(*(m.astype(np.float32).astype(float).tolist() for m in members), strict=True):
        shares = [softmax(row) for row in rows]
        weights = list(fixed)
        if by_entropy:
            perplexity = [math.exp(-math.fsum(a * math.log(a) for a in p)) for p in shares]
            weights = [
                w * (1 - e / math.fsum(perplexity)) / (len(rows) - 1) for w, e in zip(fixed, perplexity, strict=True)
            ]
        total = math.fsum(weights)
        values = rows if of_logits else shares
        out.append([math.fsum(w * v[k] for w, v in zip(weights, values, strict=True)) / total for k in range(5)])
    return np.array(out)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("weighting", ["fixed", "entropy"])
@pytest.mark.parametrize("fixed", [[1.0, 1.0], [3.0, 1.0], [1.0, 2.0, 0.5], [0.0, 1.0, 1.0]])
def test_matches_the_definition(fixed: list[float], weighting: Any, average: Any) -> None:
    members = [drawn(i) for i in range(len(fixed))]
    got = EnsembleLabeller([Says(m) for m in members], fixed, average, weighting)(PIXELS)
    assert got.dtype == np.float32
    expected = reference(members, fixed, weighting == "entropy", average == "logits")
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    if average == "probabilities":
        np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-6)


def test_worked_by_hand() -> None:
    """Entropies 0 and ln 4: perplexities 1 and 4, so the weights are 4/5 and 1/5."""
    sure, unsure = np.eye(4)[:1], np.full((1, 4), 0.25)
    np.testing.assert_allclose(confidence(np.stack([sure, unsure])), [[0.8], [0.2]], rtol=1e-12)
    both = EnsembleLabeller(
        [Says(sure, "probabilities"), Says(unsure, "probabilities")], [1, 1], "probabilities", "entropy"
    )(PIXELS[:1])
    np.testing.assert_allclose(both, [[0.85, 0.05, 0.05, 0.05]], rtol=1e-6)
    three = confidence(np.stack([sure, unsure, unsure]))  # perplexities 1, 4, 4
    np.testing.assert_allclose(three[:, 0], [(1 - 1 / 9) / 2, (1 - 4 / 9) / 2, (1 - 4 / 9) / 2], rtol=1e-12)


def test_equally_sure_members_weigh_alike_whatever_they_say() -> None:
    p = np.stack([np.roll(np.array([[0.7, 0.2, 0.1, 0.0]]), i, axis=1) for i in range(3)])
    np.testing.assert_allclose(confidence(p), np.full((3, 1), 1 / 3), rtol=1e-12)
    np.testing.assert_allclose(confidence(np.stack([np.eye(4)] * 2)), np.full((2, 4), 0.5), rtol=1e-12)


def test_rows_have_weights_of_their_own() -> None:
    """Each member is sure of other rows; a row's weights do not depend on the rest of the batch."""
    p = np.stack([np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.6, 0.4], [0.99, 0.01]])])
    weights = confidence(p)
    assert weights[0, 0] > weights[1, 0]
    assert weights[0, 1] < weights[1, 1]
    np.testing.assert_array_equal(confidence(p[:, 1:]), weights[:, 1:])
    labeller = EnsembleLabeller([Says(drawn(1)), Says(drawn(2))], [1, 1], "logits", "entropy")
    np.testing.assert_array_equal(labeller(PIXELS[:2]), labeller(PIXELS)[:2])


def test_copies_are_the_member_itself() -> None:
    for weighting in ("fixed", "entropy"):
        got = EnsembleLabeller([Says(drawn(3))] * 3, [1, 2, 3], "logits", weighting)(PIXELS)  # type: ignore[arg-type]
        np.testing.assert_allclose(got, drawn(3), rtol=1e-5)


def test_members_of_both_outputs() -> None:
    """One of logits, one of probabilities: what is averaged is probabilities, and confidence is read of both."""
    first, second = drawn(4), drawn(5)
    shares = np.array([softmax(row) for row in second.tolist()])
    got = EnsembleLabeller([Says(first), Says(shares, "probabilities")], [1, 1], "probabilities", "entropy")(PIXELS)
    np.testing.assert_allclose(got, reference([first, second], [1, 1], True, False), rtol=1e-5)
    with pytest.raises(TeacherError, match=r"teacher.average: must be probabilities"):
        EnsembleLabeller([Says(first), Says(shares, "probabilities")], [1, 1], "logits")


def test_outputs_that_are_not_alike() -> None:
    with pytest.raises(TeacherError, match=r"must give alike outputs; got \[\[4, 5\], \[4, 4\]\]"):
        EnsembleLabeller([Says(drawn(1)), Says(drawn(2)[:, :4])], [1, 1], "logits")(PIXELS)


@pytest.mark.parametrize("fields", [{"weights": (1.0,)}, {"weights": (1.0, -1.0)}, {"weights": (0.0, 0.0)}])
def test_weights_that_do_not_fit(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="one number >= 0 for each of 2 members"):
        EnsembleSpec(members=TWO, **fields)


def test_a_spec_says_how_it_weighs() -> None:
    assert EnsembleSpec(members=TWO).weighting == "fixed"
    assert EnsembleSpec(members=TWO, weighting="entropy").weighting == "entropy"
    with pytest.raises(ValidationError, match="weighting"):
        EnsembleSpec(members=TWO, weighting="confidence")  # type: ignore[arg-type]
