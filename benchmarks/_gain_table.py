"""Write docs/results/gain.md and gain.json from the ledger of gain.py."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _gain_auto import auto_section, features_section, papers_section
from _gain_cells import ARMS, IMAGES, MAIN, SCHEDULES, TASKS, plan
from _gain_more_table import more_section
from _gain_stats import CONTROL, LEAST, Cell, Contrast, by_uncertainty, cells, holm
from _measure import table as md
from gain import ROOT, _git, read

RESULTS = ROOT / "docs" / "results"
SHARES = {
    "few": "few labels; the teacher saw the hidden ones",
    "all": "all labels",
    "few-own": "few labels; the teacher saw no others",
}
TEMPERATURES = ("T=1", "T=2", "T=4")
VERDICTS = ("gain", "loss", "no gain", "unresolved")


def write(ledger: Path) -> None:
    """Write both files."""
    entries = read(ledger)
    everything = cells(entries)
    more, beyond = more_section(entries, everything)
    found = {n: c for n, c in everything.items() if c.task in IMAGES}
    images = of_images(entries)
    teachers = {e["id"]: e for e in images if e["type"] == "teacher"}
    contrasts = [c for cell in found.values() for arm in cell.arms if arm != CONTROL and (c := cell.contrast(arm))]
    holm(contrasts)
    page = _page(images, found, teachers, contrasts, more)
    (RESULTS / "gain.md").write_text("\n\n".join(page) + "\n")
    (RESULTS / "gain.json").write_text(
        json.dumps(_figures(entries, everything, contrasts + beyond), indent=1, ensure_ascii=False)
    )
    print(f"{RESULTS / 'gain.md'} and gain.json from {len(entries)} lines")


def of_images(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the trainings and teachers of pictures, and the machines that did them."""
    own = [e for e in entries if e["type"] != "machine" and e["task"] in IMAGES]
    used = {e["machine"] for e in own if e["type"] == "training"}
    return [e for e in entries if e["type"] == "machine" and e["id"] in used] + own


def _page(
    entries: list[dict[str, Any]], found: dict[str, Cell], teachers: dict[str, dict[str, Any]], all_c: list[Contrast],
    more: list[str],
) -> list[str]:  # fmt: skip
    trainings = [e for e in entries if e["type"] == "training"]
    usual = {n: c for n, c in found.items() if "×" not in n}
    out = ["# Where soft labels gain, and where they lose", _intro(entries, trainings)]
    out += ["## Over all cells", _done(trainings, all_c), _pooled(usual, all_c)]
    out += auto_section(usual) + papers_section(usual) + features_section(usual)
    out += ["## Cell by cell", _LEGEND]
    for task in IMAGES:
        mine = {n: c for n, c in usual.items() if c.task == task}
        if mine:
            out += [f"### {task}", _teachers_line(task, teachers), _table(mine, {(c.cell, c.arm): c for c in all_c})]
    out += ["## Against one another", _PAIRS_LEGEND, _pairs(usual)]
    schedules = _schedules(usual)
    if schedules:
        out += ["## A falling temperature", schedules]
    out += ["## Where the teacher is unsure", _unsure(usual, teachers)]
    longer = _longer(found)
    if longer:
        out += ["## Long and patient, against more labels", longer]
    out += ["## Settings", _settings(), _LIMITS, *more]
    return out


def _intro(entries: list[dict[str, Any]], trainings: list[dict[str, Any]]) -> str:
    machines = [e for e in entries if e["type"] == "machine"]
    where = "; ".join(
        f"{m['environment']['cpu']}, {m['environment']['cores']} cores, {m['environment']['system']}, one thread a training, "
        + ", ".join(f"{k} {v}" for k, v in m["fingerprint"]["packages"].items())
        for m in machines
    )
    commits = ", ".join(sorted({e["commit"] for e in trainings}))
    hours = sum(e["seconds"] for e in trainings) / 3600
    dates = sorted(e["date"] for e in entries)
    return (
        f"Every figure is computed by `python benchmarks/gain.py table` from {len(trainings)} trainings and "
        f"{sum(e['type'] == 'teacher' for e in entries)} teachers in [gain.jsonl](gain.jsonl), which "
        f"`python benchmarks/gain.py run` appends to and never repeats. {where}. potstill sources of commit {commits}; "
        f"{dates[0]} to {dates[-1]}; {hours:.1f} hours of training on a machine that did other work too.\n\n"
        "Points are differences of test accuracy in per cent from the control `hard-label`: the same student, trained "
        "for the same number of steps on the labelled rows alone, without a teacher. The other arms, but for "
        "label-smoothing, see every training row."
    )


def _done(trainings: list[dict[str, Any]], contrasts: list[Contrast]) -> str:
    planned = [t for t in plan() if t.task in IMAGES]
    mine = {e["id"] for e in trainings}
    judged = sum(c.replicates >= LEAST for c in contrasts)
    text = f"{sum(t.id in mine for t in planned):,} of {len(planned):,} planned trainings are done"
    missing = [task for task in IMAGES if all(e["task"] != task for e in trainings)]
    text += f", none of {' and '.join(missing)}." if missing else "."
    if not judged:
        text += f" No cell has {LEAST} replicates yet: **nothing on this page is a verdict**, only a direction."
    return text


_LEGEND = f"""\
± is half a 95 % interval. Fashion-MNIST and CIFAR-10: one split and one teacher, seeds differ; the interval joins seeds
and test rows (`potstill.verify.gain`). Digits: each replicate has its own split, teacher and seed; the interval is
Student's t over the replicates, for splits of these 1,797 pictures. gain, loss: the interval lies on one side of 0; no
gain: within ±0.3; else unresolved. * stays after Holm's correction at 5 % over every contrast on this page that has at
least {LEAST} replicates; without the star, expect one verdict in twenty to be chance. With fewer than {LEAST} replicates
the figure stands in brackets with their number, and nothing is claimed."""

_PAIRS_LEGEND = """\
First arm minus second within each cell, over the replicates that have both."""

_LIMITS = f"""\
Limits: small students, small subsets, one optimiser and one learning rate for every arm, no tuning of any arm; validation
rows decide nothing, the last weights are kept. Unless an arm says "+ 0.1 hard", the student sees no hard label besides the
teacher's outputs. Controls draw a new augmented view each pass; soft-label arms cycle through the labelled views. The
CIFAR-10 copy was compressed again as JPEG: compare its figures with one another only. A replicate is a seed; with
{LEAST} of them small effects cannot be told from none, and "unresolved" means just that."""


def _pooled(found: dict[str, Cell], contrasts: list[Contrast]) -> str:
    rows = []
    for share in SHARES:
        for arm in (*MAIN[1:], *(a for a in ARMS if a not in MAIN)):
            mine = [c for c in contrasts if c.arm == arm and c.cell in found and found[c.cell].share == share]
            if mine:
                rows.append([SHARES[share], arm, *_summary(mine)])
    return _SUMMARY + "\n\n" + md(["labels", "arm", *_SUMMARY_HEAD], rows)


_SUMMARY = f"""\
Cells count alike in the mean, whatever their replicates. A cell with fewer than {LEAST} replicates has no verdict and is
counted under "too few"; in brackets the verdicts that Holm's correction leaves."""

_SUMMARY_HEAD = ["cells", "replicates", "mean points", "range", *VERDICTS, "too few"]


def _summary(mine: list[Contrast]) -> list[str]:
    points, replicates = [c.points for c in mine], [c.replicates for c in mine]
    judged = [c for c in mine if c.replicates >= LEAST]
    count = Counter(c.verdict for c in judged)
    holding = Counter(c.verdict for c in judged if c.holds)
    least, most = min(replicates), max(replicates)
    return [
        str(len(mine)), str(most) if least == most else f"{least} to {most}", f"{np.mean(points):+.2f}",
        f"{min(points):+.1f} to {max(points):+.1f}",
        *(f"{count[v]} ({holding[v]})" if holding[v] else str(count[v]) for v in VERDICTS),
        str(len(mine) - len(judged)),
    ]  # fmt: skip


def _teachers_line(task: str, teachers: dict[str, dict[str, Any]]) -> str:
    parts = []
    for share in SHARES:
        mine = [t for t in teachers.values() if t["task"] == task and t["share"] == share]
        if mine:
            foreign = mine[0]["spec"]["kind"] == "zoo"
            what = (
                "foreign, trained on the original labels, the hidden ones among them" if foreign
                else "saw the hidden labels" if mine[0]["saw_hidden_labels"] else "saw the student's labels only"
            )  # fmt: skip
            mean = 100 * np.mean([t["accuracy"] for t in mine])
            parts.append(
                f"{share}: {mean:.1f} % on the test rows, {mine[0]['params']:,} parameters, {what} ({_count(len(mine), 'teacher')})"
            )
    return "Teacher, " + "; ".join(parts) + "."


def _table(found: dict[str, Cell], contrasts: dict[tuple[str, str], Contrast]) -> str:
    arms = [a for a in ARMS if a != CONTROL and any((n, a) in contrasts for n in found)]
    names = list(found)
    head = ["", *(f"{found[n].share}, {found[n].params:,} parameters" for n in names)]
    rows = [["control, %", *(_percent(found[n].accuracy(CONTROL)) for n in names)],
            ["replicates", *(str(len(found[n].arms.get(CONTROL, {}))) for n in names)]]  # fmt: skip
    for arm in arms:
        rows.append([arm, *((c.text if (c := contrasts.get((n, arm))) else "") for n in names)])
    return md(head, rows)


def _pairs(found: dict[str, Cell]) -> str:
    pairs = [("T=1", "T=2"), ("T=1", "T=4"), ("T=2", "T=4"), ("T=1", "standardised T=2"), ("T=1", "logit-mse"),
             ("T=1", "hard-pseudo-label"), ("T=1", "label-smoothing"), ("T=2", "0.9 T=2 + 0.1 hard")]  # fmt: skip
    return _pair_table(found, pairs)


def _pair_table(found: dict[str, Cell], pairs: Iterable[tuple[str, str]]) -> str:
    rows = []
    for share in SHARES:
        for one, other in pairs:
            mine = [c for cell in found.values() if cell.share == share and (c := cell.contrast(one, other))]
            if mine:
                rows.append([SHARES[share], f"{one} − {other}", *_summary(mine)])
    return md(["labels", "pair", *_SUMMARY_HEAD], rows)


def _schedules(found: dict[str, Cell]) -> str:
    if not any(a in c.arms for c in found.values() for a in SCHEDULES):
        return ""
    pairs = [(s, t) for s in SCHEDULES for t in TEMPERATURES]
    return (
        "Claim 5: start hot and cool down. Temperature falls from 4 to 1 over the whole training, by the same amount or the "
        "same factor each step, against constant temperatures.\n\n" + _pair_table(found, pairs)
    )


def _unsure(found: dict[str, Cell], teachers: dict[str, dict[str, Any]]) -> str:
    rows = []
    for cell in found.values():
        read = by_uncertainty(cell, teachers, "T=1")
        if read is None:
            continue
        quarters, unsure, agree = read
        share = f"{100 * unsure:.0f} %" if abs(sum(quarters)) > 2 else "–"
        rows.append([cell.name, *(f"{q:+.1f}" for q in quarters), share, f"{100 * agree:.1f} %"])
    head = [
        "cell (T=1)",
        "surest quarter",
        "2",
        "3",
        "least sure quarter",
        "share of the gain in the unsure half",
        "rows alike",
    ]
    return (
        "Claim 13: soft labels help most on uncertain samples. Test rows are put into quarters by the entropy of the "
        "teacher's probabilities; points over the control on each. A share is given where the gain is above half a point. "
        "The teacher never sees these rows' labels, but rows on which it is unsure are also those on which the control has "
        "most left to gain.\n\n" + md(head, rows)
    )


def _longer(found: dict[str, Cell]) -> str:
    rows = []
    for name, cell in found.items():
        base = found.get(name.split(" ×")[0])
        if "×" not in name or base is None:
            continue
        more = found.get(base.name.replace(" few", " all"))
        rows.append([f"{base.name}, {cell.params:,} parameters", f"{_percent(base.accuracy(CONTROL))}",
                     _percent(base.accuracy("T=1")), _percent(cell.accuracy(CONTROL)),
                     *(_percent(cell.accuracy(a)) for a in _long_arms(found)),
                     _percent(more.accuracy(CONTROL)) if more else "",
                     str(min(len(v) for v in cell.arms.values()))])  # fmt: skip
    if not rows:
        return ""
    head = ["cell", "control", "T=1", "control, 4 × as long", *(f"{a}, 4 × as long" for a in _long_arms(found)),
            "control, all labels", "replicates"]  # fmt: skip
    lines = []
    for name, cell in found.items():
        if "×" in name:
            for arm, control in (("T=1, 160 views", "T=1"), ("T=1", CONTROL)):
                c = cell.contrast(arm, control)
                if c and c.replicates >= LEAST:
                    lines.append(
                        f"- {name}: {arm} − {control}: {c.points:+.1f} [{c.low:+.1f}, {c.high:+.1f}], {c.verdict}."
                    )
    return (
        "Beyer et al. 2022 (arXiv:2106.05237): train long, on many views that the teacher labelled too. Test accuracy in %, "
        "mean over the replicates that each arm has.\n\n" + md(head, rows) + "\n\n" + "\n".join(lines)
    )


def _long_arms(found: dict[str, Cell]) -> list[str]:
    return sorted({a for n, c in found.items() if "×" in n for a in c.arms if a != CONTROL})


def _settings() -> str:
    rows = []
    images = {name: TASKS[name] for name in IMAGES}
    for name, task in images.items():
        data, training = task.data, task.training
        limit = f"{data['limit']:,} rows" if "limit" in data else "1,797 rows, 35 % of them test"
        teacher = task.teacher
        model = _model(teacher["model"])
        if teacher["kind"] == "train":
            t = teacher["training"]
            model += f", {t['epochs']} epochs, batch {t['batch_size']}, learning rate {t.get('learning_rate', 0.002)}"
        augment = ", ".join(f"{a['kind']} {a['pixels']}" if "pixels" in a else a["kind"] for a in task.augment)
        rows.append([name, f"{limit}, 10 % validation", str(task.few), augment, model,
                     f"{training['epochs']} epochs of all rows, batch {training['batch_size']}, AdamW, "
                     f"learning rate {training['learning_rate']}, cosine",
                     str(task.views)])  # fmt: skip
    head = ["task", "training data", "few labels (validation included)", "augmentation", "teacher", "students", "views"]
    students = "Students: " + "; ".join(
        f"{name}: " + ", ".join(_model(student) for student in task.students) for name, task in images.items()
    )
    students += ". Labels are kept as float16."
    return md(head, rows) + "\n\n" + students


def _model(spec: dict[str, Any]) -> str:
    return f"{spec['kind']} ({', '.join(f'{k} {v}' for k, v in spec.items() if k not in ('kind', 'weights', 'input'))})"


def _figures(entries: list[dict[str, Any]], found: dict[str, Cell], contrasts: list[Contrast]) -> dict[str, Any]:
    return {
        "schema": 1,
        "command": "python benchmarks/gain.py table",
        "commit": _git("log", "-1", "--format=%h"),
        "trainings": sum(e["type"] == "training" for e in entries),
        "machines": [{k: v for k, v in e.items() if k != "type"} for e in entries if e["type"] == "machine"],
        "cells": [
            {"name": c.name, "task": c.task, "share": c.share, "params": c.params, "epochs": c.epochs,
             "accuracy": {arm: {"mean": c.accuracy(arm), "replicates": len(runs)} for arm, runs in c.arms.items()}}
            for c in found.values()
        ],
        "contrasts": [asdict(c) for c in contrasts],
    }  # fmt: skip


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _count(num: int, noun: str) -> str:
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"
