"""What do corruptions do to teacher, strongest control, student and its 8-bit artifact, and what does one sample cost from row to answer?

Usage:
    python benchmarks/robustness.py RECIPE ... [--rows 2000] [--sustained 60] [--float]    # adds to docs/results/robustness.md and .json
    python benchmarks/robustness.py smoke                                                  # digits made small; writes nothing

A recipe is run as it is shipped, with its first seed alone; after its steps the student is quantised (int8_static_per_channel) unless it is
already, the task writes texts, or --float says so. Every corruption of its kind of sample, every severity. Trained models are kept in POTSTILL_CACHE.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

import _measure as measure

INT8 = {"kind": "quantize", "scheme": "int8_static_per_channel", "calibration": {"rows": 512}}


def recipe_of(name: str, rows: int, sustained_s: float, integers: bool, small: bool) -> str:
    """Return a shipped recipe as text, with what is asked of it here."""
    raw: dict[str, Any] = yaml.safe_load(os.path.expandvars((measure.ROOT / "recipes" / f"{name}.yaml").read_text()))
    raw |= {"seeds": 1, "robustness": {"rows": rows}}
    raw["verify"] = {**raw.get("verify", {}), "timing": {"sustained_s": sustained_s}}
    writes = (raw.get("task") or {}).get("kind") == "translation"
    if integers and not writes and all(step["kind"] != "quantize" for step in raw["steps"]):
        raw["steps"].append(INT8)
    if small:
        raw["data"]["limit"], raw["labels"]["views"] = 600, 1
        raw["teacher"]["training"]["epochs"] = raw["steps"][0]["training"]["epochs"] = 8
    return yaml.safe_dump(raw, sort_keys=False)


def figures(name: str, text: str, out: Path) -> dict[str, Any]:
    """Run a recipe and return what results.json says of corruptions and of time."""
    from potstill.core.progress import Progress
    from potstill.pipeline.cache import default_root
    from potstill.pipeline.run import run
    from potstill.recipe.load import from_text
    from potstill.report import build
    from potstill.stages import RunOptions

    recipe = from_text(text, f"{name}.yaml", measure.ROOT / "recipes")
    results = run(recipe, text, out, RunOptions(default_root()), Progress("plain")).results
    build(out)
    kept = ("task", "metric", "arms", "quantised", "robustness")
    artifacts = [
        {k: a[k] for k in ("format", "file", "timing", "latency_ms", "quantised")} for a in results["artifacts"]
    ]
    arms = [{k: a[k] for k in ("name", "accuracy")} for a in results["arms"]]
    return {
        **{k: results[k] for k in kept},
        "arms": arms,
        "artifacts": artifacts,
        "test_rows": results["data"]["rows"]["test"],
    }


def said(name: str, found: dict[str, Any]) -> str:
    """Return a recipe's part of the page, in the words of its report."""
    from potstill.report import _robust, _timing

    shown = _robust.section(found)
    assert shown is not None
    parts = [f"## {name}", *shown["sentences"]]
    parts.append(
        measure.table(
            ["model", *shown["table"]["head"]], [[f"{n}, {role}", *cells] for n, role, cells in shown["table"]["rows"]]
        )
    )
    sides = found["robustness"]["sides"]
    ratios = [
        [
            corruption.replace("-", " "),
            *("–" if (ce := s["corruption_error"]["ce"][corruption]) is None else f"{ce:.2f}" for s in sides[1:]),
        ]
        for corruption in found["robustness"]["corruptions"]
    ]
    parts.append(measure.table(["error over the teacher's", *(s["model"] for s in sides[1:])], ratios))
    for artifact in found["artifacts"]:
        timing = _timing.section(artifact)
        assert timing is not None
        parts.append(
            f"`{artifact['file']}` from the row on disk to the answer, measured. {' '.join(timing['sentences'])}"
        )
        parts.append(measure.table(["part", *timing["head"]], [[part, *cells] for part, cells in timing["parts"]]))
        parts.append(
            measure.table(
                ["threads, the artifact alone", "min", "median", "p95", "CPU time", "cores busy"],
                [[n, *cells] for n, cells in timing["threads"]],
            )
        )
        parts.append(f"Cold start: {timing['cold']}.{' Long run: ' + timing['long'] + '.' if timing['long'] else ''}")
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", help="names of shipped recipes, or smoke")
    parser.add_argument("--rows", type=int, default=2000, help="test rows that are corrupted")
    parser.add_argument("--sustained", type=float, default=60.0, help="seconds of the long run; 0: none")
    parser.add_argument("--float", action="store_true", help="leave the student in float32")
    given = parser.parse_args()
    if given.recipes == ["smoke"]:
        with tempfile.TemporaryDirectory() as folder:
            print(said("digits", figures("digits", recipe_of("digits", 60, 2.0, True, True), Path(folder) / "run")))
        return
    record = measure.kept("robustness")
    for name in given.recipes:
        text = recipe_of(name, given.rows, given.sustained, not given.float, False)
        record[name] = {
            "figures": figures(name, text, measure.KEPT / "robustness" / name),
            "machine": measure.machine(),
            "command": f"python benchmarks/robustness.py {name} --rows {given.rows} --sustained {given.sustained:g}"
            + " --float" * given.float,
        }
        measure.write("robustness", "Corrupted samples, and a sample's way from row to answer",
                      {n: lambda found, n=n: said(n, found) for n in record}, record)  # fmt: skip


if __name__ == "__main__":
    main()
