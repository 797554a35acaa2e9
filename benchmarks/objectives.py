"""What each objective costs: time of a step as a ratio to training on hard labels, and memory.

Usage: python benchmarks/objectives.py [cost | blocks | others] [--rounds N]

One thread. Every registered objective that can teach classes here with its defaults, alone, on the Fashion-MNIST student of 4,138 parameters, batch 128,
rows of the teacher's outputs from the store; objectives on features run the teacher (ResNet-8 of width 16) on each batch.
Objectives for tokens or values, and those that read token blocks, which neither model has, are left out and named.
Blocks of 12 steps alternate; ratios are medians over rounds of CPU seconds. Memory is that of a fresh process.
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
import _objective_groups as groups
import numpy as np

STEPS = 12
CONTROL = "hard-label"


def specs() -> dict[str, Any]:
    """Return every objective with its defaults, the control first; temperatures are constant where they may vary."""
    from potstill.objectives import registry

    kinds = [CONTROL, *sorted(kind for kind in registry.kinds() if kind != CONTROL)]
    return {kind: registry[kind].model_validate({"kind": kind}) for kind in kinds}


def left_out() -> set[str]:
    """Return the kinds that cannot teach this student from this teacher: of another output, or without places to compare."""
    import _cases as cases
    import torch

    from potstill.core.errors import PotstillError
    from potstill.stages._parts import data_io
    from potstill.taps.pairing import resolve
    from potstill.taps.places import list_places

    case, found = cases.CASES["fashion"], set()
    dataset = case.dataset()
    pixels = torch.zeros(2, *data_io(dataset).shape)
    both = [
        list_places(m.module, m.preprocess(pixels), w) for w in ("student", "teacher") for m in [case.model(dataset, w)]
    ]
    for kind, spec in specs().items():
        needs = spec.needs()
        try:
            pairs = resolve(needs.taps, *both, kind, needs.tap_sort) if needs.taps is not None else []
            for pair in pairs:
                spec.joint(pair.student.shape, pair.teacher.shape, kind)
        except PotstillError:
            found.add(kind)
        if "classes" not in spec.teaches:
            found.add(kind)
    return found


class Setting:
    """One objective, ready to train a block.

    Args:
        kind: of the objective.
        case: of _cases.
    """

    def __init__(self, kind: str, case: str = "fashion") -> None:
        import _cases as cases

        from potstill.stages._parts import set_threads
        from potstill.train.features import LiveTeacher

        set_threads(1)
        self.objective, self.case = specs()[kind], cases.CASES[case]
        self.dataset = self.case.dataset()
        needs = self.objective.needs()
        self.store = self.case.store(self.dataset) if needs.teacher != "nothing" else None
        self.teacher = None
        if needs.taps is not None:
            made = self.case.model(self.dataset, "teacher")
            self.teacher = LiveTeacher(made.module.eval().requires_grad_(False), made.preprocess)

    def block(self) -> measure.Seconds:
        """Train a few steps from the start."""
        from potstill.train.loop import Trainer

        with tempfile.TemporaryDirectory() as work:
            fit = self.case.fit(self.dataset, self.store, STEPS, Path(work))
            fit = replace(fit, objectives=[self.objective], teacher=self.teacher, validation=_nothing(fit.validation))
            trainer = Trainer(fit)
            return measure.timed(trainer.run)


def _nothing(split: Any) -> Any:
    """Return a split without rows: an evaluation would cost the same for all, and blur the ratio."""
    return replace(split, **{k: v[:0] for k, v in vars(split).items() if isinstance(v, np.ndarray)})


def cost(rounds: int) -> dict[str, Any]:
    """Return the time of a step and the memory of each objective."""
    without = left_out()
    settings = {kind: Setting(kind) for kind in specs() if kind not in without}
    seconds = measure.alternate({kind: s.block for kind, s in settings.items()}, rounds)
    used = {kind: [measure.child(Path(__file__), "--child", kind) for _ in range(3)] for kind in settings}
    return {
        kind: {
            "step_ms": measure.median([s.cpu / STEPS * 1e3 for s in of]),
            "cpu": measure.ratio(of, seconds[CONTROL], "cpu"),
            "VmHWM": measure.median([u["VmHWM"] / 1e6 for u in used[kind]]),
            "reads": "features" if settings[kind].teacher else "outputs" if settings[kind].store else "labels",
        }
        for kind, of in seconds.items()
    }


BLOCKS = (CONTROL, "attention-kl", "hidden-l2", "relation-kl")


def blocks_cost(rounds: int) -> dict[str, Any]:
    """Return the time of a step and the memory of each objective inside Transformers."""
    settings = {kind: Setting(kind, "fashion-vit") for kind in BLOCKS}
    seconds = measure.alternate({kind: s.block for kind, s in settings.items()}, rounds)
    return {
        kind: {
            "step_ms": measure.median([s.cpu / STEPS * 1e3 for s in of]),
            "cpu": measure.ratio(of, seconds[CONTROL], "cpu"),
            "VmHWM": measure.median([_memory_of(f"fashion-vit/{kind}")["VmHWM"] / 1e6 for _ in range(3)]),
        }
        for kind, of in seconds.items()
    }


def blocks_part(found: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [
        [f"`{kind}`", measure.shown(f["step_ms"], 1), measure.shown(f["cpu"]), measure.shown(f["VmHWM"], 0)]
        for kind, f in found.items()
    ]
    return (
        "## Inside Transformers\n\nA ViT of width 64 and depth 4 runs on every batch and teaches one of width 32 and depth 2, "
        "Fashion-MNIST, batch 128.\n\n"
        + measure.table(["objective", "CPU ms a step", f"ratio to {CONTROL}", "peak memory, MB"], rows)
    )


def cost_part(found: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [
        [f"`{kind}`", f["reads"], measure.shown(f["step_ms"], 1), measure.shown(f["cpu"]), measure.shown(f["VmHWM"], 0)]
        for kind, f in sorted(found.items(), key=lambda item: item[1]["cpu"]["value"])
    ]
    n = found[CONTROL]["cpu"]["n"]
    return (
        "## Time of a step and memory\n\nEach objective alone with its defaults, on a DS-CNN of 4,138 parameters, Fashion-MNIST, "
        f"batch 128; *reads* says what it needs besides the picture. A ratio is over `{CONTROL}`, which needs no teacher. "
        "Objectives on features run the teacher, a ResNet-8 of 77,754 parameters, on every batch: that is most of what they "
        f"cost. {n} rounds of {STEPS} steps, median [95 % bootstrap interval].\n\n"
        + measure.table(["objective", "reads", "CPU ms a step", f"ratio to {CONTROL}", "peak memory (VmHWM), MB"], rows)
        + "\n\nOf other outputs or other models, below: "
        + ", ".join(f"`{kind}`" for kind in specs() if kind not in found)
        + "."
    )


def child(kind: str) -> None:
    """Train a block and print this process's memory as JSON."""
    group, _, name = kind.rpartition("/")
    if group in groups.GROUPS:
        groups.block(group, name)()
    elif group:
        Setting(name, group).block()
    else:
        Setting(kind).block()
    sys.stdout.write(json.dumps(measure.memory()) + "\n")


def _memory_of(kind: str) -> Any:
    return measure.child(Path(__file__), "--child", kind)


def main() -> None:
    """Measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("cost", "blocks", "others"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return
    record = measure.kept("objectives")
    if given.part in (None, "cost"):
        record["cost"] = {"figures": cost(given.rounds), "machine": measure.machine()}
    if given.part in (None, "blocks"):
        record["blocks"] = {"figures": blocks_cost(given.rounds), "machine": measure.machine()}
    if given.part in (None, "others"):
        record["others"] = {"figures": groups.cost(given.rounds, _memory_of), "machine": measure.machine()}
    measure.write(
        "objectives", "What objectives cost", {"cost": cost_part, "blocks": blocks_part, "others": groups.part}, record
    )


if __name__ == "__main__":
    main()
