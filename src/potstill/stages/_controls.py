"""The controls: the same student, the same number of optimiser steps, and no teacher or only its argmax."""

from __future__ import annotations

from typing import Literal, get_args

from potstill.objectives import ObjectiveSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.hard_pseudo_label import HardPseudoLabelSpec

ControlName = Literal["hard-label", "label-smoothing", "hard-pseudo-label"]
CONTROLS = get_args(ControlName)


def objectives_of(control: str) -> tuple[ObjectiveSpec, ...]:
    """Return the training loss of a control arm.

    "hard-label": cross-entropy on the labelled rows. "label-smoothing": the same with 0.1 (Szegedy et al. 2016,
    arXiv:1512.00567). "hard-pseudo-label": cross-entropy on the teacher's argmax, on every row.
    """
    if control == "hard-label":
        return (HardLabelSpec(),)
    if control == "label-smoothing":
        return (HardLabelSpec(smoothing=0.1),)
    return (HardPseudoLabelSpec(),)
