"""The training loss: a sum of weighted objectives, each reduced over the rows that have it. Shapes: B rows."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.core.errors import TrainingError
from potstill.objectives import LossInputs, ObjectiveSpec, name_terms
from potstill.schedules import value_at
from potstill.train.balance import Balance
from potstill.train.world import World

IMBALANCE = 10.0
"""A term whose gradient is this many times another's is worth a warning."""


class Terms:
    """Evaluates the objectives of one training.

    Args:
        objectives: at least one.
        world: the processes among which a batch is shared; every mean is over the whole batch.
        shares: of the gradient, by the names of the terms, that factors on the weights keep; None: weights as they are.
    """

    def __init__(
        self, objectives: Sequence[ObjectiveSpec], world: World, shares: Mapping[str, float] | None = None
    ) -> None:
        self.objectives = list(objectives)
        self.names = name_terms(objectives)
        self.balance = Balance(shares) if shares is not None else None
        self._world = world
        self._sums = {name: [0.0, 0.0] for name in self.names}  # of w l, and of w

    def loss(self, x: LossInputs, views: Mapping[str, LossInputs] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (this process's part of the total loss, each weighted term): sum(w l) / sum(w), 0 if no row has it.

        The parts of all processes add up to the loss of the whole batch.

        Args:
            x: the batch.
            views: the batch as a term sees it, with its own taps, by the term's name; the others see `x`.
        """
        terms: dict[str, Tensor] = {}
        for name, objective in zip(self.names, self.objectives, strict=True):
            weight = value_at(objective.weight, x.progress)
            if self.balance is not None:
                weight *= self.balance.factors[name]
            seen = (views or {}).get(name, x)
            loss_B = objective.loss(seen)
            mask_B = objective.mask(seen)
            if seen.weights_B is not None:
                mask_B = seen.weights_B if mask_B is None else mask_B * seen.weights_B
            if mask_B is None:
                summed, num = loss_B.sum(), loss_B.new_tensor(float(len(loss_B)))
            else:
                summed, num = torch.where(mask_B > 0, loss_B * mask_B, torch.zeros_like(loss_B)).sum(), mask_B.sum()
            terms[name] = summed * (weight / max(1.0, float(self._world.sum(num))))
            self._sums[name][0] += float(summed.detach())
            self._sums[name][1] += float(num)
        total = functools.reduce(operator.add, terms.values())
        return total, terms

    def norms(self, terms: dict[str, Tensor], at: Sequence[Tensor], *, parts: bool) -> dict[str, float]:
        """Return the L2 norm of each term's gradient over the whole batch, the same in every process.

        Args:
            terms: each weighted term.
            at: where the gradient is read: the logits; the student's weights where a term reads its features, since that
                term's gradient does not pass the logits.
            parts: each process has rows of its own in `at` (logits); otherwise the gradients of all add up (weights).
        """
        norms = {}
        for name, term in terms.items():
            gradients = torch.autograd.grad(term, at, retain_graph=True, materialize_grads=True)
            if self._world.size == 1:
                norms[name] = math.hypot(*(float(g.norm()) for g in gradients))
                continue
            flat = torch.cat([g.reshape(-1) for g in gradients])
            square = self._world.sum(flat.square().sum()) if parts else self._world.sum(flat).square().sum()
            norms[name] = math.sqrt(float(square))
        return norms

    @property
    def warms_up(self) -> bool:
        """Whether the weight of some term is 0 at first but not for good."""
        return any(value_at(o.weight, 0.0) == 0 and value_at(o.weight, 0.5) > 0 for o in self.objectives)

    def readings(self, progress: float, shares: dict[str, float]) -> dict[str, dict[str, float | None]]:
        """Return what the log keeps of each term since the last call, and start again."""
        out: dict[str, dict[str, float | None]] = {}
        for name, objective in zip(self.names, self.objectives, strict=True):
            summed, num = self._world.sum(torch.tensor(self._sums[name], dtype=torch.float64)).tolist()
            out[name] = {
                "loss": summed / max(num, 1.0),
                "weight": value_at(objective.weight, progress),
                **objective.readings(progress),
                **({} if self.balance is None else {"factor": self.balance.factors[name]}),
                "share": shares.get(name),
            }
            self._sums[name] = [0.0, 0.0]
        return out

    def state(self) -> dict[str, Tensor]:
        """Return the running sums, for a checkpoint."""
        return {name: torch.tensor(sums, dtype=torch.float64) for name, sums in self._sums.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self._sums = {name: state[name].tolist() for name in self.names}


def shares_of(norms: Mapping[str, float]) -> dict[str, float]:
    """Return each norm's share of their sum, [0, 1], adding up to 1; all 0 where they are."""
    total = sum(norms.values())
    return {name: norm / total if total > 0 else 0.0 for name, norm in norms.items()}


def check_first_batch(
    terms: dict[str, Tensor], total: Tensor, at: Sequence[Tensor], place: str, warms_up: bool, context: dict[str, Any]
) -> None:
    """Look at the first batch before the long work begins.

    Args:
        terms: each weighted term.
        total: their sum.
        at: where the gradient is looked at: the logits; the student's weights where a term reads its features.
        place: what `at` is, for errors.
        warms_up: a weight still is 0 then, and not for good: the other terms may have no row in this batch.
        context: facts for errors.

    Raises:
        TrainingError: a term is not finite, or none of them moves the student.
    """
    for name, term in terms.items():
        if not torch.isfinite(term):
            raise TrainingError(
                f"{name}: must be finite on the first batch; got {float(term.detach())}. Training would only spread it. "
                f"Check the student's weights, its input range and the learning rate ({context})."
            )
    gradients = torch.autograd.grad(total, at, retain_graph=True, materialize_grads=True)
    still = not any(bool(g.any()) for g in gradients) and not warms_up
    if still or not all(bool(torch.isfinite(g).all()) for g in gradients):
        raise TrainingError(
            f"objectives {sorted(terms)}: must move the student; got a gradient of zero, or none that is finite, at "
            f"its {place} on the first batch. Every weight may be 0, or no row has a label."
        )
