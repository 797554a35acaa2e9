"""Lines of a verdict in words, for terminals, pages and cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from potstill.core.units import human_bytes
from potstill.devices.lines import Line, binding, line_of

NAMES = {
    "latency_ms": "latency", "peak_memory_bytes": "RAM", "flash_bytes": "flash", "energy_mj": "energy", "accuracy_drop": "drop from the teacher",
}  # fmt: skip
_UNITS = {"latency_ms": "ms", "energy_mj": "mJ", "accuracy_drop": "points"}


def number(name: str, value: float | None) -> str:
    """Return a figure with its unit, "?" for None."""
    if value is None:
        return "?"
    return human_bytes(value) if name.endswith("_bytes") else f"{three(value)} {_UNITS[name]}"


def figure(line: Line, *, unit: bool = True) -> str:
    """Return such as "32.2 [31.4, 33] ms", "≥ 128 kB", "52 kB to 117 kB", "≤ 195 ms" or "?"."""
    if line.low is None:
        return "?" if line.high is None else f"≤ {number(line.name, line.high)}"
    if line.high is None:
        return f"≥ {number(line.name, line.low)}"
    if line.name.endswith("_bytes"):
        same = line.low == line.high
        return human_bytes(line.low) if same else f"{human_bytes(line.low)} to {human_bytes(line.high)}"
    return f"{three(line.value)} [{three(line.low)}, {three(line.high)}]" + (f" {_UNITS[line.name]}" if unit else "")


def against(line: Line) -> str:
    """Return a line in words: such as "32.2 [31.4, 33] ms, modelled; at most 20 ms, 61 % over"; of what is unknown, why."""
    known = line.word != "unknown" or line.high is not None
    parts = [f"{figure(line)}, {line.word}" if known else "unknown"]
    if line.limit is not None:
        least = line.high is None and line.verdict == "fits"  # how much more it takes is not known
        share = "" if line.verdict == "unknown" or line.margin is None or least else f", {spare(line.margin)}"
        parts.append(f"at most {number(line.name, line.limit)}{share}")
    if line.verdict == "unknown" or line.word == "unknown":
        parts.append(_between(line) or line.reason)
    return "; ".join(parts)


def spare(margin: float) -> str:
    """Return such as "78 % to spare", "31 % over" or "3.5 times the limit"."""
    if margin < -1:
        return f"{three(1 - margin)} times the limit"
    return f"{100 * margin:.0f} % to spare" if margin >= 0 else f"{-100 * margin:.0f} % over"


def stops(lines: Sequence[Line]) -> str:
    """Return what stops a model, what is missing to know it, or what binds."""
    bad = [line for line in lines if line.verdict == "does not fit"]
    missing = [n for n in lines if n.verdict == "unknown" or (n.name == "latency_ms" and n.word == "unknown")]
    if bad:
        return "; ".join(f"{NAMES[n.name]} {figure(n)} over {number(n.name, n.limit)}" for n in bad)
    if missing:
        return "; ".join(f"{NAMES[line.name]}: {_between(line) or line.reason}" for line in missing)
    bind = binding(lines)
    return "" if bind is None else f"{NAMES[bind.name]} binds, {spare(bind.margin or 0.0)}"


def misfit(found: Mapping[str, Any]) -> str:
    """Return the message that a model does not fit a device, of a verdict as `verify.verdict` gives it."""
    why = stops([line_of(line) for line in found["lines"]])
    return f"{found['device']}: must fit its budget; got {found['file']}, which does not: {why}"


def _between(line: Line) -> str:
    within = line.low is not None and line.high is not None and line.limit is not None
    return f"the limit {number(line.name, line.limit)} lies within the interval" if within else ""


def three(value: float | None) -> str:
    """Return three digits, or whole numbers from a thousand on."""
    return "?" if value is None else f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
