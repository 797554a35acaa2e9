"""`bundle`, and `verify --from-device`: a run's artifact to a device, and what was measured there back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from potstill.core.units import human_bytes


def make_bundle(run: Path, kind: str | None, rows: int, out: Path | None, *, as_json: bool) -> None:
    """Write a bundle and print where it is."""
    from potstill.pipeline.bundle import write_bundle

    made = write_bundle(run, kind, rows, out)
    if as_json:
        print(json.dumps(made))
        return
    print(
        f"{made['folder']}: {made['format']}, {made['rows']} rows, {human_bytes(made['bytes'])}. Its README.md has the three commands."
    )


def take_result(run: Path, file: Path, *, as_json: bool) -> None:
    """Take a device's result into a run, write the report again and print what was measured."""
    from potstill.pipeline.bundle import take_in
    from potstill.report import build

    record = take_in(run, file)
    page = build(run)
    if as_json:
        print(json.dumps(record))
        return
    print("\n".join(_lines(record)) + f"\nReport: {page}")


def _lines(record: dict[str, Any]) -> list[str]:
    from potstill.report._measured import agreed

    runtime = f"{record['runtime']['name']} {record['runtime']['version']}"
    lines = [f"measured on {record['device']['name']}: {record['file']}, {runtime}"]
    for entry in record["latency_ms"]:
        threads = f"{entry['threads']} thread{'s' * (entry['threads'] != 1)}"
        lines.append(
            f"latency, {threads}: median {entry['median']:.4g} ms, min {entry['min']:.4g}, p95 {entry['p95']:.4g}"
        )
    if record["peak_memory_bytes"] is not None:
        lines.append(f"peak memory: {human_bytes(record['peak_memory_bytes']['value'])} beside the runtime's own")
    return [*lines, f"outputs: {agreed(record)}"]
