"""Structured pruning: whole channels, units and heads go, and what is left is a smaller model of the same parts. Loads torch.

Which channels go together is torch-pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900); that a cut is right is checked
here, on real rows: channels set to zero and channels taken away must give the same outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from potstill.compress._layers import cut, zero
from potstill.compress._planner import Judge, Planner, PruningPlan, apply, differs
from potstill.compress._settings import PruneSettings
from potstill.core.errors import PotstillError


def plan_pruning(
    module: nn.Module,
    example: tuple[Any, ...],
    settings: PruneSettings,
    *,
    first: nn.Module | None = None,
    gradients: Callable[[nn.Module], Mapping[str, Tensor]] | None = None,
    seed: int = 0,
    where: str = "prune",
    judge: Judge | None = None,
) -> PruningPlan:
    """Return what would be cut; the module is left as it is.

    Args:
        module: on the CPU; its weights rank its channels.
        example: what it is called with, rows first; real rows, on which the cut is checked.
        settings: what is asked for.
        first: the model that nothing was cut from, where an earlier cut left `module`; ratio and shares are of it.
        gradients: module -> gradient of a loss by the parameter's name, for importance taylor.
        seed: of chance.
        where: names the cut in errors.
        judge: says whether a module that was cut fits the budget's device, where it names one.

    Raises:
        PotstillError: the module cannot be traced or no layer can be cut (says which and why); `protect` names no module; the cut
            asks for no more than an earlier one.
        BudgetError: the budget cannot be reached; says the least that can.
        DeviceError: it is not known what the least would take on the budget's device; says why.
        MissingExtraError: torch-pruning is not installed.
    """
    module = copy.deepcopy(module).eval()
    return Planner(module, example, settings, first or module, gradients, seed, where, judge).plan()


def settings_of(given: Mapping[str, Any]) -> PruneSettings:
    """Return settings from plain values. Raises PotstillError naming each that is wrong."""
    try:
        return PruneSettings.model_validate(dict(given))
    except ValidationError as err:
        faults = [
            f"{'.'.join(map(str, e['loc'])) or 'prune'}: {e['msg'].removeprefix('Value error, ')}; got {e['input']!r}"
            for e in err.errors()
        ]
        raise PotstillError(f"prune: {'; '.join(faults)}. Allowed: {', '.join(PruneSettings.model_fields)}") from err


def gradients_of(loss: Callable[[nn.Module], Tensor]) -> Callable[[nn.Module], Mapping[str, Tensor]]:
    """Return module -> the gradient of a loss in eval mode, by the parameter's name."""

    def found(module: nn.Module) -> Mapping[str, Tensor]:
        module.eval().requires_grad_(True).zero_grad()
        with torch.enable_grad():
            torch.autograd.backward(loss(module))
        return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    return found


def prune(module: nn.Module, plan: PruningPlan, example: tuple[Any, ...], where: str = "prune") -> None:
    """Cut a module in place, and check that its outputs are those of the module with these channels set to zero.

    Args:
        module: of which the plan is.
        plan: from `plan_pruning`.
        example: real rows.
        where: names the cut in errors.

    Raises:
        PotstillError: the outputs differ.
    """
    training = module.training
    zeroed = copy.deepcopy(module)
    apply(zeroed, plan.gone, zero)
    apply(module, plan.gone, cut)
    found = differs(zeroed, module, example)
    module.train(training)
    if found:
        names = ", ".join(sorted({path for path, side in plan.gone if side == "out"})[:3])
        raise PotstillError(f"{where}: channels taken away must leave the outputs of channels set to zero; {found}, "
                            f"after {names} were cut. Protect them.")  # fmt: skip


def recalibrate(module: nn.Module, batches: Sequence[tuple[Any, ...]]) -> int:
    """Set the statistics of every BatchNorm to the mean over batches, in their order; return how many layers there are.

    Args:
        module: changed in place; all but BatchNorm stays in eval mode.
        batches: what the module is called with, at least two rows each.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    module.eval()
    kept = [(m, m.momentum) for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    with torch.no_grad():
        for batch in batches:
            module(*batch)
    for norm, momentum in kept:
        norm.momentum = momentum
        norm.eval()
    return len(norms)
