"""What every speed benchmark shares: alternating blocks, medians with intervals, memory of a child, and the page written."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
KEPT = Path(os.environ.get("POTSTILL_BENCH", ROOT / "runs" / "benchmarks"))
"""Prepared data and label stores, kept between runs of the benchmarks."""
BUSY = 1.5
"""Load above which something else than a benchmark of one thread ran."""


@dataclass(frozen=True)
class Seconds:
    """What a block took, and what it returned."""

    wall: float
    cpu: float
    """User and system time of the process, all threads."""
    result: Any = None


def timed(work: Callable[[], Any]) -> Seconds:
    """Run `work` and return its seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu, result)


def timed_child(argv: Sequence[str], env: Mapping[str, str]) -> Seconds:
    """Run a command and return its seconds, its children's included; raise RuntimeError if it fails."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, env=dict(env), capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(time.perf_counter() - wall, cpu)


def alternate(blocks: Mapping[str, Callable[[], Seconds]], rounds: int) -> dict[str, list[Seconds]]:
    """Run every block once to warm up, then `rounds` times each; a round's order turns with its number, so that neither a
    slow spell of the machine nor a place in the order falls on one of them."""
    names = list(blocks)
    for name in names:
        blocks[name]()
    seconds: dict[str, list[Seconds]] = {name: [] for name in names}
    for i in range(rounds):
        turned = names[i % len(names) :] + names[: i % len(names)]
        for name in turned if i // len(names) % 2 == 0 else turned[::-1]:
            seconds[name].append(blocks[name]())
    return seconds


def median(values: Sequence[float]) -> dict[str, float]:
    """Return the median with a 95 % bootstrap interval and the number of values."""
    array = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(0, len(array), (4000, len(array)))
    low, high = np.percentile(np.median(array[picks], axis=1), [2.5, 97.5])
    return {"value": float(np.median(array)), "low": float(low), "high": float(high), "n": len(array)}


def ratio(over: Sequence[Seconds], under: Sequence[Seconds], clock: str) -> dict[str, float]:
    """Return the median of the rounds' ratios by one clock, "wall" or "cpu", with a 95 % bootstrap interval over rounds."""
    return median([getattr(a, clock) / getattr(b, clock) for a, b in zip(over, under, strict=True)])


def paired(better: Sequence[float], worse: Sequence[float]) -> str:
    """Return the mean difference of shares in points with a 95 % interval (Student's t) over seeds, each with its own; it covers no other
    test samples."""
    from scipy import stats

    each = 100 * (np.asarray(better) - np.asarray(worse))
    half = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5 if len(each) > 1 else np.inf
    word = "" if abs(each.mean()) > half else " unresolved"
    return f"{each.mean():+.1f} [{each.mean() - half:+.1f}, {each.mean() + half:+.1f}]{word}"


def shown(figure: Mapping[str, float], digits: int = 2, unit: str = "") -> str:
    """Return 'value [low, high]'."""
    return f"{figure['value']:,.{digits}f}{unit} [{figure['low']:,.{digits}f}, {figure['high']:,.{digits}f}]"


def verdict(met: bool, target: str, miss: str = "") -> str:
    """Return 'met (target)' or 'MISSED (target), by how much'."""
    return f"met ({target})" if met else f"MISSED ({target}){': ' + miss if miss else ''}"


def memory() -> dict[str, int]:
    """Return this process's VmHWM and RssAnon in bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmHWM", "RssAnon")}


def child(script: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """Run a script in a fresh process and return the JSON on its last line; raise RuntimeError with what it said if it
    fails."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{script.name} {' '.join(arguments)}: exit {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine(seeds: str = "0") -> dict[str, Any]:
    """Return what the figures belong to."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "seeds": seeds,
        "load": [round(v, 2) for v in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": {p: importlib.metadata.version(p) for p in ("potstill", "torch", "numpy")},
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }  # fmt: skip


def run_recipe(raw: Mapping[str, Any], threads: int) -> tuple[dict[str, Any], Path]:
    """Run a recipe as `potstill run` would, paths as those of recipes/, and return its results and its folder, runs/NAME."""
    import yaml

    from potstill.core.progress import Progress
    from potstill.pipeline.cache import default_root
    from potstill.pipeline.run import run
    from potstill.recipe.load import from_text
    from potstill.stages import RunOptions

    text, out = yaml.safe_dump(dict(raw)), ROOT / "runs" / raw["name"]
    recipe = from_text(text, f"{raw['name']}.yaml", ROOT / "recipes")
    run(recipe, text, out, RunOptions(default_root(), threads=threads), Progress("plain"))
    return json.loads((out / "results.json").read_text()), out


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def kept(name: str) -> dict[str, Any]:
    """Return the parts of an earlier run's record."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write(name: str, title: str, say: Mapping[str, Callable[[Any], str]], record: Mapping[str, Any]) -> None:
    """Print the page and write docs/results/NAME.md and NAME.json.

    Args:
        name: of the benchmark's file and of its results.
        title: of the page.
        say: part -> what makes its text from its figures; each part says where it ran.
        record: part -> {"figures": ..., "machine": ...}, and "command" where it was called with more than its name.
    """
    page = [f"# {title}"]
    for part, text in say.items():
        if part in record:
            page += [
                text(record[part]["figures"]),
                where(
                    record[part].get("command", f"python benchmarks/{name}.py{f' {part}' if len(say) > 1 else ''}"),
                    record[part]["machine"],
                ),
            ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.md").write_text("\n\n".join(page) + "\n")
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    sys.stdout.write("\n\n".join(page) + "\n")


def where(command: str, where: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{p} {v}" for p, v in where["packages"].items())
    busy = " (other work ran)" if where["load"][0] > BUSY else ""
    return (
        f"`{command}`; {where['date']}, commit {where['commit']}; {where['cores']} cores of {where['cpu']}, "
        f"{where['system']}; {packages}; seeds {where['seeds']}. Load of the machine at the end: {where['load'][0]}{busy}."
    )
