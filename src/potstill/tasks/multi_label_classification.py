"""Several classes a row, or none. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError, ShapeError
from potstill.core.outputs import TaskOutput
from potstill.core.samples import SampleKind
from potstill.tasks._base import TaskSpec, Truth, registry
from potstill.tasks._stats import auroc, average_precision


@registry.register
class MultiLabelClassificationSpec(TaskSpec):
    """Several of the classes for each row, or none; a class is said to be there where its logit is above 0."""

    headline: ClassVar[str] = "sample_f1"
    called: ClassVar[str] = "F1 of a row"
    output: ClassVar[TaskOutput] = "flags"
    reads: ClassVar[tuple[SampleKind, ...]] = ("image", "series", "audio", "text")
    kind: Literal["multi-label-classification"] = "multi-label-classification"

    def metrics(self, outputs_NX: NDArray[Any], truth: Truth) -> dict[str, Any]:
        """Return the mean over rows of each row's F1 (1 where it has no class and none is said), micro and macro F1, the share of
        answers that are right (hamming_accuracy) and of rows that are wholly so (exact_match), mean average precision and
        macro AUROC over classes that some rows have and others have not, and figures by class.

        Rows without targets are left out; where rows have weights, every figure but `support` is weighted.

        Raises:
            ShapeError: outputs are not [N, K] as the targets.
            DataError: no row has targets, or an output is not finite.
        """
        outputs, flags, weights = self._judged(outputs_NX, truth)
        said, share = outputs > 0, weights / weights.sum()
        hits, own, told = (share @ part.astype(np.float64) for part in (said & flags, flags, said))
        precision, recall = hits / np.where(told > 0, told, 1), hits / np.where(own > 0, own, 1)
        f1 = 2 * hits / np.where(own + told > 0, own + told, 1)
        present = (own + told) > 0
        areas = [auroc(outputs[:, k], flags[:, k], weights) for k in range(flags.shape[1])]
        ranks = [average_precision(outputs[:, k], flags[:, k], weights) for k in range(flags.shape[1])]
        return {
            "sample_f1": float(share @ _row_f1(said, flags)),
            "micro_f1": float(2 * hits.sum() / max(float((own + told).sum()), 1e-300)),
            "macro_f1": float(f1[present].mean()) if present.any() else 1.0,
            "hamming_accuracy": float(share @ (said == flags).mean(axis=1)),
            "exact_match": float(share @ (said == flags).all(axis=1)),
            "mean_average_precision": _mean(ranks),
            "macro_auroc": _mean(areas),
            "per_class": [
                {"name": name, "support": int(flags[:, k].sum()), "precision": float(precision[k]),
                 "recall": float(recall[k]), "f1": float(f1[k])}
                for k, name in enumerate(truth.classes)
            ],
        }  # fmt: skip

    def correct(self, outputs_NX: NDArray[Any], truth: Truth) -> NDArray[Any]:
        """Return float64, each row's F1, times weight over mean weight. Raises as `metrics`."""
        outputs, flags, weights = self._judged(outputs_NX, truth)
        found: NDArray[np.float64] = _row_f1(outputs > 0, flags) * (weights / weights.mean())
        return found

    def _judged(
        self, outputs_NK: NDArray[Any], truth: Truth
    ) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.float64]]:
        """Return outputs, flags and weights of the rows that have targets, checked."""
        targets = truth.targets_NHV
        if targets is None or targets.ndim != 2:
            raise DataError(f"{self.kind}: rows must have their classes as flags [N, K]; this data has one label a row. Use "
                            "another task, or a source of flags.")  # fmt: skip
        if outputs_NK.shape != targets.shape:
            raise ShapeError(f"{self.kind}: outputs must be {list(targets.shape)}, one row a row and one column a class; got "
                             f"{list(outputs_NK.shape)}. Check the model's number of classes.")  # fmt: skip
        known = truth.labels_N >= 0
        if not known.any():
            raise DataError(f"{self.kind}: at least one row must have targets; got {len(known)} rows, all without.")
        bad = known & ~np.isfinite(outputs_NK).all(axis=1)
        if bad.any():
            raise DataError(f"{self.kind}: outputs must be finite; got NaN or Inf in row {int(np.argmax(bad))}.")
        weights = np.ones(int(known.sum())) if truth.weights_N is None else truth.weights_N[known].astype(np.float64)
        return outputs_NK[known], np.asarray(targets)[known] > 0.5, weights


def _row_f1(said_NK: NDArray[np.bool_], flags_NK: NDArray[np.bool_]) -> NDArray[np.float64]:
    both = (said_NK & flags_NK).sum(axis=1)
    total = said_NK.sum(axis=1) + flags_NK.sum(axis=1)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
