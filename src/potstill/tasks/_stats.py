"""Statistics of classification outputs. NumPy only. Shapes: N rows, K classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15


def softmax(logits_NK: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities [N, K] float64."""
    shifted = logits_NK.astype(np.float64) - logits_NK.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    out: NDArray[np.float64] = exp / exp.sum(axis=1, keepdims=True)
    return out


def confusion(
    predicted_N: NDArray[Any], labels_N: NDArray[Any], num_classes: int, weights_N: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return [K, K] counts, or sums of weights, rows true, columns predicted."""
    flat = np.bincount(labels_N * num_classes + predicted_N, weights_N, minlength=num_classes * num_classes)
    return flat.reshape(num_classes, num_classes)


def calibration(
    probabilities_NK: NDArray[Any], labels_N: NDArray[Any], weights_N: NDArray[Any] | None = None
) -> tuple[float, list[dict[str, Any]]]:
    """Return (expected calibration error, its 15 equal-width bins); weighted where rows have weights, but for `count`.

    A bin holds its lower edge, the last one 1 as well; empty bins have confidence and accuracy None.

    Reference: Guo et al. 2017, arXiv:1706.04599, eq. 3, whose bins hold their upper edge.
    """
    confidence = probabilities_NK.max(axis=1)
    correct = probabilities_NK.argmax(axis=1) == labels_N
    weights = np.ones(len(labels_N)) if weights_N is None else weights_N
    which = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    error, bins = 0.0, []
    for b in range(ECE_BINS):
        inside = which == b
        count = int(inside.sum())
        mean: tuple[float | None, float | None] = (None, None)
        if count:
            own = weights[inside]
            sure, right = (
                float(np.average(confidence[inside], weights=own)),
                float(np.average(correct[inside], weights=own)),
            )
            mean = (sure, right)
            error += float(own.sum() / weights.sum()) * abs(sure - right)
        bins.append(
            {
                "low": b / ECE_BINS,
                "high": (b + 1) / ECE_BINS,
                "confidence": mean[0],
                "accuracy": mean[1],
                "count": count,
            }
        )
    return error, bins


def auroc(scores_N: NDArray[Any], positive_N: NDArray[Any], weights_N: NDArray[Any] | None = None) -> float | None:
    """Return the area under the ROC curve: how often a positive row has a larger score than another, ties counting half.

    Args:
        scores_N: larger is surer.
        positive_N: bool.
        weights_N: what each row counts; None counts all alike.

    Returns:
        In [0, 1]; None where all rows are of one side.

    Reference: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    weights = np.ones(len(scores_N)) if weights_N is None else weights_N.astype(np.float64)
    _, place = np.unique(scores_N, return_inverse=True)
    positive = np.bincount(place, weights * positive_N)
    negative = np.bincount(place, weights * ~positive_N.astype(bool))
    if positive.sum() == 0 or negative.sum() == 0:
        return None
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def average_precision(
    scores_N: NDArray[Any], positive_N: NDArray[Any], weights_N: NDArray[Any] | None = None
) -> float | None:
    """Return the mean of precision over positive rows, each at its own score; rows of one score count together.

    Args:
        scores_N: larger is surer.
        positive_N: bool.
        weights_N: what each row counts; None counts all alike.

    Returns:
        In (0, 1]; None where no row is positive.

    Reference: Zhu 2004, Recall, precision and average precision; not interpolated.
    """
    weights = np.ones(len(scores_N)) if weights_N is None else weights_N.astype(np.float64)
    _, place = np.unique(-np.asarray(scores_N, np.float64), return_inverse=True)
    positive, total = np.bincount(place, weights * positive_N), np.bincount(place, weights)
    if positive.sum() == 0:
        return None
    precision = np.cumsum(positive) / np.cumsum(total)
    return float((precision * positive).sum() / positive.sum())


def wilson(successes: float, num: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the 95 % interval of a share, in [0, 1]; (0, 1) where num is 0.

    Reference: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if num == 0:
        return 0.0, 1.0
    p = successes / num
    middle = (p + z * z / (2 * num)) / (1 + z * z / num)
    half = z * math.sqrt(p * (1 - p) / num + z * z / (4 * num * num)) / (1 + z * z / num)
    return max(0.0, middle - half), min(1.0, middle + half)
