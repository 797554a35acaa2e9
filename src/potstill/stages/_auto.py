"""Rules name candidate losses, a race over the first part of the training picks one. Shapes: N rows, K classes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from potstill.core import atomic
from potstill.core.artifact import manifest
from potstill.core.errors import DataError
from potstill.data.dataset import Dataset
from potstill.labels.store import LabelStore
from potstill.labels.suits import codec_faults
from potstill.objectives import ObjectiveSpec
from potstill.stages._base import StageContext
from potstill.stages._parts import folder_for, labelled_rows
from potstill.tasks import TaskSpec, Truth
from potstill.train.choice import Known, Rule, first_part, no_race, pick

_SURE = 0.9
"""Probability from which the teacher counts as sure."""
_JUDGED = 5000
"""Labelled training rows whose stored labels are looked at; evenly spread where there are more."""


def distil(stage: Any, context: StageContext) -> dict[str, Any]:
    """Run an AutoDistillStage: choose among candidates, train the winner to the end, and leave it.

    Where the winner's loss stops being finite on the way, the next best of the race goes on in its place. Where none is left,
    the student stays as it was, and the fact "untrained" says why: the last choice then keeps the control.

    Raises:
        DataError: no validation row has a label.
    """
    from potstill.models.tools.profile import profile
    from potstill.train.race import enter, finish, ranked
    from potstill.train.world import World

    dataset = Dataset.open(context.inputs["data"])
    num_rows = _validation_rows(dataset)
    store = stage.stored_labels(context, dataset)
    new = stage.new_student(context, dataset)
    params = profile(new.module, new.io).as_dict()["params"]
    known = _known(stage, manifest(context.inputs["teacher"])["facts"], dataset, store, params)
    picked = pick(known, _refusal(known, store))

    def fit(index: int, new: Any) -> Any:
        rule = picked.candidates[index]
        folder = folder_for(context.work, f"race/{index}")
        own = replace(context, work=folder, name=f"{context.name} ({rule.name})")
        return stage.fit(own, dataset, new, rule.objectives, rows=None, store=store, teacher=None)

    num_steps, num = stage.num_steps(dataset), len(picked.candidates)
    undecided = no_race(num_steps, num, num_rows)
    steps = 0 if undecided else first_part(num_steps, num)
    entries = [enter(fit(i, stage.new_student(context, dataset)), steps) for i in range(num)] if steps else []
    order, by = ranked(entries) if steps else (list(range(num)), f"first of the rules: {undecided}")
    ended: dict[int, dict[str, Any]] = {}
    for index in order:
        new = stage.new_student(context, dataset)
        ended[index] = finish(fit(index, new))
        if ended[index]["failed"] is None:
            break
    best = next((i for i, e in ended.items() if e["failed"] is None), None)
    late = {i: e for i, e in ended.items() if i != best}
    tried = [{**(entries[i] if steps else _BLANK), **late.get(i, {})} for i in range(num)]
    if best is None:
        new = stage.new_student(context, dataset)
    race = {
        "known": asdict(known),
        "candidates": [_entry(rule, tried[i], i == best) for i, rule in enumerate(picked.candidates)],
        "left_out": picked.left_out,
        "validation_rows": num_rows,
        "first_part": steps,
        "extra_steps": sum(e["steps"] for i, e in enumerate(tried) if i != best),
        "decided_by": by if best is None or len(ended) == 1 else "next best of those whose loss stayed finite",
    }
    facts = {"steps": 0, "seconds": 0.0} if best is None else ended[best]["facts"]
    out: dict[str, Any] = stage.leave(context, dataset, new, facts)
    if World().rank == 0:
        _keep_log(context, order[0] if best is None and order else best)
    untrained = {"untrained": _why_none(race["candidates"])} if best is None else {}
    return {**out, **untrained, "race": race}


_BLANK = {"steps": 0, "score": None, "nll": None, "failed": None}


def _entry(rule: Rule, found: dict[str, Any], won: bool) -> dict[str, Any]:
    objectives = [o.model_dump(mode="json") for o in rule.objectives]
    seen = {k: found[k] for k in _BLANK}
    return {"name": rule.name, "why": rule.why, "objectives": objectives, **seen, "won": won}


def _why_none(candidates: list[dict[str, Any]]) -> str:
    if not candidates:
        return "no loss that the rules named suits this task and its labels"
    return "; ".join(f"{c['name']}: {c['failed']}" for c in candidates)


def _keep_log(context: StageContext, index: int | None) -> None:
    """Move a candidate's log to where a student's lies, empty where there is none, and forget the race."""
    source, folder = context.work / f"race/{index}/log.jsonl", context.work / "race"
    atomic.write_bytes(context.work / "log.jsonl", source.read_bytes() if source.exists() else b"")
    if folder.exists():
        shutil.rmtree(folder)


def _validation_rows(dataset: Dataset) -> int:
    num = int((np.asarray(dataset.splits["validation"].labels) >= 0).sum())
    if num == 0:
        raise DataError(
            "objectives: auto chooses on labelled validation rows; the data has none. Give its validation split labels, or "
            "leave that split out so that one is drawn (data.validation: 0.1)."
        )
    return num


def _refusal(known: Known, store: LabelStore) -> Callable[[ObjectiveSpec], str | None]:
    def refuses(objective: ObjectiveSpec) -> str | None:
        if objective.needs().teacher == "logits" and store.output == "probabilities":
            return "needs logits, and the teacher gives probabilities"
        found = [text for _, text in codec_faults(objective, store.codec)]
        return next(iter(found), None) or objective.refuses(known.num_classes)

    return refuses


def _known(stage: Any, taught: dict[str, Any], dataset: Dataset, store: LabelStore, student_params: int) -> Known:
    """Return what the rules read, from the teacher's gate and from its stored labels: the teacher does not run."""
    train = dataset.splits["train"]
    rows = labelled_rows(train)
    some = rows[:: -(-len(rows) // _JUDGED)]
    values = store.values(0, some)
    if store.output == "probabilities":
        values = np.log(np.maximum(values, 1e-12))
    labels = np.asarray(train.labels)[some]
    teacher_params = (taught.get("profile") or {}).get("params")
    return Known(
        num_classes=len(dataset.classes),
        labelled=len(rows) / len(train),
        teacher_accuracy=float(taught["gate"]["accuracy"]),
        calibration_error=_calibration_error(stage.task, values, Truth.of(dataset, "train").take(some)),
        noise=_contradicted(values, labels),
        capacity=teacher_params / student_params if teacher_params else None,
        same_family=stage.same_family,
    )


def _calibration_error(task: TaskSpec, values_NK: Any, truth: Truth) -> float | None:
    found = task.metrics(values_NK, truth).get("ece")
    return None if found is None else float(found)


def _contradicted(values_NK: Any, labels_N: Any) -> float:
    """Return the share of rows on which the teacher is sure of another class."""
    exp = np.exp(values_NK - values_NK.max(axis=1, keepdims=True))
    sure = exp.max(axis=1) / exp.sum(axis=1) >= _SURE
    return float((sure & (values_NK.argmax(axis=1) != labels_N)).mean())
