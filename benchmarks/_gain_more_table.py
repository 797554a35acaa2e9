"""The part of docs/results/gain.md on text, sound and series: their own cells, their own goals, their own step of Holm."""

from __future__ import annotations

from typing import Any

import numpy as np
from _gain_auto import AUTO, MARGIN, met, pooled, races
from _gain_cells import ARMS, IMAGES, TASKS, plan
from _gain_stats import CONTROL, LEAST, Cell, Contrast, holm
from _measure import table as md

WORDS = {
    "ecg": "Heart beats, five classes; 22 patients to learn from and watch, 22 others. Normal beats weigh 3",
    "wharf": "What a wrist does, ten classes; six people held out",
    "clinc150": "Requests, 150 intents; an encoder pretrained elsewhere, whose head is trained on the labels that the student may use",
    "spoken-digits": "Ten digits; another of six speakers is held out in each replicate, the next one watched",
    "etth1": "96 hours ahead of seven variables",
}
_SHARES = {"all": "all labels", "few-own": "10 labels an intent for teacher and student"}


def more_section(entries: list[dict[str, Any]], found: dict[str, Cell]) -> tuple[list[str], list[Contrast]]:
    """Return (the part of the page, its contrasts with the control); nothing where the ledger has none of these tasks."""
    cells = [c for c in found.values() if c.task not in IMAGES]
    if not cells:
        return [], []
    contrasts = [c for cell in cells for arm in cell.arms if arm != CONTROL and (c := cell.contrast(arm))]
    holm(contrasts)
    teachers = [e for e in entries if e["type"] == "teacher" and e["task"] not in IMAGES]
    trainings = [e for e in entries if e["type"] == "training" and e["task"] not in IMAGES]
    page = ["## Beyond images", _intro(entries, trainings, teachers)]
    ours = [c for c in cells if len(c.common(AUTO, CONTROL)) >= LEAST]
    if ours:
        page += ["### Goals of auto beyond images", _goals(ours), races(ours)]
    by_arm = {(c.cell, c.arm): c for c in contrasts}
    classes = [c for c in cells if not TASKS[c.task].arms]
    page += ["### Cells beyond images", _LEGEND, _table(classes, by_arm, teachers)]
    page += [_forecasts(c, by_arm, teachers) for c in cells if TASKS[c.task].arms]
    return [*page, _settings(cells), _LIMITS], contrasts


_LEGEND = f"""\
Points over the control, ± half a 95 % interval. Where test rows belong to groups the interval joins seeds and groups
(`potstill.verify.gain`): rows of one patient or person are alike. Spoken digits: Student's t over speakers, of whom each
replicate holds out another, with a teacher and first weights of its own. * stays after Holm's correction at 5 % over the
contrasts of these cells, which are a family of their own; with fewer than {LEAST} replicates nothing is claimed."""

_LIMITS = """\
Limits: one size of student, one rate and three seeds a task; the rules of auto were written from pictures before any of
these trainings, and nothing was changed after them. The validation rows of clinc150 are the data's own 3,000, with labels,
where the student may use ten an intent: auto's races and choices have more to go by there than a user with so few labels would
have. The other arms do not read them. Of speakers one is watched, of people two, of patients two: auto's last choice counts these, which
say next to nothing, so that where it matters it is little better than a guess. All lines of these cells are of one machine: the weights
of one seed are the same on like machines only, and a pair of lines from two machines is no pair."""


def _intro(entries: list[dict[str, Any]], trainings: list[dict[str, Any]], teachers: list[dict[str, Any]]) -> str:
    planned = [t.id for t in plan() if t.task not in IMAGES]
    done, used = {e["id"] for e in trainings}, {e["machine"] for e in trainings}
    machines = "; ".join(
        f"{m['environment']['cpu']}, {m['environment']['cores']} cores, {m['environment']['system']}"
        for m in entries if m["type"] == "machine" and m["id"] in used
    )  # fmt: skip
    commits, dates = sorted({e["commit"] for e in trainings}), sorted(e["date"] for e in trainings)
    return (
        f"{sum(i in done for i in planned)} of {len(planned)} planned trainings of text, sound and series, {len(teachers)} teachers. "
        f"{machines}, one thread a training; sources of commit {', '.join(commits)}; {dates[0]} to {dates[-1]}; "
        f"{sum(e['seconds'] for e in trainings) / 3600:.1f} hours of training on a machine that did other work too. No figure above "
        "counts these."
    )


def fixed_arms(cells: list[Cell]) -> list[str]:
    """Return the stated arms of which every cell has enough replicates beside auto."""
    arms = [a for a in ARMS if a not in (CONTROL, AUTO)]
    return [a for a in arms if all(len(c.common(a, AUTO)) >= LEAST for c in cells)]


def _goals(cells: list[Cell]) -> str:
    rows, below, behind = [], [], []
    for cell in cells:
        gain = cell.contrast(AUTO)
        assert gain is not None
        fixed = [c for a in fixed_arms([cell]) if (c := cell.contrast(a))]
        best = max(fixed, key=lambda c: c.points) if fixed else None
        against = cell.contrast(AUTO, best.arm) if best else None
        # The control is a choice too: where no arm beats it, the best that one could have done is to take it.
        if best is None or best.points < 0:
            best, against = None, gain
        assert against is not None
        below += [cell.name] if gain.points < -MARGIN else []
        behind += [cell.name] if against.points < -MARGIN else []
        rows.append([
            cell.name, f"{gain.points:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] {gain.verdict}", _met(gain.points >= -MARGIN, gain.low >= -MARGIN),
            f"`{best.arm if best else CONTROL}`", f"{against.points:+.2f} [{against.low:+.2f}, {against.high:+.2f}]",
            _met(against.points >= -MARGIN, against.low >= -MARGIN), str(gain.replicates),
        ])  # fmt: skip
    head = [
        "cell",
        "auto over the control",
        "no more than 0.3 below it",
        "best fixed arm",
        "auto over that",
        "within 0.3 of it",
        "replicates",
    ]
    lines = [
        f"- Goal: auto is in no cell more than {MARGIN} points below the control. Measured, by the means: "
        f"{', '.join(below) or 'none is'}: **{met(not below)}**.",
        f"- Goal: in every cell within {MARGIN} of the best fixed arm, which was picked from these same test rows, the control among "
        f"them. Measured, by the means: {', '.join(behind) or 'none is further'}: **{met(not behind)}**.",
        *_together(cells),
    ]
    return "\n".join(lines) + "\n\n" + md(head, rows)


def _met(by_mean: bool, by_interval: bool) -> str:
    return "met, by the whole interval" if by_interval else "met by the mean" if by_mean else "missed"


def _together(cells: list[Cell]) -> list[str]:
    """Return what holds of the mean over cells that count alike; each task's own replicates limit it to the fewest."""
    ours = pooled(cells, AUTO)
    if ours is None:
        return []
    fixed = {a: p for a in fixed_arms(cells) if (p := pooled(cells, a)) is not None}
    lines = [
        f"- Mean over these {len(cells)} cells, {ours.replicates} replicates that all share: auto {ours.text}"
        + "".join(f", `{a}` {p.text}" for a, p in sorted(fixed.items(), key=lambda item: -item[1].points))
        + f" over the control. Lower bound of auto, one-sided 95 %: {ours.bound(0.05):+.2f} (goal: above −{MARGIN}): "
        f"**{met(ours.bound(0.05) > -MARGIN)}**."
    ]
    if fixed:
        best = max(fixed, key=lambda a: fixed[a].points)
        against = pooled(cells, AUTO, best)
        assert against is not None
        lines.append(
            f"- Auto minus the best of these means, `{best}`: {against.text}: **{met(against.points > -MARGIN)}** by its mean"
            + (
                ", and by its whole interval."
                if against.bound(0.025) > -MARGIN
                else f"; its interval reaches {against.bound(0.025):+.2f}."
            )
        )
    return lines


def _table(cells: list[Cell], contrasts: dict[tuple[str, str], Contrast], teachers: list[dict[str, Any]]) -> str:
    arms = [a for a in ARMS if a != CONTROL and any(a in c.arms for c in cells)]
    rows = []
    for cell in cells:
        points = [c.text if (c := contrasts.get((cell.name, a))) else "" for a in arms]
        rows.append([
            f"{cell.task}, {_SHARES[cell.share]}", f"{cell.params:,}", _judged(cell), f"{_teacher(cell, teachers):.1f}",
            f"{cell.accuracy(CONTROL):.1f}" if cell.arms.get(CONTROL) else "", *points, str(max(len(v) for v in cell.arms.values())),
        ])  # fmt: skip
    return md(["task", "parameters", "judged on", "teacher, %", "control, %", *arms, "replicates"], rows)


def _forecasts(cell: Cell, contrasts: dict[tuple[str, str], Contrast], teachers: list[dict[str, Any]]) -> str:
    """Return the table of a task whose headline is an error: points are hundredths of it."""
    rows = [[arm, _error(cell.accuracy(arm)), c.text if (c := contrasts.get((cell.name, arm))) else "", str(len(runs))]
            for arm, runs in cell.arms.items()]  # fmt: skip
    teacher = _error(_teacher(cell, teachers))
    return (
        f"{cell.task}, judged on {_judged(cell)}: mean squared error, teacher {teacher}; a point is 0.01 of it, and a gain a smaller error. The control "
        "`hard-label` learns from the true values alone. auto is for classes and not defined here.\n\n"
        + md(["arm", "MSE", "points over the control", "replicates"], rows)
    )


def _error(percent: float | None) -> str:
    return "" if percent is None else f"{1 - percent / 100:.4f}"


def _judged(cell: Cell) -> str:
    line = next(iter(next(iter(cell.arms.values())).values()))
    if folds := TASKS[cell.task].folds:
        return f"{line['rows']:,} rows of each of {len(cell.arms[CONTROL])} groups in turn, of {len(folds)}"
    return f"{line['rows']:,} rows" + (f" of {len(line['groups'])} groups" if "groups" in line else "")


def _teacher(cell: Cell, teachers: list[dict[str, Any]]) -> float:
    own = {line["teacher"] for runs in cell.arms.values() for line in runs.values()}
    return 100 * float(np.mean([t["accuracy"] for t in teachers if t["id"] in own]))


def _settings(cells: list[Cell]) -> str:
    lines = []
    for name in dict.fromkeys(c.task for c in cells):
        task = TASKS[name]
        teacher = task.teacher
        what = f"{len(teacher['members'])} networks trained here" if teacher["kind"] == "ensemble" else teacher["kind"]
        what = f"{teacher['model']['kind']}, trained here" if teacher["kind"] == "train" else what
        limit = f", {task.data['limit']:,} training rows" if "limit" in task.data else ""
        training, student = task.training, task.students[0]["kind"]
        lines.append(
            f"- **{name}**: {WORDS[name]}. Teacher: {what}; student {student}, {training['epochs']} epochs of all rows, batch "
            f"{training['batch_size']}, AdamW, learning rate {training['learning_rate']}, cosine; {task.views} labelled "
            f"view{'s' if task.views > 1 else ''}{limit}."
        )
    return (
        "Settings are of `benchmarks/_gain_more.py`, which says where they leave those of the recipes:\n\n"
        + "\n".join(lines)
    )
