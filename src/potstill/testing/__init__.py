"""Tiny models and data, and the contract tests that every registered thing must pass; for third parties too.

    from potstill.testing import check_objective

    def test_my_objective():
        check_objective(MyObjectiveSpec(temperature=3.0))

Each check raises AssertionError with what must hold and what was found. None needs pytest. `check_kind` also
makes the spec; `examples` says from what.
"""

from __future__ import annotations

from potstill.testing.augmentation import check_augmentation
from potstill.testing.codec import check_codec
from potstill.testing.contracts import CONTRACTS, check_kind, every_kind
from potstill.testing.data import check_data_source
from potstill.testing.examples import example, examples, maker
from potstill.testing.exporter import check_exporter
from potstill.testing.features import check_feature_objective
from potstill.testing.model import check_model
from potstill.testing.objective import check_objective
from potstill.testing.outputs import check_token_objective, check_value_objective
from potstill.testing.prunable import check_prunable
from potstill.testing.schedule import check_schedule
from potstill.testing.spec import check_spec
from potstill.testing.stage import check_stage, check_step
from potstill.testing.task import check_task
from potstill.testing.teacher import check_teacher

__all__ = [
    "CONTRACTS",
    "check_augmentation",
    "check_codec",
    "check_data_source",
    "check_exporter",
    "check_feature_objective",
    "check_kind",
    "check_model",
    "check_objective",
    "check_prunable",
    "check_schedule",
    "check_spec",
    "check_stage",
    "check_step",
    "check_task",
    "check_teacher",
    "check_token_objective",
    "check_value_objective",
    "every_kind",
    "example",
    "examples",
    "maker",
]
