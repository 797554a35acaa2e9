"""Figures and verdicts in words."""

from __future__ import annotations

import re
from typing import Any

from potstill.core.units import human_bytes, human_count

STYLES = {"gain": "green", "loss": "red", "no gain": "cyan", "unresolved": "yellow"}
_WITHOUT_TEACHER = ("hard-label", "label-smoothing")
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as such as "93.1 %", "–" for None."""
    return "–" if value is None else f"{value * 100:.{digits}f} %"


def score(figure: dict[str, Any] | None) -> str:
    """Return a headline's value: such as "93.1 %", of an error "0.371"; "–" for None."""
    if not figure:
        return "–"
    return f"{1 - figure['value']:.3f}" if is_error(figure) else percent(figure["value"])


def with_interval(figure: dict[str, Any] | None) -> str:
    """Return such as "93.1 % [91.0, 94.9]", of an error "0.371 [0.352, 0.390]"; "–" for None."""
    if not figure:
        return "–"
    if is_error(figure):
        return f"{score(figure)} [{1 - figure['high']:.3f}, {1 - figure['low']:.3f}]"
    return f"{percent(figure['value'])} [{figure['low'] * 100:.1f}, {figure['high'] * 100:.1f}]"


def is_error(figure: dict[str, Any] | None) -> bool:
    """Return whether a headline is shown as an error: it is 1 minus one."""
    return (figure or {}).get("unit") == "error"


def metric(results: dict[str, Any]) -> str:
    """Return what the headline is called: "accuracy", "MSE", or what the task calls it."""
    arms = results.get("arms") or [results.get("teacher") or {}]
    return "MSE" if is_error(arms[0].get("accuracy")) else results.get("metric") or "accuracy"


def signed(points: float) -> str:
    """Return such as "+5.1"; as many digits as show on which side of zero it lies, "0.0" for less than 0.005."""
    digits = 1 if abs(points) >= 0.05 else 2
    text = f"{points:+.{digits}f}"
    return text if float(text) else "0.0"


def points_with_interval(gain: dict[str, Any]) -> str:
    """Return such as "+5.1 [+4.0, +6.2]", in points."""
    return f"{signed(gain['points'])} [{signed(gain['low'])}, {signed(gain['high'])}]"


def number(value: float, digits: int = 3) -> str:
    """Return such as "0.0025", "1,168" or "3.2 × 10⁻⁹", to `digits` significant digits."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return power if float(mantissa) == 1 else f"{float(mantissa):g} × {power}"


def typeset(text: str) -> str:
    """Return text for the page: minus signs before negative numbers, and no line break between a number and its "%"."""
    text = re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"(?<=\d) ?%", "\N{NO-BREAK SPACE}%", text)


def milliseconds(value: float | None) -> str:
    """Return such as "7.7 µs" or "12.3 ms", "–" for None."""
    if value is None:
        return "–"
    return f"{value * 1e3:.3g} µs" if value < 1 else f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def moment(text: str) -> str:
    """Return an ISO time of UTC as such as "2026-11-24 20:47 UTC"."""
    return re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*\+00:00$", r"\1 \2 UTC", text)


def times(big: float | None, small: float | None) -> str | None:
    """Return how many times as big, such as "41×"; None where either is not known."""
    if not big or not small:
        return None
    ratio = big / small
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def against(teacher: float | None, student: float | None, less: str, more: str) -> str:
    """Return the student's figure against the teacher's, such as "80× fewer" or "2.0× more"; "" if not known."""
    if not teacher or not student:
        return ""
    if 0.95 < student / teacher < 1.05:
        return "about the teacher's"
    return f"{times(teacher, student)} {less}" if teacher > student else f"{times(student, teacher)} {more}"


def sentence(results: dict[str, Any]) -> str:
    """Return the verdict in words: size and accuracy against the teacher, then what distilling gave."""
    parts = [_against_teacher(results), _of_gain(results)]
    return " ".join(p for p in parts if p)


def headline_gain(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return the gain over the hard-label control, else over the first one; None without controls."""
    gains: list[dict[str, Any]] = results.get("gains") or []
    return next((g for g in gains if g["control"] == "hard-label"), gains[0] if gains else None)


def _against_teacher(results: dict[str, Any]) -> str:
    models, arms = results.get("models") or {}, results.get("arms") or []
    teacher, student = models.get("teacher") or {}, models.get("student") or {}
    size = against(teacher.get("params"), student.get("params"), "fewer", "more")
    if size:
        size = "about as many parameters as" if "about" in size else f"{size} parameters than"
    theirs = (results.get("teacher") or {}).get("accuracy")
    where = ""
    if theirs and arms:
        behind = (theirs["value"] - arms[0]["accuracy"]["value"]) * 100
        where = f"{abs(behind):.1f} points {'behind' if behind > 0 else 'ahead of'}"
        where = "level with" if abs(behind) < 0.05 else where
    if size and where:
        return f"The student has {size} its teacher and is {where} it."
    if size:
        return f"The student has {size} its teacher."
    if where:
        return f"The student is {where} its teacher."
    return f"The student has {human_count(student['params'])} parameters." if student.get("params") else ""


def _of_gain(results: dict[str, Any]) -> str:
    gain = headline_gain(results)
    if gain is None:
        return ""
    seeds = results.get("auto") or []
    alone = [entry["seed"] for entry in seeds if entry["choice"]["chosen"] == "control"]
    if alone and len(alone) == len(seeds):
        why = "The loss that was chosen did not beat training without a teacher on the validation rows"
        if all(entry["choice"]["student"] is None for entry in seeds):
            why = "None of the losses that were tried could be trained to its end"
        return f"{why}, so the student is the one trained alone, and its gain over that control is 0 by construction."
    text = _in_words(results, gain)
    if alone:
        text += f" In {len(alone)} of {len(seeds)} seeds the student is that control, with a gain of 0 by construction."
    return text


def _in_words(results: dict[str, Any], gain: dict[str, Any]) -> str:
    if gain["control"] in _WITHOUT_TEACHER:
        over = "the same student trained without a teacher"
    else:
        over = f"the control {gain['control']}"
    between = f"(95 % interval {signed(gain['low'])} to {signed(gain['high'])})"
    size = f"{abs(gain['points']):.1f} points{' (0.01 of MSE each)' if metric(results) == 'MSE' else ''}"
    text = {
        "gain": f"Distilling gained {size} over {over} {between}.",
        "loss": f"Distilling lost {size} against {over} {between}.",
        "no gain": f"Distilling gave no gain over {over}: {signed(gain['points'])} points {between}.",
        "unresolved": f"Whether distilling gained anything over {over} is unresolved: {signed(gain['points'])} points "
        f"{between}.",
    }[gain["verdict"]]
    least = min(results["gains"], key=lambda g: g["points"])
    if least is gain or least["verdict"] == gain["verdict"]:
        return text
    found = {"gain": "it gained", "loss": "it lost", "no gain": "it gave no gain", "unresolved": "that is unresolved"}
    between = f"({signed(least['low'])} to {signed(least['high'])})"
    return f"{text} Against the strongest control, {least['control']}, {found[least['verdict']]}: {signed(least['points'])} {between}."


def rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """Return the verdict table: one row each for teacher, assistants, student and controls; every value is text."""
    models = results.get("models") or {}
    teacher, student = models.get("teacher") or {}, models.get("student") or {}
    artifact: dict[str, Any] = next(iter(results.get("artifacts") or []), {})
    gains = {g["control"]: g for g in results.get("gains") or []}
    out = []
    if results.get("teacher"):
        latency = artifact.get("teacher_latency_ms")
        out.append(
            _row("teacher", teacher.get("name") or "", results["teacher"].get("accuracy"), teacher, latency, None)
        )
    for assistant in results.get("assistants") or []:
        model = assistant["model"]
        out.append(_row(assistant["name"], model.get("name") or "", assistant["accuracy"], model, None, None))
    for arm in results.get("arms") or []:
        seeds = f"{len(arm['seeds'])} seed{'s' if len(arm['seeds']) != 1 else ''}"
        if arm["control"]:
            row = _row(arm["name"], seeds, arm["accuracy"], student, None, gains.get(arm["name"]))
            row |= {"control": "yes", "size": "–"}
        else:
            role = ", ".join(p for p in (student.get("name"), seeds) if p)
            row = _row("student", role, arm["accuracy"], student, artifact.get("latency_ms"), None)
            if artifact:
                row["size"] = human_bytes(artifact["bytes"])
        out.append(row)
    return out


def _row(
    name: str, role: str, accuracy: Any, model: dict[str, Any], latency: Any, gain: dict[str, Any] | None
) -> dict[str, str]:
    return {
        "name": name,
        "role": role,
        "control": "",
        "accuracy": with_interval(accuracy),
        "params": _known(human_count, model.get("params")),
        "macs": _known(human_count, model.get("macs")),
        "size": _known(human_bytes, model.get("file_bytes")),
        "latency": milliseconds(latency["median"] if latency else None),
        "verdict": "" if not gain else gain["verdict"],
        "points": "" if not gain else points_with_interval(gain),
        "detail": "" if not gain else gain.get("detail") or "",
    }


def _known(say: Any, value: float | None) -> str:
    return "–" if value is None else str(say(value))
