"""The controls: the same student, the same number of optimiser steps, and no teacher or only its argmax."""

from __future__ import annotations

from typing import Literal, get_args

from potstill.core.outputs import TaskOutput
from potstill.objectives import ObjectiveSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.hard_pseudo_label import HardPseudoLabelSpec
from potstill.objectives.hard_target import HardTargetSpec
from potstill.objectives.multi_label import MultiLabelSpec
from potstill.objectives.token_hard_label import TokenHardLabelSpec

ControlName = Literal["hard-label", "label-smoothing", "hard-pseudo-label"]
CONTROLS = get_args(ControlName)


def supervised(output: TaskOutput) -> ObjectiveSpec:
    """Return the loss of a training on the truth alone: cross-entropy with labels, with the tokens of a text, or of each class by
    itself, or the squared error to true values."""
    if output == "flags":
        return MultiLabelSpec()
    if output == "tokens":
        return TokenHardLabelSpec()
    return HardTargetSpec() if output == "values" else HardLabelSpec()


def objectives_of(control: str, output: TaskOutput = "classes") -> tuple[ObjectiveSpec, ...]:
    """Return the training loss of a control arm.

    "hard-label": the truth alone, as `supervised` says, on the labelled rows; any task has it. "label-smoothing": the same with 0.1 (Szegedy et al. 2016,
    arXiv:1512.00567). "hard-pseudo-label": cross-entropy on the teacher's argmax, on every row.
    """
    if control == "hard-label":
        return (supervised(output),)
    if control == "label-smoothing":
        return (TokenHardLabelSpec(smoothing=0.1),) if output == "tokens" else (HardLabelSpec(smoothing=0.1),)
    return (HardPseudoLabelSpec(),)
