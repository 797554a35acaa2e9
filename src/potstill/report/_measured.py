"""What was measured on devices, as rows of a table."""

from __future__ import annotations

from typing import Any

from potstill.core.units import human_bytes
from potstill.report import _say as say


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row a device and format; none where nothing came back from a device."""
    out = []
    for record in results.get("measured_on") or []:
        device, memory = record["device"], record["peak_memory_bytes"]
        times = [
            f"{say.milliseconds(e['median'])}, {e['threads']} thread{'s' * (e['threads'] != 1)} (p95 {say.milliseconds(e['p95'])})"
            for e in record["latency_ms"]
        ]
        known = [
            f"{device['cores']} cores of {device['cpu'] or device['machine']}",
            human_bytes(device["memory_bytes"]),
            device["system"],
        ]
        governor = [f"governor {device['governor']}"] if device["governor"] else []
        out.append({
            "device": device["name"], "facts": ", ".join([*known, *governor]), "file": record["file"],
            "runtime": f"{record['runtime']['name']} {record['runtime']['version']}", "latency": "; ".join(times), "times": times,
            "memory": "unknown" if memory is None else human_bytes(memory["value"]),
            "score": say.with_interval(record["accuracy"]), "rows": f"{record['rows']:,}", "agrees": agreed(record),
            "date": record["started"][:10],
        })  # fmt: skip
    return out


def agreed(record: dict[str, Any]) -> str:
    """Return how what the device gave compares with what the file gave where it was exported."""
    parity = record["parity"]
    top = (
        ""
        if parity["top1_agreement"] is None
        else f"top-1 as here on {100 * parity['top1_agreement']:.4g} % of {record['rows']:,} rows, "
    )
    if "codes_equal" in parity:
        return f"{top}{100 * parity['codes_equal']:.4g} % of the codes equal, the others off by at most {parity['codes_max']:.1f}"
    return f"{top}largest difference {parity['max_abs_diff']:.2g}"
