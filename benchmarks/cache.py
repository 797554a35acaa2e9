"""What teacher outputs cost: an epoch without a teacher, from the store, and with a live teacher; and the memory of each.

Usage: python benchmarks/cache.py [epochs|memory|claim7 ...] [--rounds N]

One thread. A block is one whole training of one epoch (2,048 Fashion-MNIST rows, batch 128, student of 4,138 parameters);
blocks alternate, ratios are medians over rounds of CPU seconds. Memory is that of a fresh process. Parts that are not run
keep their figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import _measure as measure

TEACHERS = {
    "10x": {"kind": "resnet", "depth": 8, "width": 7},
    "10x, wider ds-cnn": {"kind": "ds-cnn", "width": 60, "depth": 3, "downsample": 1, "stem_stride": 2},
    "10x, ds-cnn at full resolution": {"kind": "ds-cnn", "width": 28, "depth": 3, "downsample": 1, "stem_stride": 1},
    "100x": {"kind": "resnet", "depth": 14, "width": 16},
}
"""Chosen for their multiply-accumulates, about 10 and 100 times the student's; the page says exactly. The student is a
ds-cnn: teachers of 10 times its MACs are a ResNet, whose dense convolutions are cheap for their MACs, and two of its own
family."""
MODES = ("none", "cached", *(f"live {name}" for name in TEACHERS))
CACHED_LIMIT, LIVE_LIMIT = 1.10, 3.0
KINDS: dict[str, list[dict[str, Any]]] = {
    "logit MSE": [{"kind": "logit-mse"}],
    "full": [{"kind": "soft-label", "temperature": 4.0, "weight": 0.7}, {"kind": "hard-label", "weight": 0.3}],
}


def case_of(mode: str) -> Any:
    """Return the case of a mode; the cached one has the large teacher's labels."""
    import _cases as cases

    size = mode.removeprefix("live ") if mode.startswith("live") else "100x"
    data = {**cases.FASHION, "limit": 2276}
    name = f"cache-{size.replace(', ', '-').replace(' ', '-')}"
    return replace(cases.CASES["fashion"], name=name, data=data, teacher=TEACHERS[size], views=2)


class Setting:
    """One mode, ready to train an epoch.

    Args:
        mode: one of MODES.
        objectives: as in a recipe; None takes KL at T = 2.
    """

    def __init__(self, mode: str, objectives: list[dict[str, Any]] | None = None) -> None:
        import _cases as cases

        from potstill.stages._parts import set_threads

        set_threads(1)
        self.case = case_of(mode)
        self.dataset = self.case.dataset()
        self.steps = len(self.dataset.splits["train"]) // self.case.batch_size
        self.store = None
        self.objectives = None if objectives is None else [cases.objective(o) for o in objectives]
        if mode == "cached":
            self.store = self.case.store(self.dataset)
        elif mode != "none":
            self.store = self.case.live(self.dataset)
        self.live = mode.startswith("live")

    def epoch(self) -> measure.Seconds:
        """Train one epoch from the start; a live teacher labels every row anew."""
        from potstill.train.loop import Trainer

        if self.live:
            self.store = self.case.live(self.dataset)
        with tempfile.TemporaryDirectory() as work:
            fit = self.case.fit(self.dataset, self.store, self.steps, Path(work))
            if self.objectives is not None:
                fit = replace(fit, objectives=self.objectives)
            trainer = Trainer(fit)
            return measure.timed(trainer.run)


def macs() -> dict[str, int]:
    """Return multiply-accumulates a picture of the student and the teachers."""
    from potstill.models.tools.profile import profile
    from potstill.stages._parts import data_io

    found = {}
    for name, size, which in (("student", "10x", "student"), *((size, size, "teacher") for size in TEACHERS)):
        case = case_of(f"live {size}")
        dataset = case.dataset()
        found[name] = profile(case.model(dataset, which).module, data_io(dataset)).macs
    return found


def epochs(rounds: int) -> dict[str, Any]:
    """Return the time of an epoch in each mode, and the ratios."""
    settings = {mode: Setting(mode) for mode in MODES}
    seconds = measure.alternate({mode: s.epoch for mode, s in settings.items()}, rounds)
    return {
        "macs": macs(),
        "rows": settings["none"].steps * settings["none"].case.batch_size,
        "epoch_s": {mode: measure.median([s.cpu for s in of]) for mode, of in seconds.items()},
        "cached_over_none": {c: measure.ratio(seconds["cached"], seconds["none"], c) for c in ("cpu", "wall")},
        "live_over_cached": {
            size: {c: measure.ratio(seconds[f"live {size}"], seconds["cached"], c) for c in ("cpu", "wall")}
            for size in TEACHERS
        },
    }


def family(size: str) -> str:
    """Name a teacher for the page."""
    return size.partition(", ")[2] or TEACHERS[size]["kind"]


def epochs_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    student, rows = f["macs"]["student"], []
    cached = f["cached_over_none"]
    rows.append(["without a teacher (hard labels)", measure.shown(f["epoch_s"]["none"]), "", "", ""])
    rows.append([
        "cached", measure.shown(f["epoch_s"]["cached"]), measure.shown(cached["cpu"], 3) + " of *without*",
        measure.shown(cached["wall"], 3),
        measure.verdict(cached["cpu"]["value"] <= CACHED_LIMIT, f"at most {CACHED_LIMIT}", f"{cached['cpu']['value']:.3f}"),
    ])  # fmt: skip
    for size in TEACHERS:
        ratio, times = f["live_over_cached"][size], f["macs"][size] / student
        target = measure.verdict(
            ratio["cpu"]["value"] >= LIVE_LIMIT, f"at least {LIVE_LIMIT:g}", f"{ratio['cpu']['value']:.2f}"
        )
        rows.append([
            f"live, {family(size)} of {times:.1f} times the student's MACs", measure.shown(f["epoch_s"][f"live {size}"]),
            measure.shown(ratio["cpu"]) + " of *cached*", measure.shown(ratio["wall"]), target,
        ])  # fmt: skip
    return (
        f"## An epoch\n\n{f['rows']:,} rows, batch 128, one evaluation; student of {student:,} MACs. A live teacher labels "
        "every row once an epoch, as it must where each epoch has its own augmented view. "
        f"{f['epoch_s']['none']['n']} rounds, median [95 % bootstrap interval].\n\n"
        + measure.table(["mode", "CPU s an epoch", "CPU ratio", "wall ratio", "target"], rows)
    )


def memory(rounds: int) -> dict[str, Any]:
    """Return peak and anonymous memory of a fresh process in each mode."""
    found: dict[str, Any] = {"torch alone": [measure.child(Path(__file__), "child", "torch") for _ in range(rounds)]}
    for mode in MODES:
        found[mode] = [measure.child(Path(__file__), "child", mode) for _ in range(rounds)]
    return {m: {k: measure.median([r[k] / 1e6 for r in of]) for k in ("VmHWM", "RssAnon")} for m, of in found.items()}


def memory_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [[mode, measure.shown(of["VmHWM"], 0), measure.shown(of["RssAnon"], 0)] for mode, of in f.items()]
    return (
        "## Memory\n\nA fresh process that trains two epochs; *torch alone* has imported the same modules and done nothing. "
        "VmHWM is its peak, shared libraries and mapped files included; RssAnon what it holds of its own at the end.\n\n"
        + measure.table(["mode", "VmHWM, MB", "RssAnon, MB"], rows)
    )


def claim7(rounds: int) -> dict[str, Any]:
    """Return epochs a second and memory of logit MSE and full distillation, from the store and live."""
    settings = {f"{k}, {m}": Setting(m, KINDS[k]) for k in KINDS for m in ("cached", "live 100x")}
    seconds = measure.alternate({name: s.epoch for name, s in settings.items()}, rounds)
    found = {}
    for name, of in seconds.items():
        kind, mode = name.split(", ")
        used = [measure.child(Path(__file__), "child", mode, kind) for _ in range(3)]
        found[name] = {
            "epochs_per_cpu_s": measure.median([1 / s.cpu for s in of]),
            "VmHWM": measure.median([u["VmHWM"] / 1e6 for u in used]),
        }
    return found


def claim7_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [[name, measure.shown(of["epochs_per_cpu_s"]), measure.shown(of["VmHWM"], 0)] for name, of in f.items()]
    value = {name: of["epochs_per_cpu_s"]["value"] for name, of in f.items()}
    loss = value["logit MSE, cached"] / value["full, cached"]
    store = value["full, cached"] / value["full, live 100x"]
    return (
        "## Claim 7: logits-only MSE against full distillation\n\nThe article states 2.1 against 1.2 epochs a second and 620 "
        "against 1,080 MB, without method. Here, *full* is 0.7 KL at T = 4 plus 0.3 cross-entropy.\n\n"
        + measure.table(["training", "epochs a CPU second", "VmHWM, MB"], rows)
        + f"\n\nThe choice of loss alone makes {loss:.2f} times the epochs a second; keeping the teacher's outputs makes "
        f"{store:.1f} times. Here the gap comes from running the teacher, not from the loss; the teacher adds little memory, for it keeps no gradients."
    )


def child(mode: str, kind: str | None) -> None:
    """Train two epochs and print this process's memory as JSON."""
    import potstill.train.loop  # noqa: F401 - so that "torch" has what the others have

    if mode != "torch":
        setting = Setting(mode, KINDS[kind] if kind else None)
        for _ in range(2):
            setting.epoch()
    sys.stdout.write(json.dumps(measure.memory()) + "\n")


def main() -> None:
    """Run what was asked, keep the rest, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="epochs, memory, claim7; default all")
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    if given.parts[:1] == ["child"]:
        child(given.parts[1], given.parts[2] if len(given.parts) > 2 else None)
        return
    run = {
        "epochs": lambda: epochs(given.rounds or 15),
        "memory": lambda: memory(3),
        "claim7": lambda: claim7(given.rounds or 9),
    }
    record = measure.kept("cache")
    for part in given.parts or list(run):
        record[part] = {"figures": run[part](), "machine": measure.machine()}
        measure.write("cache", "What teacher outputs cost", SAY, record)


SAY = {"epochs": epochs_part, "memory": memory_part, "claim7": claim7_part}

if __name__ == "__main__":
    main()
