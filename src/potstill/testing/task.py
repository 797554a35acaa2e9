"""The contract of a task. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import get_args

import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.hashing import canonical_json
from potstill.core.outputs import TaskOutput
from potstill.tasks import TaskSpec, registry
from potstill.testing import tiny
from potstill.testing._claims import claims_of
from potstill.testing.spec import check_spec


def check_task(spec: TaskSpec) -> None:
    """Check that a task judges rows one by one, leaves rows without a label out, and that its headline is their mean.

    Args:
        spec: of a classification task, the only sort there is.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "task")
    claims = claims_of("task", spec)
    allowed = get_args(TaskOutput)
    claims.that(
        getattr(spec, "output", None) in allowed, f"must say in `output` what its models give, one of {allowed}"
    )
    num_classes = 12
    outputs, labels = tiny.logits(60, num_classes), np.arange(60) % num_classes
    labels[::7] = -1
    classes = [f"class {k}" for k in range(num_classes)]
    metrics, rows = spec.metrics(outputs, labels, classes), spec.correct(outputs, labels)
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
        spec.correct(outputs[order], labels[order]), rows[back[order][known]], "a row must be judged by itself"
    )
    right = np.where(labels[:, None] == np.arange(num_classes), 9.0, 0.0).astype(np.float32)
    claims.that(spec.metrics(right, labels, classes)[spec.headline] == 1.0, "the headline must be 1 where all is right")
    wrong = spec.metrics(-right, labels, classes)[spec.headline]
    claims.that(wrong < metrics[spec.headline] < 1, "larger must be better in the headline", wrong=wrong)
    broken = outputs.copy()
    broken[1, 0] = np.nan
    none = np.full_like(labels, -1)
    for name, action in {
        "NaN": lambda: spec.metrics(broken, labels, classes), "no label": lambda: spec.metrics(outputs, none, classes),
        "another number of classes": lambda: spec.metrics(outputs[:, 1:], labels, classes),
        "another number of rows": lambda: spec.correct(outputs[1:], labels),
    }.items():  # fmt: skip
        claims.refuses(action, PotstillError, f"must refuse {name}")
