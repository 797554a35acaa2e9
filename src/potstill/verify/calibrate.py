"""The machine that this runs on as a device: nets of known cost timed in each runtime that it has, and a profile fitted to these rows."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core import atomic
from potstill.core.child import ChildSession
from potstill.core.errors import DeviceError
from potstill.core.fingerprint import version_of
from potstill.core.progress import Progress
from potstill.devices.calibration.nets import NETS, QUICK, Net, sample
from potstill.devices.calibration.onnx_file import onnx_bytes
from potstill.devices.calibration.tflite_file import tflite_bytes
from potstill.devices.forms import FORMS, MOST_ERROR
from potstill.devices.host import host
from potstill.devices.latency import Fitted, fit
from potstill.devices.read import read_cost
from potstill.devices.rows import MEASURED, Row, write_rows

_FORMS = ("macs", "overhead+macs", "dense+depthwise", "layers+macs", "by-class")
"""Those that bring nothing from other devices; of them the one is taken that is least off on models held out."""
_WARM_S, _LEAST_CALLS = 0.1, 5


@dataclass(frozen=True)
class _Runtime:
    title: str
    module: str
    """Of core; opened in a child."""
    package: str
    suffix: str
    write: Callable[..., bytes]


_RUNTIMES = (
    _Runtime("ONNX Runtime", "potstill.core.onnx_writer", "onnxruntime", ".onnx", onnx_bytes),
    _Runtime("LiteRT", "potstill.core.runtimes.litert", "ai_edge_litert", ".tflite", tflite_bytes),
)


@dataclass(frozen=True)
class Group:
    """Rows of one runtime, dtype and number of threads, with the form that is least off; or why none is."""

    rows: tuple[Row, ...]
    fitted: Fitted | None

    @property
    def usable(self) -> bool:
        """Whether a latency can be modelled from them."""
        return self.fitted is not None and self.fitted.mean <= MOST_ERROR


def measure_device(
    out: Path, *, quick: bool, progress: Progress, nets: Sequence[Net] | None = None, seconds: float | None = None
) -> list[Group]:
    """Time nets on this machine and write a profile with a table of rows beside it.

    Args:
        out: the profile, a .yaml file that is not there yet; its name is the device's: small letters, digits and _.
        quick: fewer nets, one thread, one pass.
        progress: where to report.
        nets: which; None takes those of the calibration.
        seconds: of timing a file in a pass; None as `quick` says.

    Returns:
        What was measured, by runtime, dtype and threads.

    Raises:
        DeviceError: `out` cannot be a profile's name, or is there already.
    """
    if not re.fullmatch(r"[a-z0-9_]+\.yaml", out.name):
        raise DeviceError(
            f"--out {out}: must be named by small letters, digits and _, ending in .yaml; got {out.name!r}."
        )
    table = out.with_suffix(".csv")
    there = [path for path in (out, table) if path.exists()]
    if there:
        raise DeviceError(f"--out {there[0]}: must not be there yet. Remove it, or name another.")
    chosen = nets or (QUICK if quick else NETS)
    threads = sorted(
        {1} if quick else {1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1}
    )
    rows = _measured(out.stem, chosen, threads, 1 if quick else 2, seconds or (0.15 if quick else 0.4), progress)
    groups = [_fitted(found) for found in _by_group(rows)]
    write_rows(table, rows)
    atomic.write_bytes(out, _profile(out.stem, table.name, groups).encode())
    return groups


def _measured(
    board: str, nets: Sequence[Net], threads: Sequence[int], passes: int, seconds: float, progress: Progress
) -> list[Row]:
    """Return a row each of net, runtime, dtype and threads: the least of the medians of the passes, which go to and fro."""
    there = [runtime for runtime in _RUNTIMES if find_spec(runtime.package) is not None]
    jobs = [(r, int8, num, net) for r in there for int8 in (False, True) for num in threads for net in nets]
    least: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name, progress.task("calibrate", len(jobs) * passes, "files") as shown:
        folder = Path(name)
        for turn in range(passes):
            for place in range(len(jobs)) if turn % 2 == 0 else reversed(range(len(jobs))):
                runtime, int8, num, net = jobs[place]
                path = folder / f"{net.name}-{int8}{runtime.suffix}"
                if not path.exists():
                    path.write_bytes(runtime.write(net, int8=int8))
                found = _median_ms(runtime, path, net, num, seconds)
                least[place] = min(least.get(place, found), found)
                shown.advance(1)
        return [_row(board, f"m{i:04d}", folder, *jobs[i], least[i]) for i in range(len(jobs))]


def _median_ms(runtime: _Runtime, path: Path, net: Net, threads: int, seconds: float) -> float:
    session = ChildSession(runtime.module, path, threads)
    try:
        inputs = sample(net, channels_first=runtime.suffix == ".onnx")
        single = float(session.times(inputs, 3).min())
        session.times(inputs, max(1, int(min(_WARM_S, seconds) / max(single, 1e-7))))
        calls = int(np.clip(seconds / max(single, 1e-7), _LEAST_CALLS, 5000))
        return 1e3 * float(np.median(session.times(inputs, calls)))
    finally:
        session.close()


def _row(
    board: str, number: str, folder: Path, runtime: _Runtime, int8: bool, threads: int, net: Net, ms: float
) -> Row:
    cost = read_cost(folder / f"{net.name}-{int8}{runtime.suffix}")
    given = "x".join(map(str, net.shape))
    return Row(
        number, board, runtime.title, version_of(runtime.package), str(threads), "int8" if int8 else "float32", f"{net.name}|{given}",
        cost.counts(), ms, None, MEASURED,
    )  # fmt: skip


def _by_group(rows: Sequence[Row]) -> Iterator[tuple[Row, ...]]:
    for group in dict.fromkeys(row.group for row in rows):
        yield tuple(row for row in rows if row.group == group)


def _fitted(rows: tuple[Row, ...]) -> Group:
    models = len({row.model for row in rows})
    able = [fit(rows, FORMS[name]) for name in _FORMS if models >= FORMS[name].least_models]
    able = [found for found in able if np.isfinite(found.factor)]
    return Group(rows, min(able, key=lambda found: found.mean, default=None))


def _profile(name: str, table: str, groups: Sequence[Group]) -> str:
    """Return the profile of this machine as YAML: what `host` says, and its latencies."""
    import yaml

    here = host()
    model = _device_tree()
    when = datetime.now(UTC).date().isoformat()
    cores = here.cores.model_copy(update={"note": ""})
    raw: dict[str, Any] = {
        "name": name, "title": model or here.cores.text, "kind": "sbc" if model else "host",
        "cores": cores.model_dump(exclude_defaults=True),
        **{field: getattr(here, field).model_dump(exclude_defaults=True)
           for field in ("clock_mhz", "ram_bytes", "memory_bandwidth_mb_s", "power_idle_w", "supply")},
        "boards": {name: f"this machine, {MEASURED}, {when}"},
        "latency": [
            {"board": name, "runtime": g.rows[0].runtime, "version": g.rows[0].version, "dtype": g.rows[0].dtype, "threads": g.rows[0].threads,
             "form": g.fitted.form.name, "rows": table}
            for g in groups if g.fitted is not None
        ],
    }  # fmt: skip
    text: str = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by potstill devices measure, {when}. Power and clock are unknown: add them, with status and source.\n{text}"


def _device_tree() -> str:
    try:
        return Path("/proc/device-tree/model").read_text(errors="replace").rstrip("\0").strip()
    except OSError:
        return ""
