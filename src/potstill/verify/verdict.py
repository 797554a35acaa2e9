"""Does an exported file fit a device: what was measured of it stands, the rest is modelled from its graph. Shapes: N judged test rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from potstill.core.units import human_bytes, human_count
from potstill.devices.cost import Cost
from potstill.devices.judge import Judgement, Question, device_verdict, flash_limit, judge, judge_all, ram_limit
from potstill.devices.lines import Budget, Line, Word, interval, unknown
from potstill.devices.profile import DeviceProfile
from potstill.devices.say import figure

HOST = "host"
"""Class of the profile of the machine that figures were measured on."""


@dataclass(frozen=True)
class Subject:
    """A file that is judged."""

    file: str
    format: str
    """Kind of its exporter."""
    cost: Cost | None
    """None where its graph, and that of the same student in other formats, cannot be read."""
    rests_on: str
    """Which file the cost was read from where it is another one, or why there is none; empty of the file itself."""
    runs_in: tuple[str, ...]
    """What the names of runtimes begin with that take it."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """As `measured_lines` reads it."""


def verdict_on(
    subject: Subject, profile: DeviceProfile, budget: Budget, smaller: Callable[[Question, Cost], str | None] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Return the verdict in JSON values: its lines, what binds, what would make it fit, and the device's other runtimes.

    Args:
        subject: the file.
        profile: of the device.
        budget: limits.
        smaller: names a smaller student that would fit, given what it is judged by and the cost of this one; None looks for none.
    """
    asked = Question(profile, budget, subject.runs_in, measured_lines(subject.measured, profile, budget))
    found = [judge(None, asked, None, subject.rests_on)] if subject.cost is None else judge_all(subject.cost, asked)
    best, *others = found
    remedies = list(best.remedies)
    modelled = any(line.word == "modelled" and line.verdict not in ("fits", None) for line in best.lines)
    if best.verdict != "fits" and modelled and smaller is not None and subject.cost is not None:
        text = smaller(asked.of_another(), subject.cost)
        remedies += [text] if text else []
    remedies += _of_accuracy(best)
    return {
        **replace(best, remedies=tuple(remedies)).as_dict(),
        "verdict": device_verdict(found),
        "title": profile.title,
        "export": subject.format,
        "file": subject.file,
        "rests_on": subject.rests_on,
        "cost": None if subject.cost is None else subject.cost.as_dict(),
        "under": best.runtime,
        "elsewhere": _elsewhere(best, asked, subject.cost),
        "others": [{"under": j.runtime, "verdict": j.verdict, "lines": [n.as_dict() for n in j.lines]} for j in others],
    }


def measured_lines(found: Mapping[str, Any], profile: DeviceProfile, budget: Budget) -> dict[str, Line]:
    """Return the lines that rest on measurements.

    Args:
        found: what there is of "latency_ms" {"median", "p95", "calls", "threads"} and "memory" {"value", "baseline"}, which count on
            this machine alone, "on_core" as `verify.emulated` gives it, "file_bytes", and "accuracy_drop" {"value", "low", "high"} in points, or a text that says why it is
            not known.
        profile: of the device.
        budget: limits.
    """
    lines = _here(found, profile, budget) if profile.kind == HOST else {}
    if "file_bytes" in found and not profile.small:
        size = float(found["file_bytes"])
        lines["flash_bytes"] = interval("flash_bytes", size, size, budget.flash_bytes, "the file", word="measured")
    if "on_core" in found:
        lines |= _on_core(found["on_core"], profile, budget)
    drop, limit = found.get("accuracy_drop", "measured once the student is exported"), budget.accuracy_drop
    if isinstance(drop, str):
        lines["accuracy_drop"] = unknown("accuracy_drop", limit, drop)
    else:
        lines["accuracy_drop"] = interval(
            "accuracy_drop", drop["low"], drop["high"], limit, "points of the headline, on the same test rows", word="measured",
            value=drop["value"],
        )  # fmt: skip
    return lines


def _here(found: Mapping[str, Any], profile: DeviceProfile, budget: Budget) -> dict[str, Line]:
    """Return latency and memory of this machine: measured, or unknown, never modelled."""
    later, whole = "measured once the student is exported", profile.ram_bytes.low
    limits = [v for v in (whole, budget.peak_memory_bytes) if v is not None]
    most = min(limits, default=None)
    lines = {
        "latency_ms": unknown("latency_ms", budget.latency_ms, later),
        "peak_memory_bytes": unknown("peak_memory_bytes", most, later),
        "energy_mj": unknown("energy_mj", budget.energy_mj, "this machine's power is not measured"),
    }
    time, memory = found.get("latency_ms"), found.get("memory")
    if time is not None:
        text = f"median to 95th percentile of {time['calls']} calls, {time['threads']} thread{'s' * (time['threads'] != 1)}"
        lines["latency_ms"] = interval(
            "latency_ms", time["median"], time["p95"], budget.latency_ms, text, word="measured", value=time["median"]
        )
    if memory is not None and memory["value"] is not None:
        own, below = float(memory["value"]), float(memory["baseline"])
        text = f"from what the model added to what its process took, {human_bytes(below)} of it Python and the runtime"
        lines["peak_memory_bytes"] = interval(
            "peak_memory_bytes", own, own + below, most, text, word="measured", value=own
        )
    elif memory is not None:
        lines["peak_memory_bytes"] = unknown("peak_memory_bytes", most, "this system does not tell a process's peak")
    return lines


def _on_core(found: Mapping[str, Any], profile: DeviceProfile, budget: Budget) -> dict[str, Line]:
    """Return flash as it was linked, RAM as it was emulated, and milliseconds of the instructions that were counted."""
    flash, ram, time = found["flash_bytes"], found["ram_bytes"], found["latency_ms"]
    lines = {
        "flash_bytes": _exact("flash_bytes", flash["value"], flash_limit(profile, budget), "the image that was built, with the program that feeds it", flash["source"]),
        "peak_memory_bytes": _exact("peak_memory_bytes", ram["value"], ram_limit(profile, budget), "static memory of the image, and the stack at its deepest", ram["source"]),
    }  # fmt: skip
    if time["low"] is not None:
        text = f"{human_count(found['instructions']['value'])} instructions, emulated; {found['cycles']['because']}"
        lines["latency_ms"] = interval("latency_ms", time["low"], time["high"], budget.latency_ms, text)
    return lines


def _exact(name: str, value: float, limit: float | None, reason: str, word: Word) -> Line:
    return interval(name, float(value), float(value), limit, reason, word=word)


def _of_accuracy(found: Judgement) -> list[str]:
    line = found.line("accuracy_drop")
    if line is None or line.verdict in ("fits", None) or line.word != "measured":
        return []
    if line.verdict == "unknown":
        return ["drop from the teacher: more test rows, or groups of them, would narrow the interval"]
    return ["drop from the teacher: a larger student or a longer training; no device mends it"]


def _elsewhere(best: Judgement, asked: Question, cost: Cost | None) -> str:
    """Return the latency under a runtime that would need another file, where none of those that take this one is known."""
    time = best.line("latency_ms")
    if cost is None or time is None or time.word != "unknown" or asked.profile.kind == HOST:
        return ""
    other = judge_all(cost, replace(asked, runtimes=None))[0]
    found = other.line("latency_ms")
    if other.entry is None or found is None or found.high is None:
        return ""
    return f"under {other.runtime}, which does not take this file, it would take {figure(found)} as modelled"
