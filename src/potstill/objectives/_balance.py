"""Shares of the gradient that the terms of a loss are to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from potstill.core.spec import Spec
from potstill.objectives._base import ObjectiveSpec
from potstill.schedules import ScheduleSpec


def name_terms(objectives: Sequence[ObjectiveSpec]) -> list[str]:
    """Return a name for each term: its kind, numbered from 1 where a kind comes twice."""
    kinds = [o.kind for o in objectives]
    return [k if kinds.count(k) == 1 else f"{k}-{kinds[: i + 1].count(k)}" for i, k in enumerate(kinds)]


class BalanceSpec(Spec):
    """Each term keeps its share of the gradient's L2 norm. Every 10 steps the norms are measured (at the logits; at the
    student's weights where a term reads features), smoothed, and a factor is set on each term's weight. The term of the
    largest share, the first of equals, has factor 1, so its weight sets the size of the whole; the other weights, plain
    numbers here, are only where their factors start from. Factors stay in [1/10,000, 10,000]; a term without gradient keeps
    its own."""

    kind: Literal["gradient"] = "gradient"
    shares: dict[str, float] = Field(examples=[{"soft-label": 0.8, "hard-label": 0.2}])
    """Name of each term -> its share in (0, 1); they add up to 1. A term is named by its kind, and numbered from 1 in the
    recipe's order where a kind comes twice: soft-label-1, soft-label-2."""

    @field_validator("shares")
    @classmethod
    def _whole(cls, value: dict[str, float]) -> dict[str, float]:
        if len(value) < 2:
            raise ValueError(
                f"must name at least two terms; got {list(value)}. One term has all of the gradient: leave balance out"
            )
        for name, share in value.items():
            if not 0 < share < 1:
                raise ValueError(f"must lie between 0 and 1, ends left out; got {name}={share:g}. Leave a term out of "
                                 "objectives if it is to have no say")  # fmt: skip
        if not math.isclose(sum(value.values()), 1.0, abs_tol=1e-6):
            raise ValueError(f"must add up to 1; got {sum(value.values()):g}")
        return value

    def faults(self, objectives: Sequence[ObjectiveSpec]) -> list[str]:
        """Return what keeps these terms from being balanced; empty where nothing does."""
        names = name_terms(objectives)
        out = [
            f"must name terms of this step; got {n!r}. Its terms: {', '.join(names)}"
            for n in self.shares
            if n not in names
        ]
        out += [f"must give each term a share; got none for {n!r}" for n in names if n not in self.shares]
        for name, objective in zip(names, objectives, strict=True):
            if name in self.shares and (isinstance(objective.weight, ScheduleSpec) or objective.weight <= 0):
                out.append(f"cannot keep a share of {name!r}, whose weight is not a number above 0: balance would undo a "
                           "schedule. Set its weight, such as 1")  # fmt: skip
        return out
