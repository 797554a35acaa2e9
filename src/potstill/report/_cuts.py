"""What pruning took away, as tables."""

from __future__ import annotations

from typing import Any

from potstill.core.units import human_bytes, human_count


def cuts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each prune step of the published student: a sentence, its layers, its sizes, what stayed whole; all text."""
    return [_cut(step) for step in results.get("pruning") or []]


def _cut(step: dict[str, Any]) -> dict[str, Any]:
    plan, again = step["plan"], step["recalibrated"]
    first, before, after = plan["first"], plan["before"], plan["after"]
    share = 1 - after["params"] / first["params"]
    what = "the teacher, as the student's beginning," if step["start"] == "teacher" else "the student"
    device = f" It is the least that fits {plan['fits']}, as modelled." if plan.get("fits") else ""
    norms = f" The statistics of {again['layers']} BatchNorm layers were taken again, of {again['rows']:,} training rows." if \
        again["layers"] else ""  # fmt: skip
    text = (
        f"Step {step['step']} cut {what} by importance {step['importance']} at a pruning ratio of {plan['ratio']:.3f}: {share:.1%} of the "
        f"parameters went{', counted from the model that nothing was cut from' if first != before else ''}. Channels set to zero and "
        f"channels taken away gave the same outputs.{device}{norms}"
    )
    sizes = [
        (name, show(before[key]), show(after[key]), f"{after[key] / before[key] - 1:+.1%}".replace("-", "−"))
        for name, key, show in (("parameters", "params", human_count), ("MACs", "macs", human_count), ("file", "bytes", human_bytes))
    ]  # fmt: skip
    layers = [(layer["layer"], f"{layer['before']:,}", f"{layer['after']:,}", layer["after"] < layer["before"]) for layer in plan["layers"]]  # fmt: skip
    return {"text": text, "sizes": sizes, "layers": layers, "whole": list(plan["whole"].items())}
