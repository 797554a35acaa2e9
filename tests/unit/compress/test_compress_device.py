"""A device's budget as the target of a cut: the smallest ratio that fits, and what is neither reached nor known."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import potstill as ps
from potstill.compress._planner import PruningPlan
from potstill.compress._settings import PruneBudget, PruneSettings
from potstill.compress.prune import plan_pruning
from potstill.core.errors import BudgetError, DeviceError, PotstillError, ShapeError
from potstill.devices.lines import Verdict
from potstill.verify.on_device import device_judge

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def simple() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3)
    ).eval()  # fmt: skip


def planned(of: Callable[[int], Verdict]) -> PruningPlan:
    """Plan a cut that is judged by the number of parameters; each number is judged once."""
    seen: list[int] = []

    def judge(module: nn.Module) -> tuple[Verdict, str]:
        num = sum(p.numel() for p in module.parameters())
        assert num not in seen, "an export is not made twice"
        seen.append(num)
        return of(num), f"under a runtime: {num}"

    settings = PruneSettings(budget=PruneBudget(device="rpi4"), round_to=1, scope="per-layer")
    return plan_pruning(simple(), (IMAGE,), settings, judge=judge)


def test_the_smallest_ratio_that_fits_is_found() -> None:
    plan = planned(lambda num: "fits" if num <= 2000 else "does not fit")
    assert plan.after.params <= 2000 and plan.fits == f"rpi4 under a runtime: {plan.after.params}"
    wider = ps.plan_pruning(simple(), IMAGE, ratio=plan.ratio - 1 / 256, round_to=1, scope="per-layer")
    assert wider.after.params > 2000
    assert plan.as_dict()["fits"] == plan.fits


def test_what_is_too_small_to_be_known_does_not_hide_what_is_known_to_fit() -> None:
    plan = planned(lambda num: "does not fit" if num > 2000 else "unknown" if num < 1500 else "fits")
    assert 1500 <= plan.after.params <= 2000
    plan = planned(lambda num: "unknown" if num > 2000 else "fits")
    assert plan.after.params <= 2000, "unknown is never taken for fitting"


@pytest.mark.parametrize(
    ("of", "error", "told"),
    [
        (lambda num: "fits", BudgetError, "prune.budget.device: must be less than what there is; got 'rpi4', under a runtime: 3715. Nothing would be cut."),
        (lambda num: "does not fit", BudgetError, "must fit once all is cut that can be; got 'rpi4', under a runtime: 26. Raise the limits"),
        (lambda num: "unknown", DeviceError, "it is known whether what is left fits it; got 'rpi4', under a runtime: 3715."),
        (lambda num: "unknown" if num < 2000 else "does not fit", DeviceError, "it is known whether what is left fits it"),
    ],
    ids=["fits", "impossible", "unknown", "unknown where it might"],
)  # fmt: skip
def test_what_cannot_be_reached_or_known_is_named(
    of: Callable[[int], Verdict], error: type[PotstillError], told: str
) -> None:
    with pytest.raises(error) as caught:
        planned(of)
    assert told in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"device": "rpi4", "params": 0.5}, "must name one of params, macs, bytes and device; got params, device"),
        ({"params": 0.5, "latency_ms": 3}, "must name the device that latency_ms is of; got none"),
        ({"params": 0.5, "int8": True}, "must name the device that int8 is of"),
        ({"device": "rpi44"}, "budget.device: must be one of the profiles, or a .yaml file; got 'rpi44'. Nearest: 'rpi4'"),
        ({"device": "rpi4", "latency_ms": 0}, "budget.latency_ms: Input should be greater than 0"),
        ({"device": "rpi4", "accuracy_drop": 1}, "budget.accuracy_drop: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_a_budget_is_checked(budget: dict[str, Any], told: str) -> None:
    with pytest.raises(PotstillError) as caught:
        ps.plan_pruning(simple(), IMAGE, budget=budget)
    assert told in str(caught.value), str(caught.value)


def test_a_module_is_judged_by_the_file_it_would_be() -> None:
    big = PruneBudget(device="rpi4", flash_bytes=100_000, int8=True)
    inputs = IMAGE.numpy()
    judge = device_judge(big, nn.Identity(), [inputs])
    assert judge is not None and device_judge(PruneBudget(params=0.5), nn.Identity(), [inputs]) is None
    assert judge(simple())[0] == "fits"
    small = device_judge(big.model_copy(update={"flash_bytes": 3000}), nn.Identity(), [inputs])
    assert small is not None
    verdict, why = small(simple())
    assert verdict == "does not fit" and "flash 3.84 kB over 3 kB" in why, (
        "3,715 bytes, and three more of each of 43 biases"
    )
    none = device_judge(big, nn.Identity(), [inputs], runtimes=())
    assert none is not None
    verdict, why = none(simple())
    assert (
        verdict == "unknown"
        and "under no runtime: latency: no latency is published of a runtime that takes such a file" in why
    )
    with pytest.raises(ShapeError, match="called with one tensor; got 2"):
        device_judge(big, nn.Identity(), [inputs, inputs])


def test_from_python_to_a_smaller_module() -> None:
    module, plan = ps.prune(simple(), IMAGE, budget={"device": "rpi4", "flash_bytes": 3000, "int8": True}, round_to=4)
    params = sum(p.numel() for p in module.parameters())
    assert params == plan.after.params < 3000 and plan.fits.startswith("rpi4 under ") and "flash binds" in plan.fits


def test_a_module_that_becomes_c_is_judged_by_its_instructions() -> None:
    asked = PruneBudget(device="nano33ble", latency_ms=1.0, int8=True)
    judge = device_judge(asked, nn.Identity(), [IMAGE.numpy()], ("potstill C",))
    assert judge is not None
    verdict, why = judge(simple())
    assert verdict == "does not fit" and re.search(r"under potstill C, int8.*latency [\d.]+ \[.*\] ms over 1 ms", why)
    thin = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    verdict, why = judge(thin)
    assert verdict == "fits" and "under potstill C" in why

    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(x.flatten(1))

    verdict, why = judge(nn.Sequential(Turned(), nn.Linear(64, 3)))
    assert verdict == "unknown" and "latency" in why
    floats = device_judge(asked.model_copy(update={"int8": False}), nn.Identity(), [IMAGE.numpy()], ("potstill C",))
    assert floats is not None
    verdict, why = floats(simple())
    assert verdict == "unknown" and "int8" in why
