"""The values that follow a window of a series. Shapes: N rows, H horizon, V variables."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError, ShapeError
from potstill.core.outputs import TaskOutput
from potstill.core.samples import SampleKind
from potstill.tasks._base import TaskSpec, Truth, Unit, registry


@registry.register
class TimeseriesForecastingSpec(TaskSpec):
    """The values that follow a window; judged by the mean squared error, on standardised data."""

    headline: ClassVar[str] = "one_minus_mse"
    called: ClassVar[str] = "MSE"
    unit: ClassVar[Unit] = "error"
    output: ClassVar[TaskOutput] = "values"
    reads: ClassVar[tuple[SampleKind, ...]] = ("series",)
    kind: Literal["timeseries-forecasting"] = "timeseries-forecasting"

    def metrics(self, outputs_NX: NDArray[Any], truth: Truth) -> dict[str, Any]:
        """Return MSE and MAE over all values, MSE by step and by variable, and 1 - MSE, which larger is better of.

        On standardised data an MSE of 1 is that of forecasting the training mean, if the test varies as the training did.
        Rows without targets are left out.

        Raises:
            ShapeError: outputs are not [N, H, V] as the targets.
            DataError: no row has targets, or an output is not finite.
        """
        error, weights = self._errors(outputs_NX, truth)
        squared, num = error**2, len(error)
        shares = weights / weights.sum()
        by_step = np.einsum("n,nhv->h", shares, squared) / error.shape[2]
        by_variable = np.einsum("n,nhv->v", shares, squared) / error.shape[1]
        mse = float(by_step.mean())
        return {
            "one_minus_mse": 1 - mse,
            "mse": mse,
            "mae": float(np.einsum("n,nhv->", shares, np.abs(error)) / error[0].size),
            "mse_by_step": by_step.tolist(),
            "per_variable": [
                {"name": name, "mse": float(by_variable[v]), "mae": float((shares @ np.abs(error[:, :, v])).mean())}
                for v, name in enumerate(truth.classes)
            ],
            "rows": num,
        }

    def correct(self, outputs_NX: NDArray[Any], truth: Truth) -> NDArray[Any]:
        """Return float64 of 1 - each row's mean squared error, times weight over mean weight. Raises as `metrics`."""
        error, weights = self._errors(outputs_NX, truth)
        share: NDArray[np.float64] = (1 - (error**2).mean(axis=(1, 2))) * (weights / weights.mean())
        return share

    def _errors(self, outputs_NX: NDArray[Any], truth: Truth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (errors, weights) of the rows that have targets, checked."""
        targets = truth.targets_NHV
        if targets is None:
            raise DataError(f"{self.kind}: rows must have targets; this data has labels alone. Use a source that gives them: "
                            "kind: forecast.")  # fmt: skip
        outputs = outputs_NX.reshape(targets.shape) if outputs_NX.size == targets.size else outputs_NX
        if outputs.shape != targets.shape:
            raise ShapeError(f"{self.kind}: outputs must be {list(targets.shape)}, rows, steps and variables of the targets; got "
                             f"{list(outputs_NX.shape)}. Check the model's horizon.")  # fmt: skip
        known = truth.labels_N >= 0
        if not known.any():
            raise DataError(f"{self.kind}: at least one row must have targets; got {len(known)} rows, all without.")
        bad = known & ~np.isfinite(outputs).all(axis=(1, 2))
        if bad.any():
            raise DataError(f"{self.kind}: outputs must be finite; got NaN or Inf in row {int(np.argmax(bad))}. Lower "
                            "learning_rate, or set clip_norm.")  # fmt: skip
        error = outputs[known].astype(np.float64) - np.asarray(targets)[known]
        weights = np.ones(len(error)) if truth.weights_N is None else truth.weights_N[known].astype(np.float64)
        return error, weights
