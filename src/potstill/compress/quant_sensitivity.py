"""What each layer costs when it alone is quantised, and which are left in float for the rest to be near enough. Loads torch.

Reference: Wu et al. 2020, arXiv:2004.09602, section 5.2 (sensitivity of single layers, partial quantisation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from potstill.quant.fake import Fake


def alone(fake: Fake, judge: Callable[[nn.Module], float], whole: float) -> list[dict[str, Any]]:
    """Return {layer, drop} of each layer with weights, the worst first.

    Args:
        fake: calibrated.
        judge: model -> the headline.
        whole: the headline of the float model.

    Returns:
        `drop`: points that the headline falls when this layer's weights, its input and its output are rounded and nothing else.
    """
    rows = []
    for path in fake.plan.paths():
        rounds: set[str] = set()
        for node, layer in fake.plan.layers.items():
            if layer.path == path:
                sites = (fake.input_site(node), fake.output_site(node))
                rounds |= {layer.weight, *(s for s in sites if s is not None)}
        fake.only = rounds
        rows.append({"layer": path, "drop": 100 * (whole - judge(fake))})
    fake.only = None
    return sorted(rows, key=lambda row: -row["drop"])


def leave_in_float(
    make: Callable[[tuple[str, ...]], Fake], judge: Callable[[nn.Module], float], whole: float, stated: tuple[str, ...],
    max_drop: float,
) -> tuple[Fake, dict[str, Any]]:  # fmt: skip
    """Return (the calibrated model with as few layers in float as it takes, what was found).

    Args:
        make: paths of layers left in float -> a calibrated model.
        judge: model -> the headline.
        whole: the headline of the float model.
        stated: layers that the recipe leaves in float.
        max_drop: points.
    """
    fake = make(stated)
    table = alone(fake, judge, whole)
    drop, left = 100 * (whole - judge(fake)), list(stated)
    tried = [{"float_layers": list(left), "drop": drop}]
    for row in table:
        if drop <= max_drop:
            break
        left.append(row["layer"])
        fake = make(tuple(left))
        drop = 100 * (whole - judge(fake))
        tried.append({"float_layers": list(left), "drop": drop})
    return fake, {"layers": table, "tried": tried, "drop": drop, "max_drop": max_drop, "reached": drop <= max_drop}
