"""The gate before labelling: does this teacher know the task, in this order, on these pixels? Shapes: N rows, K classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import TeacherError
from potstill.teachers._base import Labeller

_BATCH = 64
_MARGIN_ORDER = 0.2
_MARGIN_INPUT = 0.1
_P = 1e-3


@dataclass(frozen=True)
class GateReport:
    """What the gate saw."""

    accuracy: float
    """On the labelled rows it was shown, [0, 1]."""
    num_rows: int
    chance: float
    """Share of the most common class."""
    checks: list[dict[str, Any]] = field(default_factory=list)
    """{"name", "ok", "detail"} each."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def run_gate(
    labeller: Labeller, pixels_NCHW: NDArray[Any], labels_N: NDArray[Any], classes: list[str], *, foreign: bool
) -> GateReport:
    """Check a teacher on labelled rows.

    Args:
        labeller: ready to label.
        pixels_NCHW: float32 in [0, 1], at most a thousand or so.
        labels_N: int64, none missing.
        classes: names in label order.
        foreign: its preprocessing is the user's word, so others are tried.

    Raises:
        TeacherError: wrong outputs, at chance, shuffled classes, or wrong preprocessing; names the remedy.
    """
    checks: list[dict[str, Any]] = []
    outputs = _outputs(labeller, pixels_NCHW)
    _check_outputs(outputs, labeller, classes, checks)
    predicted = outputs.argmax(axis=1)
    num = len(labels_N)
    accuracy = float((predicted == labels_N).mean())
    chance = float(np.bincount(labels_N, minlength=len(classes)).max() / num)
    _check_order(predicted, labels_N, accuracy, classes, checks)
    if foreign:
        _check_input(labeller, pixels_NCHW, labels_N, accuracy, checks)
    _check_chance(predicted, accuracy, chance, num, classes, checks)
    return GateReport(accuracy, num, chance, checks)


def _outputs(labeller: Callable[[NDArray[Any]], NDArray[Any]], pixels: NDArray[Any]) -> NDArray[Any]:
    parts = []
    for start in range(0, len(pixels), _BATCH):
        part = pixels[start : start + _BATCH]
        padded = np.concatenate([part, np.repeat(part[-1:], _BATCH - len(part), axis=0)])
        parts.append(np.asarray(labeller(padded))[: len(part)])
    return np.concatenate(parts)


def _check_outputs(outputs: NDArray[Any], labeller: Labeller, classes: list[str], checks: list[dict[str, Any]]) -> None:
    if outputs.ndim != 2 or outputs.shape[1] != len(classes):
        raise TeacherError(
            f"teacher: must give one output a class, {len(classes)}; got {list(outputs.shape[1:])}. Set "
            "teacher.class_order to pick its columns."
        )
    if not np.isfinite(outputs).all():
        raise TeacherError("teacher: outputs must be finite; got NaN or Inf. Check its weights and its input's range.")
    looks = bool(((outputs >= -1e-6) & (outputs <= 1 + 1e-6)).all() and np.abs(outputs.sum(axis=1) - 1).max() < 1e-3)
    if looks and labeller.output == "logits":
        raise TeacherError(
            "teacher.output: must say what the teacher gives; it says logits, but every row is a probability "
            "distribution. Softening them as logits would flatten them all. Set output: probabilities."
        )
    if not looks and labeller.output == "probabilities":
        raise TeacherError(
            "teacher.output: must say what the teacher gives; it says probabilities, but rows do not sum to 1. Set "
            "output: logits."
        )
    checks.append({"name": "outputs", "ok": True, "detail": f"{len(classes)} finite {labeller.output} a row"})


def _check_order(
    predicted: NDArray[Any], labels: NDArray[Any], accuracy: float, classes: list[str], checks: list[dict[str, Any]]
) -> None:
    from scipy.optimize import linear_sum_assignment

    num_classes = len(classes)
    table = np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)
    _, columns = linear_sum_assignment(-table)
    best = float(table[np.arange(num_classes), columns].sum() / len(labels))
    if best - accuracy > _MARGIN_ORDER and _better(best, accuracy, len(labels)):
        moved = [k for k in range(num_classes) if columns[k] != k and table[k, columns[k]] > 0]
        raise TeacherError(
            f"teacher.class_order: must give the teacher's column for each class; in its present order it is right on "
            f"{accuracy:.1%} of {len(labels)} labelled rows, with {len(moved)} classes reordered on {best:.1%} (such as "
            f"{classes[moved[0]]!r} in column {columns[moved[0]]}). Labels in a wrong order would teach the wrong "
            f"classes. Set class_order: {[int(c) for c in columns]}"
        )
    checks.append({"name": "class order", "ok": True, "detail": f"no order of columns fits much better ({best:.1%})"})


def _check_input(
    labeller: Labeller, pixels: NDArray[Any], labels: NDArray[Any], accuracy: float, checks: list[dict[str, Any]]
) -> None:
    """Try the usual mistakes; one that does much better than what was stated is the mistake."""
    tried = {}
    for name, change in _alternatives(pixels.shape[1]).items():
        try:
            outputs = _outputs(labeller, change(pixels).astype(np.float32))
        except Exception:  # an input that the teacher cannot take is no alternative
            continue
        tried[name] = float((outputs.argmax(axis=1) == labels).mean())
    if not tried:
        return
    name = max(tried, key=lambda n: tried[n])
    if tried[name] - accuracy > _MARGIN_INPUT and _better(tried[name], accuracy, len(labels)):
        raise TeacherError(
            f"teacher.input: must be what the teacher was trained with; as stated it is right on {accuracy:.1%} of "
            f"{len(labels)} labelled rows, with {name} on {tried[name]:.1%}. Its soft labels would be those of a worse "
            "teacher. Change input, scale or channels accordingly."
        )
    checks.append(
        {
            "name": "preprocessing",
            "ok": True,
            "detail": f"none of {len(tried)} usual mistakes does better ({tried[name]:.1%})",
        }
    )


def _alternatives(channels: int) -> dict[str, Callable[[NDArray[Any]], NDArray[Any]]]:
    out: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "pixels in 0..255 instead of 0..1": lambda x: x * 255,
        "pixels in 0..1 instead of 0..255": lambda x: x / 255,
        "pixels in -1..1": lambda x: x * 2 - 1,
        "light and dark exchanged": lambda x: 1 - x,
    }
    if channels == 3:
        mean = np.array([0.485, 0.456, 0.406], np.float32)[None, :, None, None]
        std = np.array([0.229, 0.224, 0.225], np.float32)[None, :, None, None]
        out["colours in the opposite order (BGR)"] = lambda x: x[:, ::-1].copy()
        out["ImageNet's mean and standard deviation"] = lambda x: (x - mean) / std
    return out


def _check_chance(
    predicted: NDArray[Any], accuracy: float, chance: float, num: int, classes: list[str], checks: list[dict[str, Any]]
) -> None:
    from scipy.stats import binomtest

    p_value = float(binomtest(round(accuracy * num), num, chance, alternative="greater").pvalue)
    if p_value > _P:
        counts = np.bincount(predicted, minlength=len(classes))
        always = (
            f" It answers {classes[int(counts.argmax())]!r} on {counts.max() / num:.0%} of rows."
            if counts.max() > num / 2
            else ""
        )
        raise TeacherError(
            f"teacher: must know the task; it is right on {accuracy:.1%} of {num} labelled rows, where always naming the "
            f"most common class is right on {chance:.1%}.{always} Check its weights, classes and input; or train it longer."
        )
    checks.append(
        {"name": "above chance", "ok": True, "detail": f"{accuracy:.1%} against {chance:.1%} (p = {p_value:.1e})"}
    )


def _better(high: float, low: float, num: int) -> bool:
    """Return whether a difference of paired shares is far outside chance (a z test with the worst-case variance)."""
    return bool((high - low) > 3.3 * np.sqrt(max(high + low, 1e-9) / num))
