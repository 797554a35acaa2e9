"""One class for each picture. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.tasks._base import TaskSpec, registry
from potstill.tasks._stats import calibration, confusion, softmax


@registry.register
class ImageClassificationSpec(TaskSpec):
    """One class for each picture; judged by accuracy."""

    headline: ClassVar[str] = "accuracy"
    kind: Literal["image-classification"] = "image-classification"

    def metrics(self, outputs_NK: NDArray[Any], labels_N: NDArray[Any], classes: list[str]) -> dict[str, Any]:
        """Return accuracy, macro F1, balanced accuracy, NLL, ECE with its bins, per class figures, the confusion.

        Rows whose label is -1 are left out. A class that never occurs and is never predicted has F1 0 and is left out
        of the macro mean.
        """
        known = labels_N >= 0
        outputs, labels = outputs_NK[known], labels_N[known].astype(np.int64)
        num_classes = len(classes)
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
            "accuracy": float(hits.sum() / max(len(labels), 1)),
            "macro_f1": float(f1[present].mean()) if present.any() else 0.0,
            "balanced_accuracy": float(recall[support > 0].mean()) if (support > 0).any() else 0.0,
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
        """Return [N] float64 of 0 and 1."""
        return (outputs_NK.argmax(axis=1) == labels_N).astype(np.float64)
