"""The gate before labelling: does this teacher know the task, in this order, on these samples? Shapes: N rows, X the
shape of one input, K classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import TeacherError
from potstill.teachers._base import Labeller

_BATCH = 64
_MARGIN = 0.1
_P = 1e-3
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Change = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class GateReport:
    """What the gate saw."""

    accuracy: float
    """On the labelled rows it was shown, [0, 1]; of several classes a row, the share of answers that are right; of values, the share of their variance that is explained."""
    num_rows: int
    chance: float
    """Share of the most common class."""
    checks: list[dict[str, Any]] = field(default_factory=list)
    """{"name", "ok", "detail"} each."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def run_gate(
    labeller: Labeller, inputs_NX: NDArray[Any], labels_N: NDArray[Any], classes: list[str], *, foreign: bool
) -> GateReport:
    """Check a teacher on labelled rows.

    Args:
        labeller: ready to label.
        inputs_NX: as the data gives them, at most a thousand or so; of pictures [N, C, H, W], other inputs are tried.
        labels_N: int64, none missing.
        classes: names in label order.
        foreign: its preprocessing is the user's word, so others are tried.

    Raises:
        TeacherError: wrong outputs, at chance, shuffled classes, or wrong preprocessing; names the remedy.
    """
    checks: list[dict[str, Any]] = []
    outputs = _outputs(labeller, inputs_NX)
    _check_outputs(outputs, labeller, classes, checks)
    _check_members(labeller, inputs_NX[:_BATCH], classes)
    predicted = outputs.argmax(axis=1)
    right = predicted == labels_N
    order, columns = _best_order(predicted, labels_N, len(classes))
    tried = _other_inputs(labeller, inputs_NX, labels_N) if foreign and inputs_NX.ndim == 4 else {}
    name = max(tried, key=lambda n: tried[n].sum(), default=None)
    # A wrong input also makes another order fit somewhat better, and the reverse: what explains more is named.
    if name is not None and tried[name].sum() >= order.sum() and _better(tried[name], right):
        raise _wrong_input(name, tried[name], right)
    if _better(order, right):
        raise _wrong_order(labeller, order, right, columns, classes)
    checks.append(_passed("class order", f"no order of columns fits much better ({order.mean():.1%})"))
    if name is not None:
        best = tried[name].mean()
        checks.append(_passed("preprocessing", f"none of {len(tried)} usual mistakes does much better ({best:.1%})"))
    chance = float(np.bincount(labels_N, minlength=len(classes)).max() / len(labels_N))
    _check_chance(predicted, right, chance, classes, checks)
    return GateReport(float(right.mean()), len(labels_N), chance, checks)


def run_flags_gate(
    labeller: Labeller, inputs_NX: NDArray[Any], flags_NK: NDArray[Any], classes: list[str]
) -> GateReport:
    """Check a teacher of several classes a row: finite logits, and rows that have a class are ranked above those without it.

    Args:
        labeller: ready to label.
        inputs_NX: as the data gives them, at most a thousand or so.
        flags_NK: 0 or 1, none missing.
        classes: names in the order of its outputs.

    Raises:
        TeacherError: they are not; names the remedy.
    """
    from scipy.stats import mannwhitneyu

    outputs = _outputs(labeller, inputs_NX)
    if outputs.shape != flags_NK.shape or not np.isfinite(outputs).all():
        raise TeacherError(
            f"teacher: must give a finite logit a class, {len(classes)}; got {list(outputs.shape[1:])}, "
            f"{'all' if np.isfinite(outputs).all() else 'not all'} finite. Check its weights and classes."
        )
    if labeller.output != "logits":
        raise TeacherError(
            f"teacher.output: must be logits where a row may have several classes; got {labeller.output}."
        )
    told = flags_NK > 0.5
    middle = outputs - outputs.mean(
        axis=0
    )  # a class's own rows against the others, not common classes against rare ones
    p_value = float(mannwhitneyu(middle[told], middle[~told], alternative="greater").pvalue) if told.any() else 1.0
    right = float(((outputs > 0) == told).mean())
    if p_value > _P:
        raise TeacherError(
            f"teacher: must know the task; on {len(outputs)} labelled rows its logits are no higher for the classes that a row "
            f"has than for others (p = {p_value:.2g}). Check its weights, classes and input; or train it longer."
        )
    passed = _passed("above chance", f"classes that a row has are ranked higher (p = {p_value:.1e})")
    return GateReport(right, len(outputs), float(1 - told.mean()), [_passed("outputs", "finite logits"), passed])


def run_values_gate(labeller: Labeller, inputs_NX: NDArray[Any], targets_NHV: NDArray[Any]) -> GateReport:
    """Check a teacher that forecasts: its numbers are finite, of the targets' shape, and nearer to them than their mean is.

    Args:
        labeller: ready to label.
        inputs_NX: as the data gives them, at most a thousand or so.
        targets_NHV: the true values, none missing.

    Raises:
        TeacherError: they are not; names the remedy.
    """
    outputs = _outputs(labeller, inputs_NX)
    if outputs.shape != targets_NHV.shape or not np.isfinite(outputs).all():
        raise TeacherError(
            f"teacher: must give finite values {list(targets_NHV.shape[1:])} a row; got {list(outputs.shape[1:])}, "
            f"{'all' if np.isfinite(outputs).all() else 'not all'} finite. Check what it was built and trained for."
        )
    error = float(np.square(outputs - targets_NHV).mean())
    plain = float(np.square(targets_NHV - targets_NHV.mean(axis=(0, 1))).mean())
    if error >= plain:
        raise TeacherError(
            f"teacher: must know the task; its mean squared error on {len(outputs)} rows is {error:.4g}, where always naming "
            f"each variable's mean has {plain:.4g}. Check its weights and input; or train it longer."
        )
    score = 1 - error / plain
    return GateReport(score, len(outputs), 0.0, [_passed("outputs", "finite values of the targets' shape"),
                      _passed("better than the mean", f"{score:.1%} of the variance is explained")])  # fmt: skip


def run_texts_gate(labeller: Labeller, inputs_NX: NDArray[Any], targets_NW: NDArray[Any]) -> GateReport:
    """Check a teacher that writes: its texts are nearer to the true ones of their rows than to those of others.

    Args:
        labeller: ready; gives text, [B, W] uint8.
        inputs_NX: as the data gives them; the first 256 are used.
        targets_NW: the true texts, UTF-8, none missing.

    Raises:
        TeacherError: they are not; names the remedy.
    """
    from potstill.tasks._translation import sentence_chrf, strings

    num = min(len(inputs_NX), 4 * _BATCH)
    written, wanted = strings(_outputs(labeller, inputs_NX[:num])), strings(targets_NW[:num])
    score = float(sentence_chrf(written, wanted).mean())
    chance = float(sentence_chrf(written, wanted[1:] + wanted[:1]).mean())
    if score < chance + 0.02:
        raise TeacherError(
            f"teacher: must know the task; what it writes for {num} rows is as near to the texts of other rows (chrF "
            f"{100 * chance:.1f}) as to their own ({100 * score:.1f}). Check its weights; or train it longer."
        )
    return GateReport(
        score, num, chance, [_passed("nearer to its own rows", f"chrF {100 * score:.1f} against {100 * chance:.1f}")]
    )


def _passed(name: str, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": True, "detail": detail}


def _outputs(labeller: Callable[[NDArray[Any]], NDArray[Any]], pixels: NDArray[Any]) -> NDArray[Any]:
    parts = []
    for start in range(0, len(pixels), _BATCH):
        part = pixels[start : start + _BATCH]
        padded = np.concatenate([part, np.repeat(part[-1:], _BATCH - len(part), axis=0)])
        out = np.asarray(labeller(padded))
        if out.ndim == 0 or len(out) != _BATCH:
            raise TeacherError(f"teacher: must give one row of outputs a sample, {_BATCH}; got {list(out.shape)[:1]}.")
        parts.append(out[: len(part)])
    return np.concatenate(parts)


def _check_outputs(
    outputs: NDArray[Any], labeller: Labeller, classes: list[str], checks: list[dict[str, Any]], where: str = "teacher"
) -> None:
    if outputs.ndim != 2 or outputs.shape[1] != len(classes):
        raise TeacherError(
            f"{where}: must give one output a class, {len(classes)}; got {list(outputs.shape[1:])}. Set "
            f"{where}.class_order to pick its columns."
        )
    if not np.isfinite(outputs).all():
        raise TeacherError(f"{where}: outputs must be finite; got NaN or Inf. Check its weights and its input's range.")
    off = float(np.abs(outputs.sum(axis=1) - 1).max())
    # 8-bit softmax sums to 1 only roughly; logits are never all in [0, 1] with such sums.
    looks = bool(((outputs >= -1e-6) & (outputs <= 1 + 1e-6)).all() and off < 0.05)
    if looks and labeller.output == "logits":
        raise TeacherError(
            f"{where}.output: must say what the teacher gives; it says logits, but every row is a probability "
            "distribution. Softening them as logits would flatten them all. Set output: probabilities."
        )
    if not looks and labeller.output == "probabilities":
        raise TeacherError(
            f"{where}.output: must say what the teacher gives; it says probabilities, but rows do not sum to 1. Set "
            "output: logits."
        )
    if labeller.output == "probabilities" and off >= 1e-3:
        raise TeacherError(
            f"{where}: probabilities of a row must sum to 1 within 0.001; got sums up to {off:.2g} away from it. They "
            "seem to be rounded. Export the teacher with a softmax in float32, or add one after it."
        )
    checks.append(_passed("outputs", f"{len(classes)} finite {labeller.output} a row"))


def _check_members(labeller: Any, pixels: NDArray[Any], classes: list[str], where: str = "teacher") -> None:
    """Check what each member of an ensemble gives: its mean hides a member whose probabilities pass for logits."""
    for i, member in enumerate(getattr(labeller, "members", ())):
        inside = f"{where}.members.{i}"
        _check_outputs(_outputs(member, pixels), member, classes, [], inside)
        _check_members(member, pixels, classes, inside)


def _best_order(
    predicted: NDArray[Any], labels: NDArray[Any], num_classes: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return (which rows are right in the best order of columns, that order).

    Rows are judged by the order that fits the other half of them: with few rows a class, some order always fits the
    wrong answers of the very rows it was chosen on.
    """
    by_class = np.argsort(labels, kind="stable")
    right = np.zeros(len(labels), dtype=np.bool_)
    for half, other in ((by_class[::2], by_class[1::2]), (by_class[1::2], by_class[::2])):
        right[half] = predicted[half] == _fitting_order(predicted[other], labels[other], num_classes)[labels[half]]
    return right, _fitting_order(predicted, labels, num_classes)


def _fitting_order(predicted: NDArray[Any], labels: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    from scipy.optimize import linear_sum_assignment

    table = np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)
    # Where rows do not decide, a class keeps its column: the bonuses together weigh less than one row.
    gain = table * (num_classes + 1) + np.eye(num_classes, dtype=np.int64)
    columns: NDArray[np.int64] = linear_sum_assignment(gain, maximize=True)[1]
    return columns


def _wrong_order(
    labeller: Any, order: NDArray[Any], right: NDArray[Any], columns: NDArray[np.int64], classes: list[str]
) -> TeacherError:
    stated = getattr(labeller, "class_order", None) or list(range(len(classes)))
    named = [int(stated[c]) for c in columns]  # in the teacher's own columns, whatever was stated
    moved = [k for k in range(len(classes)) if columns[k] != k]
    return TeacherError(
        f"teacher.class_order: must give the teacher's column for each class; in its present order it is right on "
        f"{right.mean():.1%} of {len(right)} labelled rows, with {len(moved)} classes reordered on {order.mean():.1%} "
        f"(such as {classes[moved[0]]!r} in column {named[moved[0]]}). Labels in a wrong order would teach the wrong "
        f"classes. Set class_order: {named}"
    )


def _other_inputs(labeller: Labeller, pixels: NDArray[Any], labels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return, for each usual mistake, which rows are right without it."""
    tried = {}
    for name, change in _alternatives(labeller, pixels).items():
        try:
            outputs = _outputs(labeller, change(pixels).astype(np.float32))
        except Exception:  # an input that the teacher cannot take is no alternative
            continue
        tried[name] = outputs.argmax(axis=1) == labels
    return tried


def _wrong_input(name: str, better: NDArray[Any], right: NDArray[Any]) -> TeacherError:
    return TeacherError(
        f"teacher.input: must be what the teacher was trained with; as stated it is right on {right.mean():.1%} of "
        f"{len(right)} labelled rows, with {name} on {better.mean():.1%}. Its soft labels would be those of a worse "
        "teacher. Change input, scale or channels accordingly."
    )


def _alternatives(labeller: Any, pixels: NDArray[Any]) -> dict[str, Change]:
    """Return changes of pixels by what they stand for; a normalisation takes the place of the stated one."""
    stated = getattr(getattr(labeller, "preprocess", None), "inside", None)
    back: Change = (lambda x: x) if stated is None else lambda x: x * stated.std.numpy() + stated.mean.numpy()
    mean, std = (f(pixels, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    std = np.maximum(std, 1e-3)
    out: dict[str, Change] = {
        "pixels in 0..255 instead of 0..1": lambda x: x * 255,
        "pixels in 0..1 instead of 0..255": lambda x: x / 255,
        "light and dark exchanged": lambda x: 1 - x,
        "pixels in -1..1": lambda x: back(x * 2 - 1),
        "no normalisation": back,
        "the data's own mean and standard deviation": lambda x: back((x - mean) / std),
    }
    if pixels.shape[1] == 3:
        imagenet = [np.array(v, np.float32)[None, :, None, None] for v in _IMAGENET]
        out["colours in the opposite order (BGR)"] = lambda x: x[:, ::-1].copy()
        out["ImageNet's mean and standard deviation"] = lambda x: back((x - imagenet[0]) / imagenet[1])
    return out


def _check_chance(
    predicted: NDArray[Any], right: NDArray[Any], chance: float, classes: list[str], checks: list[dict[str, Any]]
) -> None:
    from scipy.stats import binomtest

    num = len(right)
    p_value = float(binomtest(int(right.sum()), num, chance, alternative="greater").pvalue)
    if p_value > _P:
        counts = np.bincount(predicted, minlength=len(classes))
        always = (
            f" It answers {classes[int(counts.argmax())]!r} on {counts.max() / num:.0%} of rows."
            if counts.max() > num / 2
            else ""
        )
        raise TeacherError(
            f"teacher: must know the task; it is right on {right.mean():.1%} of {num} labelled rows, where always naming "
            f"the most common class is right on {chance:.1%}.{always} Check its weights, classes and input; or train it "
            "longer."
        )
    checks.append(_passed("above chance", f"{right.mean():.1%} against {chance:.1%} (p = {p_value:.1e})"))


def _better(rival: NDArray[Any], right: NDArray[Any]) -> bool:
    """Return whether the rival is right on many more of the same rows, far outside chance (exact McNemar test)."""
    from scipy.stats import binomtest

    gained, lost = int((rival & ~right).sum()), int((right & ~rival).sum())
    if gained - lost <= _MARGIN * len(right):
        return False
    return bool(binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue < _P)
