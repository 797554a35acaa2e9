"""Figures and verdicts in words."""

from __future__ import annotations

from typing import Any

from potstill.core.units import human_bytes, human_count

WORDS = {"gain": "gain", "loss": "loss", "no gain": "no gain found", "unresolved": "unresolved"}
STYLES = {"gain": "green", "loss": "red", "no gain": "cyan", "unresolved": "yellow"}


def percent(value: float | None, digits: int = 1) -> str:
    """Return such as "93.1 %", "–" for None."""
    return "–" if value is None else f"{value * 100:.{digits}f} %"


def with_interval(figure: dict[str, Any] | None) -> str:
    """Return such as "93.1 % [91.0, 94.9]"."""
    if not figure:
        return "–"
    return f"{percent(figure['value'])} [{figure['low'] * 100:.1f}, {figure['high'] * 100:.1f}]"


def gain_words(gain: dict[str, Any]) -> str:
    """Return such as "gain +5.1 [+4.0, +6.2]"."""
    return f"{WORDS[gain['verdict']]} {gain['points']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]"


def times(big: float | None, small: float | None) -> str | None:
    """Return such as "41×", None where either is not known."""
    if not big or not small:
        return None
    ratio = big / small
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def sentence(results: dict[str, Any]) -> str:
    """Return the verdict in one sentence."""
    models, arms = results.get("models") or {}, results.get("arms") or []
    teacher, student = models.get("teacher") or {}, models.get("student") or {}
    smaller = times(teacher.get("params"), student.get("params"))
    parts = [f"The student is {smaller} smaller than its teacher" if smaller else "The student"]
    theirs = (results.get("teacher") or {}).get("accuracy")
    if theirs and arms:
        behind = (theirs["value"] - arms[0]["accuracy"]["value"]) * 100
        where = (
            f"{abs(behind):.1f} points {'behind' if behind >= 0 else 'ahead of'} {'it' if smaller else 'its teacher'}"
        )
        parts.append(where if smaller else f"is {where}")
    gains = results.get("gains") or []
    if gains:
        gain = gains[0]
        found = {
            "gain": f"{gain['points']:.1f} points above the same student without a teacher: a gain",
            "loss": f"{-gain['points']:.1f} points below the same student without a teacher: a loss",
            "no gain": "level with the same student without a teacher: no gain found",
            "unresolved": f"{gain['points']:+.1f} points from the same student without a teacher: unresolved",
        }[gain["verdict"]]
        parts.append(f"{found} (95 % interval {gain['low']:+.1f} to {gain['high']:+.1f})")
    text = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    return text + "."


def rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """Return the verdict table: one row each for teacher, student and controls."""
    models = results.get("models") or {}
    artifact: dict[str, Any] = next(iter(results.get("artifacts") or []), {})
    latency = {"teacher": artifact.get("teacher_latency_ms"), "student": artifact.get("latency_ms")}
    gains = {g["control"]: g for g in results.get("gains") or []}
    out = []
    teacher = results.get("teacher")
    if teacher:
        out.append(_row("teacher", "", teacher.get("accuracy"), models.get("teacher"), latency["teacher"], None))
    for arm in results.get("arms") or []:
        is_student = not arm["control"]
        label = "student" if is_student else arm["name"]
        model = models.get("student")
        role = f"{len(arm['seeds'])} seed{'s' if len(arm['seeds']) > 1 else ''}"
        row = _row(
            label, role, arm["accuracy"], model, latency["student"] if is_student else None, gains.get(arm["name"])
        )
        if is_student and artifact:
            row["size"] = human_bytes(artifact["bytes"])
        row["control"] = "yes" if arm["control"] else ""
        out.append(row)
    return out


def _row(
    name: str, role: str, accuracy: Any, model: dict[str, Any] | None, latency: Any, gain: dict[str, Any] | None
) -> dict[str, str]:
    model = model or {}
    return {
        "name": name,
        "role": role,
        "control": "",
        "accuracy": with_interval(accuracy),
        "params": human_count(model.get("params")),
        "macs": human_count(model.get("macs")),
        "size": human_bytes(model.get("file_bytes")),
        "latency": "–" if not latency else milliseconds(latency["median"]),
        "gain": "" if not gain else gain_words(gain),
        "verdict": "" if not gain else gain["verdict"].replace(" ", "-"),
        "detail": "" if not gain else gain.get("detail") or "",
    }


def milliseconds(value: float) -> str:
    """Return such as "7.7 µs" or "12.3 ms"."""
    return f"{value * 1e3:.3g} µs" if value < 1 else f"{value:.3g} ms"
