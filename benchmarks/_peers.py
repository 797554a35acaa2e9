"""The whole job against other distillers, each in its own virtual environment; throughput.py's part `peers`."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _measure as measure
import numpy as np

HERE = Path(__file__).resolve().parent
PEER_LIMIT = 1.2
PEERS = ("torchdistill", "modelopt", "textbrewer")
JOB = {"epochs": 5, "rows": 4500}
JOBS: dict[str, tuple[bool, bool, tuple[str, ...]]] = {
    "augmented": (True, False, PEERS),
    "plain": (False, False, PEERS),
    "plain, channels last": (False, True, ("textbrewer",)),
}
"""Name -> (augment, channels last for the peers too, which peers: the last job is for the one that keeps outputs)."""


def write_job(folder: Path, augment: bool, channels_last: bool, seed: int) -> Path:
    """Write what every peer reads: arrays, first weights, settings."""
    import _cases as cases
    from safetensors.torch import save_file

    case = cases.CASES["fashion-job"]
    dataset = case.dataset()
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        np.save(folder / f"{split}_images.npy", np.asarray(dataset.splits[split].samples))
        np.save(folder / f"{split}_labels.npy", np.asarray(dataset.splits[split].labels))
    new = case.model(dataset, seed=seed)
    for name, module in (("student", new.module), ("teacher", case.model(dataset, "teacher").module)):
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, folder / f"{name}.safetensors")
    training = case.training()
    job = {
        "epochs": JOB["epochs"], "batch_size": case.batch_size, "temperature": case.temperature, "augment": augment,
        "shift": 2, "seed": seed, "threads": 1, "channels": dataset.shape[2], "classes": len(dataset.classes),
        "mean": dataset.stats.mean, "std": dataset.stats.std, "rows": len(dataset.splits["train"]),
        "test_rows": len(dataset.splits["test"]), "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay, "warmup": training.warmup, "channels_last": channels_last,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def ours(augment: bool, seed: int) -> None:
    """Do the whole job as the label and distill stages do it, and print its seconds and accuracy as JSON."""
    from dataclasses import replace

    import _cases as cases

    from potstill.stages._parts import set_threads
    from potstill.train.loop import Trainer, predict

    set_threads(1)
    case = cases.CASES["fashion-job"]
    case = case if augment else replace(case, augment=(), views=1)
    dataset = case.dataset()
    steps = JOB["epochs"] * math.ceil(len(dataset.splits["train"]) / case.batch_size)
    with tempfile.TemporaryDirectory() as work:

        def job() -> Any:
            store = case.store(dataset, Path(work) / "labels")
            fit = case.fit(dataset, store, steps, Path(work), every=steps // JOB["epochs"], seed=seed)
            Trainer(fit).run()
            store.verify()
            return fit

        seconds = measure.timed(job)
    fit, test = seconds.result, dataset.splits["test"]
    right = predict(fit.module, fit.preprocess, test).argmax(1) == np.asarray(test.labels)
    version = importlib.metadata.version("potstill")
    found = {"wall": seconds.wall, "cpu": seconds.cpu, "accuracy": float(right.mean()), "version": version}
    sys.stdout.write(json.dumps({**found, "torch": importlib.metadata.version("torch")}) + "\n")


def distiller(python: Path, script: Path, *arguments: str) -> dict[str, Any]:
    """Run one job in a fresh process and return what it reports. Raises RuntimeError with its last words."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([python, script, *arguments], capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def peers(rounds: int, venvs: Path, only: str | None, found: dict[str, Any]) -> dict[str, Any]:
    """Return `found` with each peer's time over ours for every job, or for one of them."""
    found = {"absent": found.get("absent", {}), "jobs": found.get("jobs", {})}
    for job, (augment, channels_last, names) in JOBS.items():
        if only not in (None, job):
            continue
        runs: dict[str, list[dict[str, Any]]] = {"potstill": [], **{p: [] for p in names}}
        for i in range(rounds):
            folder = write_job(
                measure.KEPT / f"job-{job.replace(', ', '-').replace(' ', '-')}", augment, channels_last, seed=i
            )
            for name in list(runs) if i % 2 == 0 else list(runs)[::-1]:
                try:
                    if name == "potstill":
                        flag = "ours-augmented" if augment else "ours"
                        runs[name].append(distiller(Path(sys.executable), Path(__file__), flag, str(i)))
                    elif name not in found["absent"]:
                        python = venvs / f"venv-{name}" / "bin" / "python"
                        runs[name].append(distiller(python, HERE / "peers" / f"with_{name}.py", str(folder)))
                except (OSError, RuntimeError) as err:
                    if name == "potstill":
                        raise
                    found["absent"][name] = str(err)
        found["jobs"][job] = {name: _peer(r, runs["potstill"]) for name, r in runs.items() if r}
    return found


def _peer(runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    mine, theirs = ([measure.Seconds(r["wall"], r["cpu"]) for r in group] for group in (base, runs))
    return {
        "cpu_s": measure.median([r["cpu"] for r in runs]),
        "cpu": measure.ratio(theirs, mine, "cpu"),
        "wall": measure.ratio(theirs, mine, "wall"),
        "accuracy": [r["accuracy"] for r in runs],
        "points": measure.median([100 * (t["accuracy"] - m["accuracy"]) for t, m in zip(runs, base, strict=True)]),
        "version": runs[0]["version"],
        "torch": runs[0]["torch"],
    }


def peers_part(found: dict[str, Any]) -> str:
    """Return the page's part."""
    rows = []
    for job, of in found["jobs"].items():
        for name, f in of.items():
            ratio, met = f["cpu"], f["cpu"]["value"] >= PEER_LIMIT
            rows.append([
                job, f"{name} {f['version']} (torch {f['torch']})", measure.shown(f["cpu_s"], 1),
                *(["1", "1"] if name == "potstill" else [measure.shown(ratio), measure.shown(f["wall"])]),
                f"{np.mean(f['accuracy']):.1%}",
                "" if name == "potstill" else f"{f['points']['value']:+.1f} [{f['points']['low']:+.1f}, {f['points']['high']:+.1f}]",
                "" if name == "potstill" else measure.verdict(met, f"at least {PEER_LIMIT}", f"{ratio['value']:.2f}"),
            ])  # fmt: skip
    head = [
        "job",
        "distiller",
        "CPU s",
        "its CPU over ours",
        "its wall over ours",
        "test accuracy",
        "points over ours",
        "target",
    ]
    absent = "".join(f"\n\n**{name}** does not run here: `{why}`" for name, why in found["absent"].items())
    n = next(iter(next(iter(found["jobs"].values())).values()))["cpu"]["n"]
    return (
        f"## The whole job against other distillers\n\nFashion-MNIST, {JOB['rows']:,} training rows, teacher ResNet-8 of "
        f"width 16 with the same weights, student of 4,138 parameters with the same first weights, KL at T = 2 times T², "
        f"{JOB['epochs']} epochs of batch 128, fused AdamW, one thread; from arrays on disk to a trained student, teacher "
        "passes included, imports and the test left out. Ours is the label and the distill stage, with validation, "
        "SHA-256 of every shard and checkpoints. The peers read rows through a PyTorch Dataset and DataLoader in their own "
        "process. *augmented*: shift by 2 and flip; ours labels 2 views, the peers must run the teacher with every batch. "
        "*plain*: no augmentation, so that outputs may be kept: TextBrewer keeps them in memory, torchdistill and ModelOpt "
        "have no such thing. *channels last*: the peers' models in the memory layout that ours take by themselves. "
        f"{n} rounds, each with its own seed and first weights, the same for all; medians [95 % bootstrap interval], of "
        "accuracy the mean and the median difference in points. Drivers: benchmarks/peers.\n\n"
        + measure.table(head, rows) + absent
    )  # fmt: skip


if __name__ == "__main__":  # a fresh process for each of our own runs
    ours(sys.argv[1] == "ours-augmented", int(sys.argv[2]))
