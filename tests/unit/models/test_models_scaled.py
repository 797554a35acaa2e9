"""The widest model of a family within a limit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from potstill.core.errors import PotstillError
from potstill.core.samples import DataStats
from potstill.models import ModelIO, ModelSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.efficientnet_lite import EfficientNetLiteSpec
from potstill.models.mobilenet_v2 import MobileNetV2Spec
from potstill.models.text_cnn import TextCnnSpec
from potstill.models.tools.build import new_model
from potstill.models.tools.profile import profile
from potstill.models.tools.scaled import scaled, widest
from potstill.models.vit import ViTSpec

IO, STATS = ModelIO((5,), (3, 16, 16)), DataStats((0.5,) * 3, (0.25,) * 3)


def params(spec: ModelSpec) -> int:
    new = new_model(spec, IO, STATS)
    return profile(new.module, new.io).params


def fitting(limit: int) -> Any:
    return lambda new: sum(p.numel() for p in new.module.parameters()) <= limit


@pytest.mark.parametrize("spec", [DsCnnSpec(width=4, depth=3), ViTSpec(dim=16, depth=2, heads=2), MobileNetV2Spec(width=0.25, depth=0.5)])  # fmt: skip
def test_the_widest_fits_and_the_next_does_not(spec: ModelSpec) -> None:
    limit = 3 * params(spec)
    found = widest(spec, IO, STATS, fitting(limit))
    assert params(spec) < params(found) <= limit
    wider = next(s for f in (1.02, 1.05, 1.1, 1.3) if (s := scaled(found, f)) is not None and s != found)
    assert params(wider) > limit


def test_a_limit_below_the_model_narrows_it() -> None:
    spec = DsCnnSpec(width=32, depth=3)
    found = widest(spec, IO, STATS, fitting(params(spec) // 4))
    assert isinstance(found, DsCnnSpec) and found.width < 32 and params(found) <= params(spec) // 4


def test_a_limit_at_the_model_keeps_it() -> None:
    spec = DsCnnSpec(width=7, depth=3)
    assert widest(spec, IO, STATS, fitting(params(spec))) == spec


def test_heads_divide_what_is_scaled() -> None:
    found = scaled(ViTSpec(dim=64, heads=4), 0.3)
    assert isinstance(found, ViTSpec) and found.dim == 16
    both = scaled(TextCnnSpec(dim=96, width=48), 0.5)
    assert isinstance(both, TextCnnSpec) and (both.dim, both.width) == (48, 24)


def test_a_family_without_a_width_stays_or_is_refused() -> None:
    spec = EfficientNetLiteSpec()
    assert scaled(spec, 0.5) is None
    assert widest(spec, IO, STATS, fitting(10**9)) == spec
    with pytest.raises(PotstillError, match="must fit the budget; the narrowest has"):
        widest(spec, IO, STATS, fitting(1000))


def test_torchs_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    widest(DsCnnSpec(width=4, depth=2), IO, STATS, fitting(5000))
    assert torch.equal(before, torch.get_rng_state())
