"""A quantised student beside itself in float32: accuracy, bytes, time, and what single layers cost."""

from __future__ import annotations

from typing import Any

from potstill.core.units import human_bytes
from potstill.report import _charts as charts
from potstill.report._say import milliseconds, with_interval

_MOST = 24
"""Layers drawn, the costliest first."""


def rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row each for the float module, the model that rounds, and each artifact; every value is text. Nothing where the
    student is in float32."""
    found = results.get("quantised")
    if not found:
        return []
    weights = found["weight_bytes"]
    out = [
        _row("in float32", "the same weights, not rounded", found["accuracy_float"], human_bytes(weights["float32"])),
        _row(found["scheme"], "as it rounds, computed in float", found["accuracy"], human_bytes(weights["kept"])),
    ]
    for artifact in results.get("artifacts") or []:
        beside = artifact.get("quantised")
        if beside:
            out[0] |= {
                "file": human_bytes(beside["float_bytes"]),
                "latency": milliseconds(beside["float_latency_ms"]["median"]),
            }
            row = _row(artifact["file"], "in its runtime", artifact["accuracy"], human_bytes(weights["kept"]))
            out.append(
                row
                | {"file": human_bytes(artifact["bytes"]), "latency": milliseconds(artifact["latency_ms"]["median"])}
            )
    return out


def sentence(results: dict[str, Any]) -> str:
    """Return what was done and what it gave; "" where the student is in float32."""
    found = results.get("quantised")
    if not found:
        return ""
    weights = found["weight_bytes"]
    how = "trained further while it rounds" if found["trained"] else "after training, its weights as they were"
    saved = 100 * (1 - weights["kept"] / max(weights["float32"], 1))
    parts = [
        f"The student was quantised as {found['scheme']}, {how}. Its weights take {human_bytes(weights['kept'])} instead of "
        f"{human_bytes(weights['float32'])} (-{saved:.0f} %)"
        + (f", and their scales {human_bytes(weights['scales'])}." if weights["scales"] else ".")
    ]
    if found["float_layers"]:
        parts.append(f"In float stay: {', '.join(found['float_layers'])}.")
    for artifact in results.get("artifacts") or []:
        beside = artifact.get("quantised")
        if beside:
            parts.append(_speed(artifact, beside))
            parity = artifact["parity"]
            if parity.get("codes_equal") is not None:
                parts.append(
                    f"{100 * parity['codes_equal']:.1f} % of the answers' codes in {artifact['file']} are those of the model that "
                    f"rounds; the largest difference is {parity['codes_max']:.0f}."
                )
    return " ".join(parts)


def sensitivity(results: dict[str, Any]) -> str:
    """Return a chart of what each layer alone costs; "" where that was not asked for."""
    found = ((results.get("quantised") or {}).get("sensitivity") or {}).get("layers") or []
    drawn = [
        charts.Interval(
            row["layer"] or "the model", row["drop"], min(row["drop"], 0.0), max(row["drop"], 0.0), [], charts.STUDENT
        )
        for row in found[:_MOST]
    ]
    return (
        charts.intervals("Points that each layer costs, quantised alone", drawn, "points, on validation rows")
        if drawn
        else ""
    )


def tried(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (layers left in float, points that the rest costs) in the order in which they were tried."""
    found = ((results.get("quantised") or {}).get("sensitivity") or {}).get("tried") or []
    return [(", ".join(row["float_layers"]) or "none", f"{row['drop']:.2f}") for row in found]


def _speed(artifact: dict[str, Any], beside: dict[str, Any]) -> str:
    ratio = beside["latency_ratio"]
    if ratio["low"] <= 1 <= ratio["high"]:
        word = "no faster and no slower, within the noise"
    else:
        word = (
            "faster"
            if ratio["high"] < 1
            else "slower, as this processor, or a model this small, gains nothing from integers"
        )
    return (
        f"{artifact['file']} takes {ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] of the time of the same student in "
        f"float here, timed by turns: {word}."
    )


def _row(name: str, role: str, accuracy: dict[str, Any], weights: str) -> dict[str, str]:
    return {
        "name": name,
        "role": role,
        "accuracy": with_interval(accuracy),
        "weights": weights,
        "file": "–",
        "latency": "–",
    }
