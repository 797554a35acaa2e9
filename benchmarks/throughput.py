"""Speed of training: our trainer against a bare PyTorch loop, the whole job against other distillers, and start-up.

Usage: python benchmarks/throughput.py [loop|step|peers|order|startup ...] [--rounds N] [--venvs FOLDER]

Everything runs on one thread, in alternating blocks; a ratio is the median over rounds of CPU seconds (which other work on
the machine disturbs little), with the wall clock's beside it. `peers` looks for FOLDER/venv-NAME/bin/python of each peer; see
benchmarks/peers for what each needs. Figures of parts that are not run stay as they were.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # run by path, or from a test

import _measure as measure
import numpy as np
from _peers import JOB, JOBS, peers, peers_part

HERE = Path(__file__).resolve().parent
STEPS = {"digits": 100, "fashion": 24, "cifar": 8}
LOOP_LIMIT, HELP_LIMIT_S, RERUN_LIMIT_S = 1.03, 0.4, 3.0


# Our trainer against a bare loop


def numpy_order(num_rows: int, batch_size: int, seed: int) -> Iterator[Any]:
    """Yield the rows of each batch, pass after pass, shuffled by NumPy."""
    draw = np.random.default_rng(seed)
    while True:
        order = draw.permutation(num_rows)
        yield from (order[start : start + batch_size] for start in range(0, num_rows, batch_size))


def our_order(num_rows: int, batch_size: int, seed: int) -> Iterator[Any]:
    """Yield the rows of each batch as our trainer takes them."""
    from potstill.train.order import Order

    order = Order(num_rows, batch_size, seed)
    yield from (order.at(step)[1] for step in itertools.count())


def bare_loop(case: Any, dataset: Any, store: Any, steps: int, batches: Iterator[Any], seed: int = 0) -> Any:
    """Do what the trainer does, and no more, as one would write it by hand: same batches, rows, loss and schedule. Returns
    the trained model as it was built."""
    import torch
    from torch.nn import functional as F  # noqa: N812 - the field's own name

    from potstill.data.augment import make_batch
    from potstill.train.loop import predict

    new, train, ops, spec, t = (
        case.model(dataset, seed=seed),
        dataset.splits["train"],
        case.ops(),
        case.training(),
        case.temperature,
    )
    model, preprocess = new.module.train(), new.preprocess
    decayed, plain = ([p for p in model.parameters() if (p.ndim >= 2) is big] for big in (True, False))
    groups = [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=spec.learning_rate, betas=(spec.momentum, 0.999), fused=True)
    warm, steps_per_pass = int(spec.warmup * steps), -(-len(train) // case.batch_size)
    for step, rows in zip(range(steps), batches, strict=False):
        view = step // steps_per_pass % case.views
        batch = make_batch(train, rows, view, ops, 0)
        teacher = torch.from_numpy(store.values(view, rows))
        log_q = F.log_softmax(model(preprocess(batch.inputs_BX)) / t, dim=1)
        loss = F.kl_div(log_q, F.log_softmax(teacher / t, dim=1), reduction="batchmean", log_target=True) * t**2
        optimizer.zero_grad()
        loss.backward()
        share = (step - warm) / max(1, steps - warm)
        factor = (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = spec.learning_rate * factor
        optimizer.step()
    predict(model, preprocess, dataset.splits["validation"])
    return new


def loop(rounds: int) -> dict[str, Any]:
    """Return the trainer's time over the bare loop's, for three students."""
    import _cases as cases
    import torch

    from potstill.stages._parts import set_threads
    from potstill.train.loop import Trainer

    set_threads(1)
    found = {}
    for name, steps in STEPS.items():
        case = cases.CASES[name]
        dataset = case.dataset()
        store = case.store(dataset)

        def ours(case: Any = case, dataset: Any = dataset, store: Any = store, steps: int = steps) -> measure.Seconds:
            torch.use_deterministic_algorithms(True)
            with tempfile.TemporaryDirectory() as work:
                fit = case.fit(dataset, store, steps, Path(work))
                return measure.timed(lambda: Trainer(fit).run())

        def bare(case: Any = case, dataset: Any = dataset, store: Any = store, steps: int = steps) -> measure.Seconds:
            torch.use_deterministic_algorithms(False)
            return measure.timed(
                lambda: bare_loop(
                    case, dataset, store, steps, numpy_order(len(dataset.splits["train"]), case.batch_size, 0)
                )
            )

        seconds = measure.alternate({"potstill": ours, "bare": bare}, rounds)
        params = sum(p.numel() for p in case.model(dataset).module.parameters())
        found[name] = {
            "student": f"{case.student['kind']}, {params:,} parameters, batch {case.batch_size}",
            "step_ms": {k: measure.median([s.cpu / steps * 1e3 for s in v]) for k, v in seconds.items()},
            "cpu": measure.ratio(seconds["potstill"], seconds["bare"], "cpu"),
            "wall": measure.ratio(seconds["potstill"], seconds["bare"], "wall"),
        }
    return found


def loop_part(found: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [
        [
            f"{name}: {f['student']}", measure.shown(f["step_ms"]["potstill"]), measure.shown(f["step_ms"]["bare"]),
            measure.shown(f["cpu"], 3), measure.shown(f["wall"], 3),
            measure.verdict(f["cpu"]["value"] <= LOOP_LIMIT, f"at most {LOOP_LIMIT}", f"{f['cpu']['value']:.3f}"),
        ]
        for name, f in found.items()
    ]  # fmt: skip
    head = ["student", "ours, CPU ms a step", "bare, CPU ms a step", "CPU ratio", "wall ratio", "target"]
    n = next(iter(found.values()))["cpu"]["n"]
    return (
        "## The trainer against a bare PyTorch loop\n\nThe bare loop takes the same augmented batches (`make_batch`), the "
        "same rows of the store, KL at T = 2 from `F.kl_div`, fused AdamW and the same schedule, and evaluates once; it "
        "checks nothing, logs nothing, cannot resume and does not ask for deterministic kernels. Validation and set-up are "
        f"within both. Median of {n} rounds [95 % bootstrap interval].\n\n" + measure.table(head, rows)
    )


# Where a step's time goes


def step(rounds: int) -> dict[str, Any]:
    """Return the median CPU milliseconds of a step and of its parts, and PyTorch's busiest operators."""
    import _cases as cases
    from torch.profiler import ProfilerActivity, profile

    from potstill.stages._parts import set_threads
    from potstill.train.loop import Trainer

    set_threads(1)
    found = {}
    for name, few in STEPS.items():
        case = cases.CASES[name]
        dataset = case.dataset()
        with tempfile.TemporaryDirectory() as work:
            trainer = Trainer(case.fit(dataset, case.store(dataset), 100_000, Path(work)))
            for i in range(5):
                trainer._step(i)
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                for i in range(5, 5 + few):
                    trainer._step(i)
            taken = _time_parts(trainer)
            for i in range(100, 100 + few * rounds):
                trainer._step(i)
        events = sorted(seen.key_averages(), key=lambda e: -e.self_cpu_time_total)
        total = sum(e.self_cpu_time_total for e in events)
        found[name] = {
            "ms": {part: measure.median([1e3 * t for t in times]) for part, times in taken.items()},
            "operators": {e.key: e.self_cpu_time_total / total for e in events[:6]},
            "calls": sum(e.count for e in events if e.key.startswith("aten::")) / few,
        }
    return found


def _time_parts(trainer: Any) -> dict[str, list[float]]:
    """Make a trainer write down what its parts take; the backward pass is what remains of a step."""
    taken: dict[str, list[float]] = {}

    def watch(owner: Any, method: str, part: str) -> None:
        inner, times = getattr(owner, method), taken.setdefault(part, [])

        def timed(*args: Any, **kwargs: Any) -> Any:
            seconds = measure.timed(lambda: inner(*args, **kwargs))
            times.append(seconds.cpu)
            return seconds.result

        setattr(owner, method, timed)

    for owner, method, part in (
        (trainer, "_step", "step"), (trainer, "_inputs", "batch and labels"), (trainer.preprocess, "forward", "normalise"),
        (trainer.module, "forward", "forward"), (trainer.terms, "loss", "loss"), (trainer.optimizer, "step", "optimiser"),
    ):  # fmt: skip
        watch(owner, method, part)
    return taken


def step_part(found: dict[str, Any]) -> str:
    """Return the page's part."""
    parts = ["batch and labels", "normalise", "forward", "loss", "optimiser"]
    rows = []
    for name, f in found.items():
        ms = {part: f["ms"][part]["value"] for part in ["step", *parts]}
        ms["backward and the rest"] = ms["step"] - sum(ms[p] for p in parts)
        shares = [f"{ms[p] / ms['step']:.0%}" for p in (*parts, "backward and the rest")]
        rows.append([name, measure.shown(f["ms"]["step"]), *shares, f"{f['calls']:.0f}"])
    busiest = [f"- {n}: " + ", ".join(f"`{k}` {v:.0%}" for k, v in f["operators"].items()) for n, f in found.items()]
    head = ["student", "CPU ms a step", *parts, "backward and the rest", "PyTorch operators called"]
    return (
        "## Where a step's time goes\n\nMedian CPU time of a step and each part's share of it, the students as above. *batch "
        "and labels*: gather, augment, read the store.\n\n" + measure.table(head, rows)
        + "\n\nBusiest operators by their own time under torch.profiler, forward and backward:\n\n" + "\n".join(busiest)
    )  # fmt: skip


# Our order of rows against NumPy's


def order(rounds: int) -> dict[str, Any]:
    """Return what the bare loop's students gain by NumPy's order over ours, on the peers' plain job; a seed a round."""
    import _cases as cases

    from potstill.stages._parts import set_threads
    from potstill.train.loop import predict
    from potstill.verify.gain import gain

    set_threads(1)
    case = replace(cases.CASES["fashion-job"], augment=(), views=1, codec="float32")
    dataset = case.dataset()
    train, test = dataset.splits["train"], dataset.splits["test"]
    steps = JOB["epochs"] * -(-len(train) // case.batch_size)
    right: dict[str, list[Any]] = {"numpy": [], "ours": []}
    with tempfile.TemporaryDirectory() as work:
        store = case.store(dataset, Path(work) / "labels")
        for seed in range(rounds):
            for name, batches in (("numpy", numpy_order), ("ours", our_order)):
                new = bare_loop(case, dataset, store, steps, batches(len(train), case.batch_size, seed), seed)
                right[name].append(predict(new.module, new.preprocess, test).argmax(1) == np.asarray(test.labels))
    found = gain(*(np.array(right[name], dtype=float) for name in ("numpy", "ours")))
    accuracy = {name: float(np.mean(of)) for name, of in right.items()}
    return {"accuracy": accuracy, "seeds": rounds, **found.as_dict()}


def order_part(f: dict[str, Any]) -> str:
    """Return the page's part."""
    return (
        "## Is our order of rows at fault?\n\nIn the plain job above the peers' students are a little better than ours. The bare "
        "loop, from the same first weights, on the same float32 labels, differs from our trainer in the order of rows alone. "
        f"Over {f['seeds']} seeds it reaches {f['accuracy']['numpy']:.1%} with NumPy's permutations and "
        f"{f['accuracy']['ours']:.1%} with ours: {f['points']:+.2f} points [{f['low']:+.2f}, {f['high']:+.2f}], "
        f"{'not resolved' if f['verdict'] == 'unresolved' else f['verdict']}."
    )


# Start-up


def startup(rounds: int) -> dict[str, Any]:
    """Return the seconds of `potstill --help` and of a rerun of a finished run."""
    recipe = {
        "name": "startup", "data": {"kind": "digits"},
        "teacher": {"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 4}, "training": {"epochs": 10, "batch_size": 32}},
        "student": {"kind": "ds-cnn", "width": 8, "depth": 2, "downsample": 1},
        "steps": [{"kind": "distill", "objectives": [{"kind": "soft-label"}], "training": {"epochs": 5, "batch_size": 32}}],
        "controls": ["hard-label"], "seeds": 2,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(json.dumps(recipe))
        python = [sys.executable, "-m", "potstill"]
        rerun = [*python, "run", str(path), "--out", str(Path(folder) / "run")]
        env = {**os.environ, "POTSTILL_CACHE": str(Path(folder) / "cache")}

        def command(*argv: str) -> measure.Seconds:
            return measure.timed_child(list(argv), env)

        command(*rerun)
        seconds = measure.alternate(
            {"help": lambda: command(*python, "--help"), "rerun": lambda: command(*rerun)}, rounds
        )
        said = subprocess.run(
            [*python, "--help"], env={**env, "PYTHONPROFILEIMPORTTIME": "1"}, capture_output=True, text=True
        )
    found = {k: {c: measure.median([getattr(s, c) for s in v]) for c in ("wall", "cpu")} for k, v in seconds.items()}
    return {**found, "help_loads_torch": any(line.endswith(" torch") for line in said.stderr.splitlines())}


def startup_part(found: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = [
        [
            what, measure.shown(found[key]["wall"]), measure.shown(found[key]["cpu"]),
            measure.verdict(found[key]["cpu"]["value"] < limit, f"below {limit} s", f"{found[key]['cpu']['value']:.2f} s"),
        ]
        for what, key, limit in (
            ("`potstill --help`", "help", HELP_LIMIT_S), ("rerun of a finished run", "rerun", RERUN_LIMIT_S),
        )
    ]  # fmt: skip
    torch_free = "loads torch: MISSED" if found["help_loads_torch"] else "loads no torch"
    n = found["help"]["cpu"]["n"]
    return (
        f"## Start-up\n\nFresh processes, {n} rounds, median [95 % interval]. `--help` {torch_free}. The target is "
        "judged on CPU seconds; the wall clock has the other work on this machine in it.\n\n"
        + measure.table(["command", "wall s", "CPU s", "target"], rows)
    )


def main() -> None:
    """Run what was asked, keep the rest, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="loop, step, peers, order, startup; default all")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--job", choices=list(JOBS), help="of peers; default all")
    parser.add_argument("--venvs", type=Path, default=measure.KEPT)
    given = parser.parse_args()
    record = measure.kept("throughput")
    run = {
        "loop": lambda: loop(given.rounds or 31),
        "step": lambda: step(given.rounds or 5),
        "peers": lambda: peers(given.rounds or 3, given.venvs, given.job, record.get("peers", {}).get("figures", {})),
        "order": lambda: order(given.rounds or 10),
        "startup": lambda: startup(given.rounds or 9),
    }
    seeds = {"peers": f"0 to {(given.rounds or 3) - 1}", "order": f"0 to {(given.rounds or 10) - 1}"}
    for part in given.parts or list(run):
        record[part] = {"figures": run[part](), "machine": measure.machine(seeds.get(part, "0"))}
        measure.write("throughput", "Speed of training", SAY, record)


SAY = {"loop": loop_part, "step": step_part, "peers": peers_part, "order": order_part, "startup": startup_part}

if __name__ == "__main__":
    main()
