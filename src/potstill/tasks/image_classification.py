"""One class for each picture. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError, ShapeError
from potstill.core.outputs import TaskOutput
from potstill.tasks._base import TaskSpec, registry
from potstill.tasks._stats import calibration, confusion, softmax


@registry.register
class ImageClassificationSpec(TaskSpec):
    """One class for each picture; judged by accuracy."""

    headline: ClassVar[str] = "accuracy"
    output: ClassVar[TaskOutput] = "classes"
    kind: Literal["image-classification"] = "image-classification"

    def metrics(self, outputs_NK: NDArray[Any], labels_N: NDArray[Any], classes: list[str]) -> dict[str, Any]:
        """Return accuracy, macro F1, balanced accuracy, NLL, ECE with its bins, per class figures, the confusion.

        Rows whose label is -1 are left out. A class that never occurs and is never predicted has F1 0 and is left out
        of the macro mean.

        Raises:
            ShapeError: outputs are not [N, K] of these classes, or not as many as labels.
            DataError: no row has a label, a label is not in 0..K-1, or an output is not finite.
        """
        num_classes = len(classes)
        outputs, labels = _judged(outputs_NK, labels_N, num_classes)
        probabilities = softmax(outputs)
        table = confusion(outputs.argmax(axis=1), labels, num_classes)
        hits, support, predicted = np.diag(table), table.sum(axis=1), table.sum(axis=0)
        recall = hits / np.maximum(support, 1)
        precision = hits / np.maximum(predicted, 1)
        f1 = 2 * hits / np.maximum(support + predicted, 1)
        present = (support + predicted) > 0
        ece, bins = calibration(probabilities, labels)
        own = probabilities[np.arange(len(labels)), labels]
        out: dict[str, Any] = {
            "accuracy": float(hits.sum() / len(labels)),
            "macro_f1": float(f1[present].mean()),
            "balanced_accuracy": float(recall[support > 0].mean()),
            "nll": float(-np.log(np.maximum(own, 1e-300)).mean()),
            "ece": ece,
            "calibration": bins,
            "per_class": [
                {"name": name, "support": int(support[k]), "precision": float(precision[k]),
                 "recall": float(recall[k]), "f1": float(f1[k])}
                for k, name in enumerate(classes)
            ],
            "confusion": table.tolist(),
        }  # fmt: skip
        if num_classes > 10:
            top = np.argpartition(-outputs, 4, axis=1)[:, :5]
            out["top5_accuracy"] = float((top == labels[:, None]).any(axis=1).mean())
        return out

    def correct(self, outputs_NK: NDArray[Any], labels_N: NDArray[Any]) -> NDArray[Any]:
        """Return float64 of 0 and 1, one for each row that has a label. Raises as `metrics`."""
        outputs, labels = _judged(outputs_NK, labels_N, outputs_NK.shape[-1])
        hit: NDArray[np.float64] = (outputs.argmax(axis=1) == labels).astype(np.float64)
        return hit


def _judged(
    outputs_NK: NDArray[Any], labels_N: NDArray[Any], num_classes: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the rows that have a label, checked."""
    if outputs_NK.ndim != 2 or outputs_NK.shape != (len(labels_N), num_classes):
        raise ShapeError(
            f"image-classification: outputs must be [{len(labels_N)}, {num_classes}], one row a label and one column a "
            f"class; got {list(outputs_NK.shape)}. Check the model's number of classes."
        )
    known = labels_N >= 0
    outputs, labels = outputs_NK[known], labels_N[known].astype(np.int64)
    if len(labels) == 0:
        raise DataError(
            f"image-classification: at least one row must have a label; got {len(labels_N)} rows, all without. Nothing "
            "can be judged by them. Give the split labels, or leave it out so that one is drawn."
        )
    if labels.max() >= num_classes:
        raise DataError(f"image-classification: labels must be in 0..{num_classes - 1}; got {labels.max()}.")
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(known)[int(np.flatnonzero(~finite)[0])])
        raise DataError(
            f"image-classification: outputs must be finite; got NaN or Inf in row {row}. Its argmax would be an answer "
            "that the model never gave."
        )
    return outputs, labels
