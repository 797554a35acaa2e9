"""What tasks of one class a row share. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError, ShapeError
from potstill.core.outputs import TaskOutput
from potstill.tasks._base import TaskSpec, Truth
from potstill.tasks._stats import auroc, calibration, confusion, softmax


class ClassificationSpec(TaskSpec):
    """One class for each row; judged by accuracy."""

    headline: ClassVar[str] = "accuracy"
    output: ClassVar[TaskOutput] = "classes"

    def metrics(self, outputs_NX: NDArray[Any], truth: Truth) -> dict[str, Any]:
        """Return accuracy, macro F1, balanced accuracy, macro AUROC, NLL, ECE with its bins, per class figures, the confusion.

        Rows whose label is -1 are left out. A class that never occurs and is never predicted has F1 0 and is left out
        of the macro mean. AUROC is of each class's probability against all others, its mean over classes that occur. Where rows have weights, every figure but `support` and the bins' `count` is weighted.

        Raises:
            ShapeError: outputs are not [N, K] of these classes, or not as many as labels.
            DataError: no row has a label, a label is not in 0..K-1, or an output is not finite.
        """
        num_classes = len(truth.classes)
        outputs, labels, weights = self._judged(outputs_NX, truth, num_classes)
        probabilities = softmax(outputs)
        counts = confusion(outputs.argmax(axis=1), labels, num_classes)
        table = counts if weights is None else confusion(outputs.argmax(axis=1), labels, num_classes, weights)
        hits, support, predicted = np.diag(table), table.sum(axis=1), table.sum(axis=0)
        recall = hits / np.where(support > 0, support, 1)
        precision = hits / np.where(predicted > 0, predicted, 1)
        f1 = 2 * hits / np.where(support + predicted > 0, support + predicted, 1)
        present = (support + predicted) > 0
        ece, bins = calibration(probabilities, labels, weights)
        areas = [auroc(probabilities[:, k], labels == k, weights) for k in range(num_classes)]
        own = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300))
        out: dict[str, Any] = {
            "accuracy": float(hits.sum() / table.sum()),
            "macro_f1": float(f1[present].mean()),
            "balanced_accuracy": float(recall[support > 0].mean()),
            "macro_auroc": float(np.mean([a for a in areas if a is not None])) if any(a is not None for a in areas) else None,
            "nll": float(np.average(own, weights=weights)),
            "ece": ece,
            "calibration": bins,
            "per_class": [
                {"name": name, "support": int(counts[k].sum()), "precision": float(precision[k]),
                 "recall": float(recall[k]), "f1": float(f1[k])}
                for k, name in enumerate(truth.classes)
            ],
            "confusion": counts.tolist(),
        }  # fmt: skip
        if num_classes > 10:
            top = np.argpartition(-outputs, 4, axis=1)[:, :5]
            out["top5_accuracy"] = float(np.average((top == labels[:, None]).any(axis=1), weights=weights))
        return out

    def correct(self, outputs_NX: NDArray[Any], truth: Truth) -> NDArray[Any]:
        """Return float64, one for each row that has a label: 0 and 1, times weight over mean weight. Raises as `metrics`."""
        outputs, labels, weights = self._judged(outputs_NX, truth, outputs_NX.shape[-1])
        hit: NDArray[np.float64] = (outputs.argmax(axis=1) == labels).astype(np.float64)
        return hit if weights is None else hit * (weights / weights.mean())

    def _judged(
        self, outputs_NK: NDArray[Any], truth: Truth, num_classes: int
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64] | None]:
        """Return outputs, labels and weights of the rows that have a label, checked."""
        labels_N, where = truth.labels_N, self.kind
        if outputs_NK.ndim != 2 or outputs_NK.shape != (len(labels_N), num_classes):
            raise ShapeError(
                f"{where}: outputs must be [{len(labels_N)}, {num_classes}], one row a label and one column a class; got "
                f"{list(outputs_NK.shape)}. Check the model's number of classes."
            )
        known = labels_N >= 0
        outputs, labels = outputs_NK[known], labels_N[known].astype(np.int64)
        if len(labels) == 0:
            raise DataError(
                f"{where}: at least one row must have a label; got {len(labels_N)} rows, all without. Nothing can be judged "
                "by them. Give the split labels, or leave it out so that one is drawn."
            )
        if labels.max() >= num_classes:
            raise DataError(f"{where}: labels must be in 0..{num_classes - 1}; got {labels.max()}.")
        finite = np.isfinite(outputs).all(axis=1)
        if not finite.all():
            row = int(np.flatnonzero(known)[int(np.flatnonzero(~finite)[0])])
            raise DataError(
                f"{where}: outputs must be finite; got NaN or Inf in row {row}. Its argmax would be an answer that the "
                "model never gave."
            )
        weights = None if truth.weights_N is None else truth.weights_N[known].astype(np.float64)
        return outputs, labels, weights
