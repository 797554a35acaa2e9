"""What results say of outputs, by what the task gives, and the test rows that people look at. Shapes: N rows, K classes, H horizon,
V variables, T steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.data.dataset import Dataset
from potstill.tasks import TaskSpec, Truth

_SENTENCES = 24
"""Texts that are shown."""
_FORECASTS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99)
"""Quantiles of the student's error, of the rows whose forecasts are drawn."""


def scores(task: TaskSpec, outputs_NX: NDArray[Any], truth: Truth) -> dict[str, Any]:
    """Return what the report shows of outputs beside the headline."""
    found = task.metrics(outputs_NX, truth)
    if task.output != "classes":
        return {k: v for k, v in found.items() if k != task.headline}
    return {
        "macro_f1": found["macro_f1"],
        **{name: found[name] for name in ("macro_auroc", "rejection") if name in found},
        "nll": found["nll"],
        "per_class": found["per_class"],
        "confusion": found["confusion"],
        "calibration": {"ece": found["ece"], "bins": found["calibration"]},
    }


def mean_scores(task: TaskSpec, runs: list[NDArray[Any]], truth: Truth) -> dict[str, Any]:
    """Return the means over seeds that an arm has beside its headline, and figures by class of the first seed."""
    found = [task.metrics(outputs, truth) for outputs in runs]
    names = [
        n
        for n in (
            "macro_f1",
            "macro_auroc",
            "balanced_accuracy",
            "mean_average_precision",
            "exact_match",
            "mse",
            "mae",
            "bleu",
            "chrf",
        )
        if n in found[0]
    ]
    out: dict[str, Any] = {n: float(np.mean([f[n] for f in found])) for n in names if found[0][n] is not None}
    if "rejection" in found[0]:
        judged = [f["rejection"] for f in found]
        out["rejection"] = {n: float(np.mean([r[n] for r in judged])) for n in ("auroc", "false_accept_rate")}
    if "per_class" in found[0]:
        out["per_class"] = found[0]["per_class"]
    return out


def sentences(
    dataset: Dataset, truth: Truth, teacher_NW: NDArray[Any], student_NW: NDArray[Any], task: TaskSpec
) -> list[dict[str, Any]]:
    """Return the student's worst texts beside what was read, the true text and the teacher's, of rows that have a true text."""
    targets, known = truth.targets_NHV, np.flatnonzero(truth.labels_N >= 0)
    if targets is None:
        return []
    score = task.correct(student_NW, truth)
    out = []
    for i in np.argsort(score, kind="stable")[:_SENTENCES]:
        row = int(known[i])
        texts = {
            "source": dataset.splits["test"].samples,
            "target": targets,
            "teacher": teacher_NW,
            "student": student_NW,
        }
        out.append({"row": row, "score": float(score[i]), **{name: _text(rows[row]) for name, rows in texts.items()}})
    return out


def _text(row: NDArray[Any]) -> str:
    return bytes(np.ascontiguousarray(row, np.uint8)).split(b"\0", 1)[0].decode("utf-8", "replace")


def forecasts(
    dataset: Dataset, truth: Truth, teacher_NHV: NDArray[Any], student_NHV: NDArray[Any]
) -> list[dict[str, Any]]:
    """Return rows of small to large errors of the student, one variable each, with what came before where that was seen."""
    targets = truth.targets_NHV
    if targets is None:
        return []
    error = np.square(student_NHV - targets).mean(axis=(1, 2))
    order = np.argsort(error, kind="stable")
    samples, num = dataset.splits["test"].samples, targets.shape[2]
    out = []
    for i, quantile in enumerate(_FORECASTS):
        row, v = int(order[round(quantile * (len(order) - 1))]), (num - 1 - i) % num
        past = samples[row, -2 * targets.shape[1] :, v] if samples.shape[2] == num else np.empty(0)
        lines = {
            "past": past,
            "truth": targets[row, :, v],
            "teacher": teacher_NHV[row, :, v],
            "student": student_NHV[row, :, v],
        }
        out.append({
            "row": row, "variable": truth.classes[v], "quantile": quantile, "error": float(error[row]),
            **{name: _rounded(values) for name, values in lines.items()},
        })  # fmt: skip
    return out


def _rounded(values: NDArray[Any]) -> list[float]:
    return [float(f"{v:.4g}") for v in np.asarray(values, np.float64)]
