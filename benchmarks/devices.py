"""How far off are modelled latencies? Predicted beside published, for models that were held out.

Every group of published rows that a profile names is fitted without one model at a time and asked for that model. Then the files of
MLPerf Tiny are counted and asked for in the same way under every runtime with their rows, and models of one suite are asked of
another's. Writes docs/results/devices.md and .json; seconds.

Usage: POTSTILL_DATA=... python benchmarks/devices.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from _measure import ROOT, machine, table, write

from potstill.devices.catalogue import names, profile_of
from potstill.devices.forms import FORMS
from potstill.devices.latency import Fitted, fit, fitted
from potstill.devices.profile import LatencyOf
from potstill.devices.read import read_cost
from potstill.devices.rows import Row, groups, rows

DATA = Path(os.environ.get("POTSTILL_DATA", ROOT.parent / "shared" / "data"))
FILES = {
    "ad01_int8.tflite": "MLPerfTiny-AD-FCAE|640", "kws_ref_model.tflite": "MLPerfTiny-KWS-DSCNN|49x10x1",
    "kws_ref_model_float32.tflite": "MLPerfTiny-KWS-DSCNN|49x10x1", "pretrainedResnet.tflite": "MLPerfTiny-IC-ResNet8|32x32x3",
    "pretrainedResnet_quant.tflite": "MLPerfTiny-IC-ResNet8|32x32x3", "vww_96_int8.tflite": "MLPerfTiny-VWW-MBv1-0.25|96x96x3",
}  # fmt: skip
"""File -> the model of the rows, with its input."""
ACROSS = (("rpi5", "ncnn", "4", "ncnn (ultralytics)", ""), ("orin_nano_8gb", "ncnn", "6", "ncnn (ultralytics)", "6"))
"""(board, runtime fitted, threads, the other suite's runtime, its threads)."""


def held_out() -> list[dict[str, Any]]:
    """Return the errors of every entry of every profile, and what is not predicted."""
    out = []
    for name in names():
        for entry in profile_of(name).latency:
            found = fitted(entry)
            known: dict[str, Any] = {"reason": found}
            if isinstance(found, Fitted):
                inside = [1 / found.factor <= ratio <= found.factor for _, ratio in found.errors]
                known = {"models": len(found.models), "rows": len(found.rows), "mean": found.mean, "p90": found.p90,
                         "factor": found.factor, "inside": float(np.mean(inside)), "ratios": [[m, round(r, 4)] for m, r in found.errors]}  # fmt: skip
            out.append({"device": name, "runtime": entry.title, "entry": entry.model_dump(), **known})
    return out


def tiny() -> list[dict[str, Any]]:
    """Return predicted and published latency of each file of MLPerf Tiny under each runtime that has its rows, its rows held out."""
    entries = {
        (e.board, e.runtime, e.version, e.dtype, e.threads): (n, e) for n in names() for e in profile_of(n).latency
    }
    out = []
    for file, model in FILES.items():
        cost = read_cost(DATA / "mlperf_tiny" / file)
        for group, there in groups().items():
            published = [r for r in there if r.model == model and r.dtype == cost.dtype and not r.skip]
            if not published or group not in entries:
                continue
            name, entry = entries[group]
            left = [r for r in there if r.model != model and not r.skip]
            for row in published:
                out.append({"file": file, "device": name, "board": entry.board, "runtime": entry.title, "published_ms": row.latency_ms,
                            "predicted_ms": _asked(left, entry, cost.counts()), "energy_uj": row.energy_uj})  # fmt: skip
    return out


def _asked(left: list[Row], entry: LatencyOf, counts: dict[str, float | None]) -> float | None:
    """Return the prediction without the model's own rows; None where the profile's answer is `unknown`."""
    form = FORMS[entry.form]
    if isinstance(fitted(entry), str) or len({r.model for r in left}) + 1 < form.least_models:
        return None
    return fit(left, form).value(counts)


def across() -> list[dict[str, Any]]:
    """Return what a fit of ncnn's own suite says of another suite's models, whose MACs are known without their classes."""
    out = []
    for board, runtime, threads, other, others in ACROSS:
        mine = [
            r
            for r in rows()
            if (r.board, r.runtime, r.threads, r.dtype) == (board, runtime, threads, "float") and not r.skip
        ]
        found = fit(mine, FORMS["overhead+macs"])
        for row in rows():
            if (row.board, row.runtime, row.threads) == (board, other, others):
                out.append({"board": board, "model": row.model, "published_ms": row.latency_ms, "predicted_ms": found.value(row.counts),
                            "within_suite": found.mean})  # fmt: skip
    return out


def page(figures: dict[str, Any]) -> str:
    """Return the text of the page."""
    known = [f for f in figures["held_out"] if "mean" in f]
    weights = [f["rows"] for f in known]
    mean = np.average([f["mean"] for f in known], weights=weights)
    inside = np.average([f["inside"] for f in known], weights=weights)
    lines = [
        "Published latencies and nothing else: none of these devices was measured by us. Each row fits the rows of one board, runtime, "
        "version, dtype and number of threads without one model at a time, and asks for that model. The interval (factor) is made so that it "
        "holds nine of ten of these rows, or all of fewer than ten: the share inside is no test of it. Where several forms suited, the one of "
        "the smallest error is named, which flatters it a little. Models of one suite resemble one another: another suite's are further off "
        "(last table).",
        f"{len(known)} of {len(figures['held_out'])} groups are predicted, {sum(weights)} held-out rows: {100 * mean:.1f} % off in the mean, "
        f"{100 * inside:.0f} % within the interval. The others say `unknown`: "
        f"{sum('are needed' in f.get('reason', '') for f in figures['held_out'])} have too few models, "
        f"{sum('in the mean' in f.get('reason', '') for f in figures['held_out'])} miss by more than half.",
        table(
            ["device", "runtime, dtype, threads", "form", "models / rows", "mean", "p90", "interval ×/÷"],
            [[f["device"], f"{f['runtime']}, {f['entry']['dtype']}, {f['entry']['threads'] or '?'}" + (f" ({f['entry']['board']})" if f["entry"]["board"] != f["device"] else ""),
              f["entry"]["form"], f"{f['models']} / {f['rows']}", f"{100 * f['mean']:.0f} %", f"{100 * f['p90']:.0f} %", f"{f['factor']:.2f}"] for f in known],
        ),
        "## The files of MLPerf Tiny",
        "Counted from the files, every row of the model held out. Of the wake-words model many published latencies are of a model whose dead "
        "channels were folded away: these rows are no calibration and are not asked for. The float files have no group of enough rows.",
        table(["file", "published rows", "predicted", "mean error", "worst"], _tiny_rows(figures["tiny"])),
        table(
            ["file", "board", "runtime", "published, ms", "predicted, ms", "error"],
            [[f["file"], f["board"], f["runtime"], f"{f['published_ms']:.4g}", _ms(f["predicted_ms"]), _error(f)] for f in figures["tiny"]],
        ),
        "## Another suite's models",
        "A fit of overhead and MACs over ncnn's own benchmark models, asked for YOLO11 of another suite, by ncnn too: classes of MACs are not "
        "known there.",
        table(
            ["board", "model", "published, ms", "predicted, ms", "error", "mean error within the suite"],
            [[f["board"], f["model"].replace("|", " at "), f"{f['published_ms']:.4g}", _ms(f["predicted_ms"]), _error(f), f"{100 * f['within_suite']:.0f} %"] for f in figures["across"]],
        ),
    ]  # fmt: skip
    return "\n\n".join(lines)


def _tiny_rows(figures: list[dict[str, Any]]) -> list[list[str]]:
    out = []
    for file in FILES:
        there = [f for f in figures if f["file"] == file]
        errors = [abs(f["predicted_ms"] / f["published_ms"] - 1) for f in there if f["predicted_ms"] is not None]
        worst = f"{100 * max(errors):.0f} %" if errors else "-"
        mean = f"{100 * float(np.mean(errors)):.0f} %" if errors else "unknown"
        out.append([file, str(len(there)), str(len(errors)), mean, worst])
    return out


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _error(figure: dict[str, Any]) -> str:
    if figure["predicted_ms"] is None:
        return ""
    return f"{100 * (figure['predicted_ms'] / figure['published_ms'] - 1):+.0f} %"


def main() -> None:
    """Fit, ask, and write the page."""
    figures = {"held_out": held_out(), "tiny": tiny(), "across": across()}
    write(
        "devices",
        "Modelled latency beside published",
        {"devices": page},
        {"devices": {"figures": figures, "machine": machine("none")}},
    )


if __name__ == "__main__":
    main()
