"""Every registered kind keeps its family's contract: a new one is tested here without a line of change."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.cli.show import FAMILIES
from potstill.core.spec import Spec
from potstill.testing import CONTRACTS, check_kind, every_kind


@pytest.mark.parametrize(
    ("family", "cls"), [pytest.param(f, c, id=f"{f}-{c.model_fields['kind'].default}") for f, c in every_kind()]
)
def test_every_kind_keeps_its_contract(family: str, cls: type[Spec], tmp_path: Path) -> None:
    check_kind(family, cls, tmp_path)


def test_every_family_has_a_contract() -> None:
    """A family that `potstill list` knows must be checked here; the registries must be the same objects."""
    from importlib import import_module

    listed = {}
    for family, where in FAMILIES.items():
        module, _, name = where.partition(":")
        listed[family] = getattr(import_module(module), name)
    assert {family: registry for family, (registry, _) in CONTRACTS.items()} == listed
