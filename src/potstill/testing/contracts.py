"""Which contract each family has, and every kind that is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from potstill.core.spec import Registry, Spec
from potstill.data import registry as data
from potstill.data.augment import registry as augmentations
from potstill.exporters import registry as exporters
from potstill.labels.codecs import registry as codecs
from potstill.models import registry as models
from potstill.objectives import Needs, ObjectiveSpec
from potstill.objectives import registry as objectives
from potstill.schedules import registry as schedules
from potstill.stages import registry as stages
from potstill.stages import steps
from potstill.tasks import registry as tasks
from potstill.teachers import registry as teachers
from potstill.testing.augmentation import check_augmentation
from potstill.testing.codec import check_codec
from potstill.testing.data import check_data_source
from potstill.testing.examples import examples
from potstill.testing.exporter import check_exporter
from potstill.testing.features import check_feature_objective
from potstill.testing.flags import check_flag_objective
from potstill.testing.model import check_model
from potstill.testing.objective import check_objective
from potstill.testing.outputs import check_token_objective, check_value_objective
from potstill.testing.schedule import check_schedule
from potstill.testing.stage import check_stage, check_step
from potstill.testing.task import check_task
from potstill.testing.teacher import check_teacher
from potstill.testing.told import check_told_objective
from potstill.testing.truth import check_truth_objective


def _check_objective(spec: ObjectiveSpec) -> None:
    """Check an objective on features, or one on the outputs that it teaches."""
    if spec.needs().taps is not None:
        check_feature_objective(spec)
    elif "classes" in spec.teaches:
        check_objective(spec)
    elif "flags" in spec.teaches:
        check_flag_objective(spec)
    elif "values" in spec.teaches and spec.needs().teacher == "nothing":
        check_truth_objective(spec)
    elif "tokens" in spec.teaches and spec.needs() == Needs(labels=True):
        check_told_objective(spec)
    else:
        (check_token_objective if "tokens" in spec.teaches else check_value_objective)(spec)


CONTRACTS: dict[str, tuple[Registry[Any], Callable[[Any], None]]] = {
    "objectives": (objectives, _check_objective),
    "models": (models, check_model),
    "data": (data, check_data_source),
    "tasks": (tasks, check_task),
    "codecs": (codecs, check_codec),
    "stages": (stages, check_stage),
    "steps": (steps, check_step),
    "teachers": (teachers, check_teacher),
    "exporters": (exporters, check_exporter),
    "schedules": (schedules, check_schedule),
    "augmentations": (augmentations, check_augmentation),
}
"""Family -> its kinds, and the check of one spec."""


def every_kind() -> Iterator[tuple[str, type[Spec]]]:
    """Yield (family, Spec class) of everything registered."""
    for family, (registry, _) in CONTRACTS.items():
        for _, cls in registry.items():
            yield family, cls


def check_kind(family: str, cls: type[Spec], folder: Path | None = None) -> None:
    """Check a kind: its example and, where fields have few values, each of these in turn.

    Args:
        family: plural, as in `potstill list`.
        cls: registered.
        folder: where files of examples may be made; None takes a temporary one.

    Raises:
        AssertionError: it has no example, or something does not hold; says what.
    """
    for spec in examples(cls, folder):
        CONTRACTS[family][1](spec)
