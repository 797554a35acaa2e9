"""A student as generated C: what its folder says of memory, and the plan drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.generated import report_of
from potstill.core.units import human_bytes, human_count
from potstill.mcu.draw import drawn


def section(artifact: dict[str, Any], run: Path) -> dict[str, Any] | None:
    """Return facts as (name, figure) and the drawing of an artifact of a run; None where it is no generated C or its folder is gone."""
    if artifact["format"] != "c":
        return None
    try:
        report = report_of((run / artifact["file"]).parent)
    except PotstillError:
        return None
    modelled = report["instructions_m4"]["value"]
    kernels = sorted({kernel for op in report["operators"] for kernel in op["kernels"]})
    facts = [
        ("arena", f"{human_bytes(report['arena_bytes'])}; no plan needs fewer than {human_bytes(report['arena_bound_bytes'])}"),
        ("operators", f"{len(report['operators'])}, by {len(kernels)} kernels; {human_count(report['macs'])} MACs"),
        ("Cortex-M4", "unknown" if modelled is None else f"{human_count(modelled)} instructions, modelled from the graph"),
        ("codes", f"those of {report['oracle']['name']} {report['oracle']['version']}"),
    ]  # fmt: skip
    if report.get("host"):
        facts.append(("the host makes", f"{report['host']['do']} of each sample"))
    return {"facts": facts, "drawing": drawn(report)}
