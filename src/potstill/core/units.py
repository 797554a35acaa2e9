"""Numbers with units, for people."""

from __future__ import annotations


def human_bytes(value: float | None) -> str:
    """Return such as "3.4 MB" (powers of 1000), "?" for None."""
    if value is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000 or unit == "GB":
            return (
                f"{value:.0f} {unit}"
                if unit == "B"
                else f"{value:.3g} {unit}"
                if abs(value) < 999.5
                else f"{value:.0f} {unit}"
            )
        value /= 1000
    raise AssertionError


def human_count(value: float | None) -> str:
    """Return such as "970", "41.2 k", "1.27 M", "?" for None."""
    if value is None:
        return "?"
    for unit in ("", " k", " M", " G"):
        if abs(value) < 1000 or unit == " G":
            return (
                f"{value:.0f}" if unit == "" else f"{value:.3g}{unit}" if abs(value) < 999.5 else f"{value:.0f}{unit}"
            )
        value /= 1000
    raise AssertionError


def human_seconds(value: float | None) -> str:
    """Return such as "0.4 s", "2 min 05 s", "3 h 10 min", "?" for None."""
    if value is None:
        return "?"
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    if value < 3600:
        return f"{int(value) // 60} min {int(value) % 60:02d} s"
    return f"{int(value) // 3600} h {int(value) % 3600 // 60:02d} min"
