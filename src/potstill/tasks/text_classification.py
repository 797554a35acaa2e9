"""One class for each text, and which texts are of none. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.samples import SampleKind
from potstill.tasks._base import Truth, registry
from potstill.tasks._classification import ClassificationSpec
from potstill.tasks._stats import auroc, softmax

_ACCEPTED = 0.95


@registry.register
class TextClassificationSpec(ClassificationSpec):
    """One class for each text; judged by accuracy, and by how well texts of no class are told from the others."""

    reads: ClassVar[tuple[SampleKind, ...]] = ("text",)
    kind: Literal["text-classification"] = "text-classification"
    unlabelled: Literal["unknown", "out-of-scope"] = "unknown"
    """What a row without a label is when outputs are judged: one whose class nobody knows, which is left out, or a text of no
    class, which a model should be unsure of."""

    def metrics(self, outputs_NX: NDArray[Any], truth: Truth) -> dict[str, Any]:
        """Return what every classification has and, where rows are out of scope, `rejection`: of the largest probability as a
        score for being in scope, `auroc`; at the threshold that accepts 95 % of the texts in scope, `false_accept_rate`, the
        share of the others that it accepts too; `threshold`, and both counts. Raises as every classification.

        Reference: Hendrycks and Gimpel 2017, arXiv:1610.02136.
        """
        out = super().metrics(outputs_NX, truth)
        outside = truth.labels_N < 0
        if self.unlabelled == "out-of-scope" and outside.any():
            highest = softmax(outputs_NX).max(axis=1)
            out["rejection"] = rejection(highest[~outside], highest[outside])
        return out


def rejection(inside_N: NDArray[Any], outside_M: NDArray[Any]) -> dict[str, Any]:
    """Return how well a score tells texts in scope from others.

    Args:
        inside_N: scores of texts in scope, larger is surer.
        outside_M: of the others.
    """
    scores = np.concatenate([inside_N, outside_M])
    threshold = float(np.quantile(inside_N, 1 - _ACCEPTED, method="lower"))
    return {
        "auroc": auroc(scores, np.arange(len(scores)) < len(inside_N)),
        "false_accept_rate": float((outside_M >= threshold).mean()),
        "threshold": threshold,
        "num_inside": len(inside_N),
        "num_outside": len(outside_M),
    }
