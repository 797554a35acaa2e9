"""What damage to samples does to a model's answers. Shapes: R rows, Y one output, C corruptions, S severities, G groups of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.tasks import TaskSpec, Truth
from potstill.verify.gain import accuracy_interval, independent

_RESAMPLES = 1000
_NONE = 1e-9
"""An error up to this is none, but for the rounding of weights."""


@dataclass(frozen=True)
class Answers:
    """What one model gave for the same rows, whole and damaged."""

    clean: NDArray[Any]
    """[R, *Y], as the task judges it."""
    corrupted: dict[str, dict[int, NDArray[Any]]]
    """Corruption -> severity -> [R, *Y]."""

    def errors(self, task: TaskSpec, truth: Truth) -> NDArray[np.float64]:
        """Return [C, S, J] what each judged row lacks of the headline; the mean over rows is 1 - headline, whatever they weigh."""
        known = truth.labels_N >= 0
        weights = np.ones(int(known.sum())) if truth.weights_N is None else truth.weights_N[known].astype(np.float64)
        whole = weights / weights.mean()
        return np.stack([[whole - task.correct(o, truth) for o in by.values()] for by in self.corrupted.values()])


def own_truth(task: TaskSpec, outputs_RY: NDArray[Any], classes: list[str]) -> Truth:
    """Return a truth by which a model's own answers are right: the same answer again is 1 by the headline, and of answers that are
    never quite the same (values, texts) the headline says how near another one is."""
    labels = np.zeros(len(outputs_RY), np.int64)
    if task.output == "classes":
        return Truth(outputs_RY.argmax(axis=1), classes)
    return Truth(labels, classes, (outputs_RY > 0).astype(np.float32) if task.output == "flags" else outputs_RY)


def figures(task: TaskSpec, answers: Answers, truth: Truth, groups_R: NDArray[Any] | None) -> dict[str, Any]:
    """Return what damage does to one model, JSON values.

    `clean`, each severity of each of `corruptions` and `mean`, over all of them, have the headline with its 95 % interval.
    `consistency` is the headline with the model's own answers to the whole samples as the truth: where a row has one class, the share of rows
    whose class stays the same. Of classes also `ece`, the expected calibration error in 15 bins (Guo et al. 2017, arXiv:1706.04599), and, where
    rows are out of scope, `rejection`, the AUROC of the largest probability (Hendrycks and Gimpel 2017, arXiv:1610.02136); both clean,
    and as a mean over corruptions and severities.

    Args:
        task: gives the headline.
        answers: of the model.
        truth: of the rows.
        groups_R: whose rows they are; None where none is stated.
    """
    own = own_truth(task, answers.clean, truth.classes)

    def interval(share_J: NDArray[Any]) -> dict[str, Any]:
        value, low, high = accuracy_interval(independent(share_J[None], groups_R, truth))
        return {"value": value, "low": low, "high": high, "unit": task.unit}

    def kept(outputs: NDArray[Any]) -> float:
        same = (
            (outputs == answers.clean).reshape(len(outputs), -1).all(axis=1)
        )  # of two empty texts the headline says 0
        return float(np.where(same, 1.0, task.correct(outputs, own)).mean())

    by = {
        name: {str(s): interval(task.correct(o, truth)) | {"consistency": kept(o)} for s, o in found.items()}
        for name, found in answers.corrupted.items()
    }
    every = [cell for cells in by.values() for cell in cells.values()]
    first = [next(iter(cells.values()))["consistency"] for cells in by.values()]
    return {
        "clean": interval(task.correct(answers.clean, truth)),
        "corruptions": by,
        "mean": interval(
            np.mean([task.correct(o, truth) for found in answers.corrupted.values() for o in found.values()], axis=0)
        ),
        "consistency": {"first": float(np.mean(first)), "mean": float(np.mean([c["consistency"] for c in every]))},
        **_sureness(task, answers, truth),
    }


def _sureness(task: TaskSpec, answers: Answers, truth: Truth) -> dict[str, Any]:
    """Return calibration and rejection, None where they have no meaning."""
    out: dict[str, Any] = {"ece": None, "rejection": None}
    if task.output != "classes":
        return out
    clean = task.metrics(answers.clean, truth)
    damaged = [task.metrics(o, truth) for by in answers.corrupted.values() for o in by.values()]
    out["ece"] = {"clean": clean["ece"], "corrupted": float(np.mean([m["ece"] for m in damaged]))}
    if "rejection" in clean:
        corrupted = float(np.mean([m["rejection"]["auroc"] for m in damaged]))
        out["rejection"] = {"clean": clean["rejection"]["auroc"], "corrupted": corrupted}
    return out


def corruption_error(
    errors_CSJ: NDArray[Any], teacher_CSJ: NDArray[Any], names: list[str], groups_J: NDArray[Any] | None
) -> dict[str, Any]:
    """Return a model's errors as multiples of the teacher's on the same damaged rows.

    Of a corruption c, CE_c = sum over severities of the model's error / sum over severities of the teacher's; `mce` is the mean of CE_c
    over corruptions. An error is 1 minus the headline. Where the teacher makes no error under a corruption, CE_c is not defined: it
    is None, the corruption is in `left_out` and not in the mean, and `mce` is None where none is left.

    Reference: Hendrycks and Dietterich 2019, arXiv:1903.12261, section 4.2. Departs: the teacher stands where the paper has AlexNet, so that
    1 is the teacher's own; the 95 % interval is ours, a percentile bootstrap over rows, or over groups where rows belong to them, the same
    draws for both models, and None where the teacher makes no error in one of them.

    Args:
        errors_CSJ: of the model, of each judged row.
        teacher_CSJ: likewise.
        names: of the corruptions.
        groups_J: whose rows they are; None where each row is by itself.
    """
    index = np.arange(errors_CSJ.shape[2]) if groups_J is None else np.unique(groups_J, return_inverse=True)[1]
    ours, theirs = (
        np.stack([np.bincount(index, row) for row in errors.sum(axis=1)]) for errors in (errors_CSJ, teacher_CSJ)
    )
    usable = teacher_CSJ.mean(axis=(1, 2)) > _NONE
    ce = [float(a / b) if ok else None for a, b, ok in zip(ours.sum(axis=1), theirs.sum(axis=1), usable, strict=True)]
    out: dict[str, Any] = {
        "ce": dict(zip(names, ce, strict=True)),
        "left_out": [n for n, ok in zip(names, usable, strict=True) if not ok],
        "mce": None,
    }
    if not usable.any():
        return out
    num = ours.shape[1]
    draws = np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), size=_RESAMPLES)
    below = draws @ theirs[usable].T
    bounds: tuple[float | None, ...] = (None, None)
    if (below > _NONE).all():
        bounds = tuple(float(v) for v in np.percentile((draws @ ours[usable].T / below).mean(axis=1), [2.5, 97.5]))
    value = float(np.mean([c for c in ce if c is not None]))
    out["mce"] = {"value": value, "low": bounds[0], "high": bounds[1]}
    return out
