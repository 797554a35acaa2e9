"""What training says while it runs: JSON lines always; CSV and TensorBoard on request."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from potstill.core import atomic
from potstill.core.extras import require


class Log:
    """Appends records to `log.jsonl`; on resume, records past the checkpoint are dropped first.

    Args:
        folder: the stage's working folder.
        step: the step that training resumes at; 0 for a fresh start.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.jsonl"
        kept = [r for r in read(self.path) if r["step"] <= step] if step else []
        atomic.write_bytes(self.path, "".join(json.dumps(r) + "\n" for r in kept).encode())
        self._handle = open(self.path, "a")  # noqa: SIM115 - closed by close()

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; it must have "step"."""
        self._handle.write(json.dumps(record, allow_nan=False) + "\n")
        self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Return the whole records of a log; a torn last line is left out."""
    if not path.exists():
        return []
    out = []
    for line in path.read_text().splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            break
    return out


def flatten(record: dict[str, Any]) -> dict[str, float]:
    """Return a record's numbers under slash-joined names."""
    out: dict[str, float] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            out.update({f"{key}/{k}": v for k, v in flatten(value).items()})
        elif isinstance(value, (int, float)):
            out[key] = value
    return out


def write_csv(records: list[dict[str, Any]], path: Path) -> None:
    """Write a log's epoch records as a table, one column a number."""
    rows = [flatten(r) for r in records]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic.replacing(path) as tmp, open(tmp, "w", newline="") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_tensorboard(records: list[dict[str, Any]], folder: Path) -> None:
    """Write a log as TensorBoard events. Raises MissingExtraError without the package tensorboard."""
    require("tensorboard", "tensorboard", "TensorBoard logs")
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for record in records:
            for name, value in flatten(record).items():
                if name != "step":
                    writer.add_scalar(name, value, int(record["step"]))
