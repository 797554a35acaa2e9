"""What a recipe says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from potstill.core.spec import Spec
from potstill.data import AnyData
from potstill.data.augment import AnyAugment
from potstill.exporters import AnyExporter
from potstill.exporters.onnx import OnnxSpec
from potstill.labels.spec import FeaturesSpec, LabelsSpec
from potstill.models import AnyModel
from potstill.stages import AnyStep
from potstill.stages._controls import ControlName
from potstill.stages.robust import RobustnessSpec
from potstill.stages.verdict import DeviceBudget
from potstill.stages.verify import VerifySpec
from potstill.tasks import AnyTask
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers import AnyTeacher


class Recipe(Spec):
    """One distillation, whole: what is learnt, from whom, by whom, how, and what must be shown."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Names the run folder; letters, digits, dot, dash and underscore."""
    description: str = ""
    """One sentence for the report."""
    task: AnyTask = Field(default_factory=ImageClassificationSpec)
    """What a batch, an output and a metric are."""
    data: AnyData
    """Where samples come from and how they are split."""
    augment: tuple[AnyAugment, ...] = ()
    """Applied in this order, the same for teacher and student."""
    teacher: AnyTeacher
    """Where soft labels come from."""
    labels: LabelsSpec = Field(default_factory=LabelsSpec)
    """How they are kept."""
    features: FeaturesSpec = Field(default_factory=FeaturesSpec)
    """How objectives on features come by the teacher's."""
    student: AnyModel
    """The model that must fit."""
    steps: tuple[AnyStep, ...] = Field(min_length=1)
    """What is done to the student, in order."""
    controls: tuple[ControlName, ...] = ("hard-label",)
    """The same student without a teacher, or with only its argmax, for the same number of optimiser steps."""
    seed: int = Field(default=0, ge=0)
    """First seed; also that of augmentation and of a teacher trained here."""
    seeds: int = Field(default=1, ge=1)
    """Trainings of the student and of each control, with seeds seed, seed + 1, and so on."""
    export: tuple[AnyExporter, ...] = Field(default_factory=lambda: (OnnxSpec(),))
    """Formats that the student of the first seed is written in."""
    verify: VerifySpec = Field(default_factory=VerifySpec)
    """What is measured on each."""
    devices: tuple[DeviceBudget, ...] = ()
    """What it may take on which devices; a run ends in a verdict on each."""
    robustness: RobustnessSpec | None = None
    """Answers to damaged samples, of teacher, strongest control, student and artifacts; nothing: not looked at."""
