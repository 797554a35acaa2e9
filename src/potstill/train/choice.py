"""Which losses are worth a try, and for how long: rules as data, over what is cheap to know before a student is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from potstill.objectives import ObjectiveSpec
from potstill.objectives.dist import DistSpec
from potstill.objectives.dkd import DkdSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.objectives.wttm import WttmSpec

MOST = 3
"""Candidates beside the control."""
SHARE = 5
"""Losers together take at most one step in so many of a whole training."""
LEAST_ROWS = 30
"""Labelled validation rows below which a race decides nothing."""


@dataclass(frozen=True)
class Known:
    """What the rules read. None: not known, and then no rule that asks for it holds."""

    num_classes: int
    labelled: float
    """Share of training rows whose label the student may use, [0, 1]."""
    teacher_accuracy: float
    """Share of the teacher's gate rows on which it is right, [0, 1]."""
    calibration_error: float | None
    """Of the stored labels on labelled training rows, [0, 1]; of rows that a teacher trained here has fitted."""
    noise: float
    """Share of labelled training rows on which the teacher is sure (0.9 or more) of another class."""
    capacity: float | None
    """The teacher's parameters over the student's."""
    same_family: bool | None
    """The two are of one kind."""


@dataclass(frozen=True)
class Rule:
    """A candidate, when it is one, and why."""

    name: str
    objectives: tuple[ObjectiveSpec, ...]
    why: str
    when: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Field of Known -> the half-open range [low, high) that it must lie in; all of them."""

    def holds(self, known: Known) -> bool:
        """Return whether every condition is met."""
        for name, (low, high) in self.when.items():
            value = getattr(known, name)
            if value is None or not low <= value < high:
                return False
        return True


_TWO, _SOME, _MANY = (2, 3), (3, 1001), (1001, math.inf)
_FEW_LABELS, _MOST_LABELS = (0, 0.5), (0.5, math.inf)
_LEDGER = "docs/results/gain.md"
_HARD = HardLabelSpec(weight=0.1)
_T1, _T2 = (SoftLabelSpec(temperature=1.0),), (SoftLabelSpec(temperature=2.0),)
_Z2 = SoftLabelSpec(temperature=2.0, standardize=True)

RULES: tuple[Rule, ...] = (
    Rule("T=1 and hard labels alike", (SoftLabelSpec(temperature=1.0, weight=0.5), HardLabelSpec(weight=0.5)),
         "the teacher is wrong on three rows in ten or more, so labels weigh as much as it does",
         {"teacher_accuracy": (0, 0.7)}),
    Rule("T=1", _T1, "two classes: the teacher's one number, as it is", {"num_classes": _TWO}),
    Rule("T=2", _T2, "two classes: the same softened", {"num_classes": _TWO}),
    Rule("T=2 and hard labels", (*_T2, _HARD), "two classes, and labels that the teacher hardly contradicts",
         {"num_classes": _TWO, "noise": (0, 0.02)}),
    Rule("T=4", (SoftLabelSpec(temperature=4.0),), "two classes, and a teacher whose confidence is ten points or more from its "
         "accuracy: softened more", {"num_classes": _TWO, "calibration_error": (0.1, math.inf)}),
    Rule("T=1", _T1, "more than 1,000 classes: no temperature that would flatten them", {"num_classes": _MANY}),
    Rule("dkd and hard labels", (DkdSpec(), HardLabelSpec()), "more than 1,000 classes: those beside the "
         "target have a weight of their own", {"num_classes": _MANY}),
    Rule("wttm and hard labels", (WttmSpec(), HardLabelSpec()), "more than 1,000 classes: rows with a smoother teacher "
         "weigh more", {"num_classes": _MANY}),
    Rule("T=1", _T1, f"few labels: the best mean of {_LEDGER}", {"num_classes": _SOME, "labelled": _FEW_LABELS}),
    Rule("standardised T=2", (_Z2,), f"few labels: level with it in {_LEDGER}, and better for the smallest students",
         {"num_classes": _SOME, "labelled": _FEW_LABELS}),
    Rule("T=2", _T2, f"few labels: the next of {_LEDGER}", {"num_classes": _SOME, "labelled": _FEW_LABELS}),
    Rule("wttm and hard labels", (WttmSpec(), HardLabelSpec()), f"most labels are known: the best mean of {_LEDGER}",
         {"num_classes": _SOME, "labelled": _MOST_LABELS}),
    Rule("dist and hard labels", (DistSpec(), HardLabelSpec()), f"most labels are known: the next of {_LEDGER}, and the best "
         "where the teacher is far from sure", {"num_classes": _SOME, "labelled": _MOST_LABELS}),
    Rule("standardised T=2", (_Z2,), f"a teacher of a hundred times the size and another family: the largest single gain of "
         f"{_LEDGER} with most labels known, beside losses", {"num_classes": _SOME, "labelled": _MOST_LABELS,
         "capacity": (100, math.inf), "same_family": (0, 1)}),
    Rule("T=1", _T1, f"most labels are known: the plainest, level with the control in {_LEDGER}",
         {"num_classes": _SOME, "labelled": _MOST_LABELS}),
)  # fmt: skip
"""First the surer ones. A row may repeat a name for another reason; the first that holds counts. The ledger has tasks of ten
classes: the rows for two and for more than 1,000 are the papers' word."""


@dataclass(frozen=True)
class Picked:
    """What is tried, the surest first, and what the rules named in vain."""

    candidates: tuple[Rule, ...]
    left_out: dict[str, str]
    """Name -> why these labels or this task cannot serve it."""


def pick(known: Known, refuses: Callable[[ObjectiveSpec], str | None]) -> Picked:
    """Return the first rules that hold, at most three, of which `refuses` says None for every term.

    Args:
        known: of this task, teacher and student.
        refuses: why an objective cannot be used here; None where it can.
    """
    candidates: dict[str, Rule] = {}
    left_out: dict[str, str] = {}
    for rule in RULES:
        if len(candidates) == MOST or rule.name in candidates or not rule.holds(known):
            continue
        why = next((text for o in rule.objectives if (text := refuses(o)) is not None), None)
        if why is None:
            candidates[rule.name] = rule
        else:
            left_out[rule.name] = why
    return Picked(tuple(candidates.values()), left_out)


def first_part(num_steps: int, num_candidates: int) -> int:
    """Return the steps that each candidate trains before the decision; 0 where a race is not possible.

    The losers' steps together are at most a fifth of `num_steps`.
    """
    return 0 if num_candidates < 2 else num_steps // (SHARE * (num_candidates - 1))


def no_race(num_steps: int, num_candidates: int, num_rows: int) -> str | None:
    """Return why no race can be run, None where one can."""
    if num_candidates < 2:
        return "only one candidate suits this task and its labels"
    if num_rows < LEAST_ROWS:
        return f"{num_rows} labelled validation rows decide nothing; at least {LEAST_ROWS} are needed"
    if first_part(num_steps, num_candidates) == 0:
        return f"{num_steps} steps are too few: a fifth of them is shared among the losers"
    return None
