"""Compare pruning, quantising, distilling and what joins them on shipped recipes, under one budget each.

Usage: python benchmarks/compare.py [NAME ...] [--seeds N] [--threads N]     # default: all of RUNS, 5 seeds

Claims 2 and 12 of the article that this project began with: pruning 4.2 MB / 87.1 % / 18 ms, quantisation 2.1 / 85.3 / 12,
distillation 2.3 / 88.7 / 14; and pruned and distilled together from 25.6 M parameters to 9.1 M for 0.8 points. Here every arm has one
budget, of digits a half and a quarter of what its teacher takes in int8: quantising alone stops at a quarter of float32, is over it and marked so, and
all that joins it has something left to do. The control has the same budget. Goes on where it was stopped; writes docs/results/compare.md and .json for what is finished. All but digits need POTSTILL_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
RUNS = {"digits": ("digits", 38_877), "digits-quarter": ("digits", 19_438), "snips-slots": ("snips-slots", 155_534), "etth1": ("etth1", 14_048),
        "clinc150": ("clinc150", 400_000), "spoken-digits": ("spoken-digits", 60_000)}  # fmt: skip
"""Recipe and bytes of weights: of digits a half and a quarter of its teacher's in int8; of ETTh1 and SNIPS half of what their student
takes; of the others the student's goal. The last three teachers cannot be cut: ensembles, encoders from elsewhere."""


def git(*args: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def compared(name: str, seeds: int, threads: int, folder: Path) -> dict[str, Any]:
    """Return what is kept of one comparison."""
    import potstill as ps
    from potstill.recipe.load import load

    recipe, budget = RUNS[name]
    path = ROOT / "recipes" / f"{recipe}.yaml"
    cuttable = load(path).teacher.kind in ("train", "zoo")
    arms = () if cuttable else ("distill", "distill+quantize")
    found = ps.compare(
        path, arms=arms, seeds=seeds, weight_bytes=budget, out=folder / name, threads=threads, progress="plain"
    )
    results = found.results
    return {
        "recipe": recipe, "run": name, "date": datetime.now(UTC).isoformat(timespec="minutes"), "commit": git("rev-parse", "--short", "HEAD"),
        "command": f"potstill compare recipes/{recipe}.yaml --seeds {seeds} --weight-bytes {budget}"
        + (f" --arms {','.join(arms)}" if arms else ""),
        "verdict": found.verdict, **{k: v for k, v in results.items() if k not in ("recipe", "name")},
    }  # fmt: skip


def table(kept: list[dict[str, Any]]) -> str:
    """Return the page."""
    from potstill.core.units import human_bytes
    from potstill.report import _say as say

    lines = [
        "# Pruning, quantising, distilling, and all three",
        "",
        (__doc__ or "").split("\n\n")[2].replace("\n", " "),
        "",
    ]
    for k in kept:
        environment = k["environment"]
        lines += [
            f"## {k['recipe']}, {human_bytes(k['budget']['weight_bytes'])} of weights", "", k["verdict"].replace("\n", "\n\n"), "",
            f"| arm | {k['metric']} of the file, 95 % | over the control, points | verdict | file | parameters | latency, of the teacher's | memory |",
            "|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for arm in k["arms"]:
            gain, ratio = arm["gain"], arm["latency_ratio"]
            points = f"{say.points_with_interval(gain)} | {gain['verdict']}" if gain else " | "
            over = " (over the budget)" if arm["over"] else ""
            memory = arm["peak_memory_bytes"]["value"]
            lines.append(
                f"| {arm['name']}{over} | {say.with_interval(arm['accuracy'])} | {points} | {human_bytes(arm['file_bytes'])} | "
                f"{arm['params']:,} | {ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] | "
                f"{'unknown' if memory is None else human_bytes(memory)} |"
            )
        teacher, packages = k["teacher"], ", ".join(f"{p} {v}" for p, v in environment["packages"].items())
        params = f", {teacher['params']:,} parameters" if teacher["params"] else ""
        lines += [
            "", f"Teacher: {teacher['name']}, {say.with_interval(teacher['accuracy'])}{params}; {teacher['latency_ms']['median']:.3g} ms. "
            f"`{k['command']}`, commit {k['commit']}, seeds {k['seeds']}, {k['test_rows']:,} test rows, {k['date']}; "
            f"{environment['cpu']}, {environment['cores']} cores; {packages}. Latency and memory measured, one thread, all by turns.", "",
        ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*RUNS], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "compare")
    given = parser.parse_args()
    file = RESULTS / "compare.json"
    kept = {k["run"]: k for k in (json.loads(file.read_text()) if file.exists() else [])}
    for name in given.names:
        if name not in RUNS:
            parser.error(f"NAME: must be one of {', '.join(RUNS)}; got {name!r}")
        if RUNS[name][0] != "digits" and "POTSTILL_DATA" not in os.environ:
            print(f"{name}: needs POTSTILL_DATA; left out", file=sys.stderr)
            continue
        kept[name] = compared(name, given.seeds, given.threads, given.runs)
        ordered = [kept[n] for n in RUNS if n in kept]
        file.write_text(json.dumps(ordered, indent=1) + "\n")
        (RESULTS / "compare.md").write_text(table(ordered))
        print(kept[name]["verdict"], flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
