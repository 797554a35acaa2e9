"""What the ledger says of `objectives: auto` against its goals, of the papers' losses, and of terms on features.

Shapes: R replicates, N test rows.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from _gain_cells import ARMS, FEATURES, GRID, PAPERS, TASKS
from _gain_stats import CONTROL, LEAST, Cell, Contrast, holm
from _measure import table as md
from gain import unpack
from scipy.stats import t as student_t

AUTO = "auto"
EARLIER = "auto, earlier rules"
"""Lines of auto before its rules were written anew from this ledger (docs/log.md)."""
SEEN = 3
"""Replicates, the first ones, from which the rules were written."""
MARGIN = 0.3
"""Points that auto may be behind: the goals of this benchmark."""
_DRAWS = 2000


@dataclass(frozen=True)
class Pooled:
    """One arm against another over many cells that count alike, in points of accuracy."""

    points: float
    error: float
    """Standard error."""
    replicates: int
    cells: int

    def bound(self, level: float) -> float:
        """Return the quantile of the mean's distribution at `level`, in (0, 1)."""
        return self.points + float(student_t.ppf(level, self.replicates - 1)) * self.error

    @property
    def text(self) -> str:
        return f"{self.points:+.2f} [{self.bound(0.025):+.2f}, {self.bound(0.975):+.2f}]"


def pooled(cells: list[Cell], arm: str, control: str = CONTROL, first: int = 0) -> Pooled | None:
    """Return the mean over cells of arm minus control, over the replicates from `first` on that all of these cells have; None
    below three.

    Cells are not independent: those of one replicate share their split, teacher or first weights, those of one task the
    test rows. So the mean over cells is taken within each replicate, and its spread over R replicates gives Student's t
    with R - 1 degrees of freedom; the part of test rows that are fixed (no new splits) is a bootstrap over rows, drawn
    alike for all cells of a task, and is added.
    """
    common = set.intersection(*(set(c.common(arm, control)) for c in cells)) if cells else set()
    replicates = sorted(r for r in common if r >= first)
    if len(replicates) < LEAST:
        return None
    means = np.stack([100 * (c.correct(arm, replicates) - c.correct(control, replicates)).mean(axis=1) for c in cells])
    over_R = means.mean(axis=0)
    variance = float(over_R.var(ddof=1)) / len(replicates) + _rows_variance(cells, arm, control, replicates)
    return Pooled(float(over_R.mean()), math.sqrt(variance), len(replicates), len(cells))


def _rows_variance(cells: list[Cell], arm: str, control: str, replicates: list[int]) -> float:
    draw, total = np.random.default_rng(0), 0.0
    for task in dict.fromkeys(c.task for c in cells):  # in their order: one generator draws for all
        mine = [c for c in cells if c.task == task]
        if TASKS[task].new_splits:  # every replicate has other test rows: they are in the spread over replicates
            continue
        rows_N = sum(100 * (c.correct(arm, replicates) - c.correct(control, replicates)).mean(axis=0) for c in mine)
        rows_N = np.asarray(rows_N) / len(cells)
        drawn = [rows_N[draw.integers(0, len(rows_N), len(rows_N))].mean() for _ in range(_DRAWS)]
        total += float(np.var(drawn))
    return total


def grid(found: dict[str, Cell]) -> list[Cell]:
    """Return the cells over which arms are averaged: each task and student, few labels and all."""
    return [c for n, c in found.items() if c.task in GRID and c.share in ("few", "all") and "×" not in n]


def auto_section(found: dict[str, Cell]) -> list[str]:
    """Return the part of the page on auto and its goals; nothing where no training of it is in the ledger."""
    cells = [c for c in grid(found) if len(c.common(AUTO, CONTROL)) >= LEAST]
    if not cells:
        return []
    return [
        "## objectives: auto",
        _goals(cells, len(grid(found))),
        _arms_table(cells),
        races(cells),
        _same_again(cells),
    ]


def _goals(cells: list[Cell], num_all: int) -> str:
    ours = pooled(cells, AUTO)
    assert ours is not None
    contrasts = [c for cell in cells if (c := cell.contrast(AUTO))]
    holm(contrasts)
    worse = [c for c in contrasts if c.holds and c.points < 0]
    fixed = _fixed(cells)
    best = max(fixed, key=lambda a: fixed[a].points) if fixed else None
    against = pooled(cells, AUTO, best) if best else None
    lines = [
        f"Over {len(cells)} of {num_all} cells that have at least {LEAST} replicates of both; {ours.replicates} replicates that "
        "all of them share. An interval joins the spread over replicates (each cell's split, teacher or first weights) and "
        "over fixed test rows.",
        f"- Goal: the pooled mean gain over the control is above 0 with its whole 95 % interval. Measured: {ours.text}: "
        f"**{met(ours.bound(0.025) > 0)}**.",
        f"- Goal: the one-sided 95 % lower bound of it is above −{MARGIN}. Measured: {ours.bound(0.05):+.2f}: "
        f"**{met(ours.bound(0.05) > -MARGIN)}**.",
        f"- Goal: no cell is worse than its control after Holm's correction over these {len(contrasts)} cells. Measured: "
        f"{_names(worse)}: **{met(not worse)}**.",
    ]
    if best and against:
        lines.append(
            f"- Goal: within {MARGIN} of the best fixed arm of the grid. The best is `{best}` ({fixed[best].text} over the "
            f"control); auto minus it: {against.text}: **{met(against.points > -MARGIN)}** by its mean"
            + (", and by its whole interval." if against.bound(0.025) > -MARGIN else ", not by its whole interval.")
        )
    return "\n\n".join([lines[0], "\n".join(lines[1:]), _unseen(cells)])


def _unseen(cells: list[Cell]) -> str:
    """Say what holds for replicates that the rules were not written from."""
    fresh = [c for c in cells if sum(r >= SEEN for r in c.common(AUTO, CONTROL)) >= LEAST]
    text = f"The rules were written from replicates 0 to {SEEN - 1} of this ledger, so on these auto is flattered."
    found = pooled(fresh, AUTO, first=SEEN)
    if found is None:
        return text + " No cell has three others yet."
    others = {a: p for a in ARMS if a not in (AUTO, CONTROL) and (p := pooled(fresh, a, first=SEEN))}
    beside = "; ".join(f"`{a}` {p.text}" for a, p in sorted(others.items(), key=lambda item: -item[1].points))
    return (
        f"{text} On {found.replicates} other replicates of {len(fresh)} cells ({', '.join(sorted({c.task for c in fresh}))}): "
        f"auto {found.text}" + (f"; {beside}." if beside else ".")
    )


def met(yes: bool) -> str:
    """Return the word for a goal."""
    return "met" if yes else "missed"


def _names(worse: list[Contrast]) -> str:
    return ", ".join(f"{c.cell} {c.points:+.1f}" for c in worse) if worse else "none is"


def _fixed(cells: list[Cell]) -> dict[str, Pooled]:
    """Return the pooled gain of every stated arm that all of these cells have."""
    out = {arm: pooled(cells, arm) for arm in ARMS if arm not in (CONTROL, AUTO)}
    return {arm: p for arm, p in out.items() if p is not None}


def _arms_table(cells: list[Cell]) -> str:
    """Return every arm that all of these cells have, best first, apart for few labels and all."""
    arms = {AUTO: pooled(cells, AUTO), **_fixed(cells)}
    if (earlier := pooled(cells, EARLIER)) is not None:
        arms[EARLIER] = earlier
    parts = [
        ("few labels", [c for c in cells if c.share == "few"]),
        ("all labels", [c for c in cells if c.share == "all"]),
    ]
    rows = []
    for arm, p in sorted(arms.items(), key=lambda item: -item[1].points if item[1] else 0):
        assert p is not None
        by_share = [found.text if (found := pooled(mine, arm)) else "" for _, mine in parts]
        rows.append([arm, p.text, *by_share, str(p.replicates)])
    return "Points over the control, 95 % interval; arms that all of these cells have.\n\n" + md(
        ["arm", "all cells", *(name for name, _ in parts), "replicates"], rows
    )


def races(cells: list[Cell]) -> str:
    """Return what was tried and kept in each cell."""
    rows = []
    for cell in cells:
        lines = list(cell.arms[AUTO].values())
        winners = Counter(e["winner"] for e in lines)
        kept = sum(e["chosen"] == "student" for e in lines)
        extra = [e["extra_steps"] / e["steps"] for e in lines]
        contrast = cell.contrast(AUTO)
        rows.append([
            cell.name, ", ".join(f"{name} {num}" for name, num in winners.most_common()),
            str(sum("rows decide nothing" not in e["decided_by"] for e in lines)), f"{kept} of {len(lines)}",
            str(lines[0]["validation_rows"]), f"{100 * float(np.mean(extra)):.0f} %", contrast.text if contrast else "",
        ])  # fmt: skip
    head = ["cell", "winners", "decided by a race", "student kept", "validation rows", "losers' steps", "points"]
    return (
        "What was chosen. With fewer than 30 labelled validation rows there is no race: the first rule is taken. The control "
        "is kept unless the student is judged better by the validation rows and, with few labels, by what is to be expected.\n\n"
        + md(head, rows)
    )


def _same_again(cells: list[Cell]) -> str:
    """Say how many controls, trained again beside auto, gave the same answers: lines of several commits are compared here."""
    pairs = [
        (unpack(e["control_correct"], e["rows"]), unpack(cell.arms[CONTROL][r]["correct"], e["rows"]), e["commit"],
         cell.arms[CONTROL][r]["commit"])
        for cell in cells for r, e in cell.arms[AUTO].items() if r in cell.arms[CONTROL]
    ]  # fmt: skip
    other = [(a, b) for a, b, ours, theirs in pairs if ours != theirs]
    same = sum(bool((a == b).all()) for a, b in other)
    return (
        f"{len(other)} controls were trained again beside auto, from the sources of another commit than their line above: "
        f"{same} of them answered every test row alike, so lines of these commits may be compared."
    )


def features_section(found: dict[str, Cell]) -> list[str]:
    """Return the part of the page on pairs of architectures and terms on features; nothing where there is none."""
    cells = {n: c for n, c in found.items() if any(a in c.arms for a in FEATURES)}
    if not cells:
        return []
    rows = []
    for cell in cells.values():
        contrasts = [(a, cell.contrast(a, "T=1")) for a in FEATURES]
        rows.append([cell.name, _pair_of(cell), *(c.text if c else "" for _, c in contrasts)])
    summary = []
    for arm in FEATURES:
        mine = [c for cell in cells.values() if (c := cell.contrast(arm, "T=1")) and c.replicates >= LEAST]
        if mine:
            count = Counter(c.verdict for c in mine)
            verdicts = ", ".join(f"{num} {name}" for name, num in count.items())
            summary.append(f"- `{arm}`: {np.mean([c.points for c in mine]):+.2f} over {len(mine)} cells ({verdicts}).")
    return [
        "## Terms on features, over soft labels alone",
        "Each term with its paper's weight, or 1 where the paper has none, and `taps` as the kind has it, beside soft labels at "
        "T = 1; points over soft labels at T = 1 alone, ± half a 95 % interval.",
        md(["cell", "teacher → student", *FEATURES], rows),
        "Mean over cells, each counted alike:\n\n" + "\n".join(summary),
    ]  # fmt: skip


def _pair_of(cell: Cell) -> str:
    task: Any = TASKS[cell.task]
    student = next(iter(next(iter(cell.arms.values())).values()))["student"]["kind"]
    return f"{task.teacher['model']['kind']} → {student}"


def papers_section(found: dict[str, Cell]) -> list[str]:
    """Return what the papers' logit losses gain over the control and over soft labels at T = 1."""
    cells = [c for c in grid(found) if all(len(c.common(a, CONTROL)) >= LEAST for a in (*PAPERS, "T=1"))]
    if not cells:
        return []
    rows = []
    for arm in PAPERS:
        texts = [p.text if (p := pooled(cells, arm, control)) else "" for control in (CONTROL, "T=1")]
        rows.append([arm, *texts])
    return [
        "## The papers' losses on outputs",
        f"`dkd`, `dist`, `nkd` and `wttm` with their papers' values, each beside the hard labels as in its paper; pooled over "
        f"{len(cells)} cells.",
        md(["arm", "over the control", "over T=1"], rows),
    ]
