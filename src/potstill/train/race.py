"""Candidates train the first part of one training; the best goes on from where it is, the others stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from potstill.core import atomic
from potstill.core.errors import TrainingError
from potstill.train.loop import Fit, Trainer
from potstill.train.world import World

_SCORE = "score.json"


def enter(fit: Fit, steps: int) -> dict[str, Any]:
    """Train the first `steps` of a training whose end, and learning rate, are those of the whole; or go on with that.

    Leaves a checkpoint in `fit.work`, from which the same `fit` goes on.

    Returns:
        {"steps", "score" (the headline metric on the validation rows), "nll" (their cross-entropy in nats), "failed"}; a
        training whose loss is not finite has no score, and "failed" says why.
    """
    world, path = World(fit.device), fit.work / _SCORE
    if not world.agree(path.exists()):
        found = _first(fit, steps, world.size == 1)
        if world.rank == 0:
            atomic.write_json(path, found)
        world.agree(True)  # the others read it once it is there
    read: dict[str, Any] = atomic.read_json(path)
    return read


def _first(fit: Fit, steps: int, alone: bool) -> dict[str, Any]:
    trainer = Trainer(fit)
    try:
        trainer.run(until=steps)
    except TrainingError as err:
        if not alone:  # the other processes would wait for this one
            raise
        return {"steps": trainer.state.step, "score": None, "nll": None, "failed": str(err)}
    found = fit.task.metrics(trainer.judged(), np.asarray(fit.validation.labels), fit.classes)
    score, nll = float(found[fit.task.headline]), found.get("nll")
    return {"steps": trainer.state.step, "score": score, "nll": nll, "failed": None}


def winner(entries: Sequence[dict[str, Any]]) -> tuple[int, str]:
    """Return (position of the best, by what it was the best): score, then cross-entropy, then the first.

    Raises:
        TrainingError: all failed.
    """
    able = [i for i, e in enumerate(entries) if e["score"] is not None]
    if not able:
        raise TrainingError("; ".join(str(e["failed"]) for e in entries))
    level = [i for i in able if entries[i]["score"] == max(entries[j]["score"] for j in able)]
    if len(level) == 1:
        return level[0], "validation score"
    if any(entries[i]["nll"] is None for i in level):
        return level[0], "order of the rules, the scores being equal"
    best = min(level, key=lambda i: (entries[i]["nll"], i))
    return best, "validation cross-entropy, the scores being equal"
