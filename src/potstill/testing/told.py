"""The contracts of an objective that reads the true tokens alone, and of a task of texts. Shapes: B rows, L tokens, K to choose from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.hashing import canonical_json
from potstill.objectives import LossInputs, Needs, ObjectiveSpec, registry
from potstill.tasks import TaskSpec, Truth
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

_B, _L, _K = 5, 6, 9


def check_told_objective(spec: ObjectiveSpec) -> None:
    """Check that an objective moves the student towards the true tokens, by these alone, and counts rows by their tokens.

    Args:
        spec: valid; teaches tokens and reads no teacher.

    Raises:
        AssertionError: something does not hold; says what.
    """
    import torch

    check_spec(spec, registry, "objective")
    claims = claims_of("objective", spec)
    claims.that(str(getattr(spec, "reference", "")).strip(), "must name its paper in `reference`")
    claims.that(spec.needs() == Needs(labels=True), "must read the truth and nothing else", needs=spec.needs())
    rng = np.random.default_rng(4)
    real = torch.arange(_L) < torch.tensor([6, 4, 1, 0, 5])[:, None]
    tokens = torch.from_numpy(rng.integers(0, _K, (_B, _L))).where(real, torch.tensor(-1))
    student = torch.from_numpy(rng.normal(size=(_B, _L, _K))).requires_grad_()
    x = LossInputs(student, torch.zeros(_B, dtype=torch.int64), 0.3, tokens_BL=tokens, token_mask_BL=real)
    loss, mask = spec.loss(x), spec.mask(x)
    claims.that(loss.shape == (_B,), "loss must be [B], one value a row", shape=list(loss.shape))
    claims.that(mask is not None and mask.tolist() == [6, 4, 1, 0, 5], "mask must be each row's number of tokens")
    claims.that(float(loss[3].detach()) == 0, "must be 0 where nothing of a row is known")
    loss.sum().backward()  # type: ignore[no-untyped-call]
    gradient = student.grad
    assert gradient is not None
    claims.finite(gradient, "the gradient must be finite")
    claims.that(not bool(gradient[~real].any()), "must have no gradient at padding")
    better = replace(x, output=student.detach() - 0.1 * gradient)
    claims.that(bool((spec.loss(better) <= loss + 1e-12).all()), "a step against the gradient must lower the loss")
    for i in range(_B):
        alone = replace(x, output=x.output[i : i + 1], labels_B=x.labels_B[:1], tokens_BL=tokens[i : i + 1],
                        token_mask_BL=real[i : i + 1])  # fmt: skip
        claims.close(spec.loss(alone), loss[i : i + 1], "a row's loss must be its own alone")
    for place in range(0, _B * _L * _K, 23):
        moved = torch.zeros_like(student)
        moved.view(-1)[place] = 1e-6
        up, down = (float(spec.loss(replace(x, output=student.detach() + s * moved)).sum().detach()) for s in (1, -1))
        claims.close(
            float(gradient.view(-1)[place]), (up - down) / 2e-6, "the gradient must be that of differences", 1e-3, 1e-6
        )
    claims.refuses(lambda: spec.loss(replace(x, tokens_BL=None)), PotstillError, "must refuse data without texts")
    claims.refuses(lambda: spec.loss(replace(x, output=x.output[:, 1:])), PotstillError, "must refuse another length")
    claims.refuses(lambda: spec.loss(replace(x, tokens_BL=tokens + _K)), PotstillError, "must refuse unknown tokens")


def check_writing(claims: Claims, spec: TaskSpec) -> None:
    """Check that a task judges texts row by row, leaves rows without one out, and that its headline is their mean."""
    said = [f"the {a} {b} a {c}" for a in ("old", "new") for b in ("dog", "cat") for c in ("ball", "tree", "red house")]
    other = [text.replace("dog", "cow").replace("tree", "bush") for text in said]
    targets, outputs = _bytes(said), _bytes(other)
    labels = np.zeros(len(said), np.int64)
    labels[::5], targets[::5] = -1, 0
    truth = Truth(labels, ["text"], targets)
    metrics, rows = spec.metrics(outputs, truth), spec.correct(outputs, truth)
    canonical_json(metrics)
    claims.that(spec.headline in metrics, "metrics must hold the headline", metrics=sorted(metrics))
    known = labels >= 0
    claims.that(
        rows.dtype == np.float64 and rows.shape == (known.sum(),), "correct must be float64, one a row with a text"
    )
    claims.that(rows.min() >= 0 and rows.max() <= 1, "correct must lie in [0, 1]", low=rows.min(), high=rows.max())
    claims.close(rows.mean(), metrics[spec.headline], "the headline must be the mean of correct", 1e-12)
    order = np.random.default_rng(0).permutation(len(said))
    back = np.cumsum(known) - 1
    claims.equal(
        spec.correct(outputs[order], truth.take(order)),
        rows[back[order][known[order]]],
        "a row must be judged by itself",
    )
    claims.close(
        spec.metrics(_bytes(said), truth)[spec.headline], 1.0, "the headline must be 1 where all is right", 1e-9
    )
    none = Truth(np.full_like(labels, -1), ["text"], targets)
    for name, action in {
        "no text": lambda: spec.metrics(outputs, none), "another number of rows": lambda: spec.correct(outputs[1:], truth),
        "numbers": lambda: spec.metrics(outputs.astype(np.float32), truth),
        "data without texts": lambda: spec.metrics(outputs, Truth(labels, ["a", "b"])),
    }.items():  # fmt: skip
        claims.refuses(action, PotstillError, f"must refuse {name}")


def _bytes(texts: list[str]) -> NDArray[np.uint8]:
    out = np.zeros((len(texts), 40), np.uint8)
    for row, text in zip(out, texts, strict=True):
        row[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    return out
