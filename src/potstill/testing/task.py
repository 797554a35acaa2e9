"""The contract of a task. Shapes: N rows, K classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.hashing import canonical_json
from potstill.core.outputs import TaskOutput
from potstill.tasks import TaskSpec, Truth, registry
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec
from potstill.testing.told import check_writing


def check_task(spec: TaskSpec) -> None:
    """Check that a task judges rows one by one, leaves rows without a label out, and that its headline is their mean.

    Args:
        spec: of a task of classes, or of values.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "task")
    claims = claims_of("task", spec)
    allowed = get_args(TaskOutput)
    claims.that(
        getattr(spec, "output", None) in allowed, f"must say in `output` what its models give, one of {allowed}"
    )
    claims.that(bool(getattr(spec, "reads", ())), "must say in `reads` which samples it is about")
    if spec.output in ("values", "flags"):
        _check_targets(claims, spec)
        return
    if spec.output == "tokens":
        check_writing(claims, spec)
        return
    num_classes = 12
    outputs, labels = tiny.logits(60, num_classes), np.arange(60) % num_classes
    labels[::7] = -1
    classes = [f"class {k}" for k in range(num_classes)]
    truth = Truth(labels, classes)
    metrics, rows = spec.metrics(outputs, truth), spec.correct(outputs, truth)
    canonical_json(metrics)
    claims.that(
        spec.headline in metrics, "metrics must hold the headline", headline=spec.headline, metrics=sorted(metrics)
    )
    claims.that(rows.dtype == np.float64 and rows.shape == ((labels >= 0).sum(),), "correct must be float64, one a labelled row", dtype=rows.dtype, shape=rows.shape)  # fmt: skip
    claims.that(rows.min() >= 0 and rows.max() <= 1, "correct must lie in [0, 1]", low=rows.min(), high=rows.max())
    claims.close(rows.mean(), metrics[spec.headline], "the headline must be the mean of correct", 1e-12)
    order = np.random.default_rng(0).permutation(60)
    known = labels[order] >= 0
    back = np.cumsum(labels >= 0) - 1
    claims.equal(
        spec.correct(outputs[order], truth.take(order)), rows[back[order][known]], "a row must be judged by itself"
    )
    right = np.where(labels[:, None] == np.arange(num_classes), 9.0, 0.0).astype(np.float32)
    claims.that(spec.metrics(right, truth)[spec.headline] == 1.0, "the headline must be 1 where all is right")
    wrong = spec.metrics(-right, truth)[spec.headline]
    claims.that(wrong < metrics[spec.headline] < 1, "larger must be better in the headline", wrong=wrong)
    broken = outputs.copy()
    broken[1, 0] = np.nan
    none = np.full_like(labels, -1)
    for name, action in {
        "NaN": lambda: spec.metrics(broken, truth), "no label": lambda: spec.metrics(outputs, Truth(none, classes)),
        "another number of classes": lambda: spec.metrics(outputs[:, 1:], truth),
        "another number of rows": lambda: spec.correct(outputs[1:], truth),
    }.items():  # fmt: skip
        claims.refuses(action, PotstillError, f"must refuse {name}")
    _check_weights(claims, spec, outputs, truth)


def _check_weights(claims: Claims, spec: TaskSpec, outputs: NDArray[Any], truth: Truth) -> None:
    """A row of weight 2 must count as two rows do; one weight for all, as none."""
    num = len(truth.labels_N)
    weights = np.ones(num, np.float32)
    plain = spec.metrics(outputs, truth)[spec.headline]
    claims.close(
        spec.metrics(outputs, replace(truth, weights_N=3 * weights))[spec.headline],
        plain,
        "equal weights must change nothing",
        1e-9,
    )
    weights[: num // 2] = 2
    weighted = replace(truth, weights_N=weights)
    twice = np.r_[np.arange(num), np.arange(num // 2)]
    doubled = spec.metrics(outputs[twice], truth.take(twice))[spec.headline]
    claims.close(spec.metrics(outputs, weighted)[spec.headline], doubled, "a row of weight 2 must count as two", 1e-6)
    claims.close(
        spec.correct(outputs, weighted).mean(),
        doubled,
        "the headline must be the mean of correct with weights too",
        1e-6,
    )


def _check_targets(claims: Claims, spec: TaskSpec) -> None:
    rng, flags = np.random.default_rng(0), spec.output == "flags"
    targets = rng.normal(size=(60, 12, 2)).astype(np.float32)
    if flags:
        targets = (targets[..., 0] > 0.3).astype(np.float32)
    labels = np.zeros(60, np.int64)
    labels[::7] = -1
    targets[::7] = np.nan
    truth = Truth(labels, [f"name {i}" for i in range(targets.shape[-1])], targets)
    right = np.nan_to_num(targets) * (2 if flags else 1) - flags
    outputs = right + rng.normal(size=targets.shape).astype(np.float32) / (1 if flags else 3)
    metrics, rows = spec.metrics(outputs, truth), spec.correct(outputs, truth)
    canonical_json(metrics)
    claims.that(
        spec.headline in metrics, "metrics must hold the headline", headline=spec.headline, metrics=sorted(metrics)
    )
    claims.that(rows.dtype == np.float64 and rows.shape == ((labels >= 0).sum(),), "correct must be float64, one a row with targets", dtype=rows.dtype, shape=rows.shape)  # fmt: skip
    claims.close(rows.mean(), metrics[spec.headline], "the headline must be the mean of correct", 1e-9)
    worse = spec.metrics(-outputs if flags else outputs + 1, truth)[spec.headline]
    claims.that(worse < metrics[spec.headline] <= 1, "larger must be better in the headline, at most 1", worse=worse)
    claims.close(
        spec.metrics(right, truth)[spec.headline],
        1.0,
        "the headline must be 1 where all is right",
        1e-6,
    )
    broken = outputs.copy()
    broken[1, 0] = np.nan
    for name, action in {
        "NaN": lambda: spec.metrics(broken, truth), "no targets": lambda: spec.metrics(outputs, replace(truth, labels_N=labels * 0 - 1)),
        "another shape": lambda: spec.metrics(outputs[:, 1:], truth), "another number of rows": lambda: spec.correct(outputs[1:], truth),
    }.items():  # fmt: skip
        claims.refuses(action, PotstillError, f"must refuse {name}")
    _check_weights(claims, spec, outputs, truth)
