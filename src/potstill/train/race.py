"""Candidates train the first part of one training; the best goes on from where it is, the others stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from potstill.core import atomic
from potstill.core.errors import TrainingError
from potstill.train.loop import Fit, Trainer
from potstill.train.world import World

_SCORE, _FAILED = "score.json", "failed.json"


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
    found = fit.task.metrics(trainer.judged(), fit.truth)
    score, nll = float(found[fit.task.headline]), found.get("nll")
    return {"steps": trainer.state.step, "score": score, "nll": nll, "failed": None}


def ranked(entries: Sequence[dict[str, Any]]) -> tuple[list[int], str]:
    """Return (positions of those that have a score, the best first; by what that one is the best): score, then
    cross-entropy, then place in the sequence. No position where all failed."""
    able = [i for i, e in enumerate(entries) if e["score"] is not None]
    has_nll = all(entries[i]["nll"] is not None for i in able)
    able.sort(key=lambda i: (-entries[i]["score"], entries[i]["nll"] if has_nll else 0.0, i))
    if not able:
        return [], "no candidate finished its first part"
    if len([i for i in able if entries[i]["score"] == entries[able[0]]["score"]]) == 1:
        return able, "validation score"
    by = "validation cross-entropy" if has_nll else "order of the rules"
    return able, f"{by}, the scores being equal"


def finish(fit: Fit) -> dict[str, Any]:
    """Train to the end, from where `enter` left it if it did.

    Returns:
        {"steps", "facts" (the Trainer's; None where its loss is not finite), "failed" (then says why, else None)}; what
        failed is not tried again.
    """
    world, path = World(fit.device), fit.work / _FAILED
    if world.agree(path.exists()):
        failed: dict[str, Any] = atomic.read_json(path)
        return failed
    trainer = Trainer(fit)
    try:
        facts = trainer.run()
    except TrainingError as err:
        if world.size > 1:  # the other processes would wait for this one
            raise
        failed = {"steps": trainer.state.step, "facts": None, "failed": str(err)}
        atomic.write_json(path, failed)
        return failed
    return {"steps": facts["steps"], "facts": facts, "failed": None}
