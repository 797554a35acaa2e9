"""Does distilling a translator's attention beat distilling its output at equal latency? Multi30k, German to English.

Usage: POTSTILL_DATA=... python benchmarks/translation.py work [--hours H] [--only ARM ...] | time | page | smoke

The claim to test, made elsewhere on other data: BLEU 24.1 without a teacher, 26.3 with its output distilled, 27.9 with its
attention, at 85, 83 and 87 ms. `work` trains the teacher once, then every arm with every seed, a line of the ledger
docs/results/translation.jsonl for each finished training; killed anywhere and started again, it goes on. `time` times teacher and students by turns, sentence
by sentence, and adds a line. `page` writes docs/results/translation.md and .json from the ledger. Run it in a clone of its own: changed sources are other trainings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
LEDGER = RESULTS / "translation.jsonl"
SEEDS = (0, 1, 2)
TRUTH: dict[str, Any] = {"kind": "token-hard-label"}
ARMS: dict[str, dict[str, Any]] = {
    "control": {"objectives": [TRUTH]},
    "output": {"objectives": [{"kind": "token-soft-label", "weight": 0.5}, {**TRUTH, "weight": 0.5}]},
    "sequence-level": {"objectives": [{"kind": "sequence-level"}], "codec": {"kind": "token-ids"}},
    "attention + hidden": {"objectives": [TRUTH, {"kind": "attention-kl"}, {"kind": "hidden-l2"}]},
}
CLAIM = {"control": 24.1, "output": 26.3, "attention + hidden": 27.9}
BEAM, TIMED, TIMED_SEED = 4, 40, 1
"""Texts followed when the student searches too; sentences that are timed, one at a time; whose students."""


def recipe_of(arm: str, seed: int, smoke: bool = False) -> Any:
    """Return the recipe of one training; every arm has the same data, teacher, student and training."""
    from potstill.recipe.load import from_text

    raw = yaml.safe_load(os.path.expandvars((ROOT / "recipes" / "multi30k.yaml").read_text()))
    raw |= {"name": "multi30k", "seed": 0, "seeds": seed + 1, "controls": [], "export": []}
    raw["steps"][0]["objectives"] = ARMS[arm]["objectives"]
    raw["labels"]["codec"] = ARMS[arm].get("codec", raw["labels"]["codec"])
    if smoke:
        raw["data"]["limit"] = 1000
        for side in ("validation", "test"):
            raw["data"].pop(f"{side}_files")
        raw["data"]["test"] = 0.01
        small = {"heads": 4, "encoder": 1, "decoder": 1, "dropout": 0.0}
        pair = {"vocabulary_size": 500, "max_tokens": 40}
        raw["teacher"]["model"] |= {**small, "dim": 64, "input": {**pair, "beam": BEAM}}
        raw["student"] |= {**small, "dim": 32, "input": pair}
        raw["teacher"]["training"] |= {"epochs": 10, "batch_size": 16, "learning_rate": 0.003, "evaluate_every": 10}
        raw["steps"][0]["training"] |= {"epochs": 2, "batch_size": 16, "evaluate_every": 2}
    return from_text(yaml.safe_dump(raw), f"{arm}.yaml", ROOT)


class Bench:
    """Trains and measures one arm and seed at a time."""

    def __init__(self, ledger: Path, smoke: bool = False) -> None:
        from potstill.pipeline.cache import ArtifactCache, default_root
        from potstill.stages import RunOptions

        self.ledger, self.smoke = ledger, smoke
        self.cache = ArtifactCache(default_root())
        self.options = RunOptions(self.cache.root, threads=1)

    def done(self) -> set[tuple[str, int]]:
        """Return what the ledger has."""
        return {(line["arm"], line["seed"]) for line in read(self.ledger)}

    def run(self, arm: str, seed: int) -> dict[str, Any]:
        """Return the ledger's line of one training, the teacher's first where arm is "teacher"."""
        from potstill.core.progress import Progress
        from potstill.pipeline.execute import Executor
        from potstill.pipeline.graph import build

        graph = build(
            recipe_of("control" if arm == "teacher" else arm, seed, self.smoke), self.cache.digests, self.cache
        )
        wanted = "evaluate/teacher" if arm == "teacher" else f"evaluate/student/seed{seed}"
        executor, names = Executor(graph, self.cache, self.options, Progress("plain")), needed(graph, wanted)
        for name in names:
            executor.run(graph.nodes[name])
        last = "teach" if arm == "teacher" else next(n for n in reversed(names) if n.startswith("steps/"))
        folders = {n: self.cache.path(graph.nodes[n].key) for n in ("prepare", last, wanted)}
        seconds = {n: json.loads((self.cache.path(graph.nodes[n].key) / "artifact.json").read_text())["seconds"]
                   for n in names if (self.cache.path(graph.nodes[n].key) / "artifact.json").exists()}  # fmt: skip
        return {
            "arm": arm, "seed": seed, "key": graph.nodes[last].key, "seconds": seconds,
            "date": datetime.now(UTC).isoformat(timespec="minutes"), "commit": git("rev-parse", "--short", "HEAD"),
            **judged(folders["prepare"], folders[last], folders[wanted]),
        }  # fmt: skip


def needed(graph: Any, wanted: str) -> list[str]:
    """Return a node and all that it builds on, in order."""
    found: set[str] = set()
    todo = [wanted]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += graph.nodes[name].inputs.values()
    return [name for name in graph.nodes if name in found]


def judged(prepared: Path, trained: Path, evaluated: Path) -> dict[str, Any]:
    """Return size, scores by greedy and beam search on the test split, and milliseconds a sentence."""
    import torch

    from potstill.core.tensorfile import open_arrays
    from potstill.data.dataset import Dataset
    from potstill.models.tools.saved import load_model
    from potstill.tasks import Truth
    from potstill.train.loop import predict

    torch.set_num_threads(1)
    dataset, model = Dataset.open(prepared), load_model(trained)
    truth, test, pair = Truth.of(dataset, "test"), dataset.splits["test"], model.preprocess
    out: dict[str, Any] = {"params": sum(p.numel() for p in model.module.parameters())}
    own, ways = pair.writing, {"greedy": 1, f"beam {BEAM}": BEAM}
    for way, beam in ways.items():
        pair.writing = replace(own, beam=beam)
        kept = np.asarray(open_arrays(evaluated / "outputs.safetensors")["outputs"])
        outputs = kept if beam == own.beam else predict(model.module, pair, test)
        out[way] = scores(outputs, truth)
    return out


def scores(outputs: Any, truth: Any) -> dict[str, Any]:
    """Return the task's metrics with the counts that intervals are made of."""
    from potstill.tasks import registry as tasks
    from potstill.tasks._translation import bleu_counts, sentence_chrf, strings

    written, wanted = strings(outputs), strings(np.asarray(truth.targets_NHV))
    found = tasks["translation"]().metrics(outputs, truth)
    chrf = [round(float(v), 5) for v in sentence_chrf(written, wanted)]
    return {**found, "counts": bleu_counts(written, wanted).tolist(), "sentence_chrfs": chrf}


def timed(bench: Bench) -> dict[str, Any]:
    """Return the ledger's line of times: milliseconds a sentence of the teacher and of one student of each arm, in one process.

    One sentence at a time on one thread, tokenizer and search included. Each sentence goes through all models in turn, five
    times; the least of its times counts, so what else the machine did weighs on none of them more than on another.
    """
    import torch

    from potstill.data.dataset import Dataset
    from potstill.models.tools.saved import load_model
    from potstill.pipeline.graph import build

    torch.set_num_threads(1)
    graphs = {arm: build(recipe_of(arm, TIMED_SEED, bench.smoke), bench.cache.digests, bench.cache) for arm in ARMS}
    folders = {
        arm: bench.cache.path(g.nodes[f"steps/student/seed{TIMED_SEED}/1-distill"].key) for arm, g in graphs.items()
    }
    nodes = graphs["control"].nodes
    models = {n: load_model(f) for n, f in {"teacher": bench.cache.path(nodes["teach"].key), **folders}.items()}
    test = Dataset.open(bench.cache.path(nodes["prepare"].key)).splits["test"]
    rows = torch.from_numpy(np.asarray(test.samples[:TIMED]).copy())
    line: dict[str, Any] = {"arm": "times", "seed": TIMED_SEED, "commit": git("rev-parse", "--short", "HEAD"),
                            "date": datetime.now(UTC).isoformat(timespec="minutes")}  # fmt: skip
    for way, beam in {"greedy": 1, f"beam {BEAM}": BEAM}.items():
        best = {name: np.full(len(rows), np.inf) for name in models}
        for model in models.values():
            model.preprocess.writing = replace(model.preprocess.writing, beam=beam)
        for _, i, (name, model) in itertools.product(range(5), range(len(rows)), models.items()):
            started = time.perf_counter()
            model.preprocess.answers(model.module, rows[i : i + 1])
            best[name][i] = min(best[name][i], 1e3 * (time.perf_counter() - started))
        line[way] = {name: float(np.median(ms)) for name, ms in best.items()}
    return line


def read(ledger: Path) -> list[dict[str, Any]]:
    """Return the whole lines of the ledger; the last may be torn."""
    out = []
    for line in ledger.read_text().splitlines() if ledger.exists() else []:
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def add(ledger: Path, line: dict[str, Any]) -> None:
    """Add a line to the ledger."""
    with ledger.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def work(bench: Bench, hours: float, only: list[str]) -> None:
    """Train what the ledger lacks, seed by seed, until the time is over."""
    until = time.monotonic() + 3600 * hours
    todo = [("teacher", 0), *((arm, seed) for seed in SEEDS for arm in ARMS if not only or arm in only)]
    for arm, seed in todo[: 5 if bench.smoke else None]:
        if (arm, seed) in bench.done():
            continue
        if time.monotonic() > until:
            print(f"time is over before {arm} {seed}: run it again", flush=True)
            return
        line = bench.run(arm, seed)
        add(bench.ledger, line)
        print(
            f"{arm} seed {seed}: BLEU {line['greedy']['bleu']:.2f} greedy, {line[f'beam {BEAM}']['bleu']:.2f} beam",
            flush=True,
        )


def git(*args: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def compared(lines: list[dict[str, Any]], way: str) -> list[dict[str, Any]]:
    """Return, for each arm, BLEU over seeds and its paired difference to the control.

    Intervals resample test sentences, the same draws for all; the mean over seeds is taken within each draw. What other seeds
    would add is seen in `per_seed` and in the verdict on chrF, which joins seeds and sentences.
    """
    from potstill.tasks._translation import interval, resampled
    from potstill.verify.gain import gain

    found = {(line["arm"], line["seed"]): line for line in lines}
    seeds = [s for s in SEEDS if all((arm, s) in found for arm in ARMS)]
    draws = {arm: np.mean([resampled(np.array(found[arm, s][way]["counts"])) for s in seeds], axis=0) for arm in ARMS}
    chrf = {arm: np.array([found[arm, s][way]["sentence_chrfs"] for s in seeds]) for arm in ARMS}
    out = []
    for arm in ARMS:
        runs = [found[arm, s] for s in seeds]
        per_seed = [r[way]["bleu"] for r in runs]
        gains = [r[way]["bleu"] - found["control", r["seed"]][way]["bleu"] for r in runs]
        out.append({
            "arm": arm, "seeds": seeds, "bleu": float(np.mean(per_seed)), "per_seed": per_seed, "interval": interval(draws[arm]),
            "chrf": float(np.mean([r[way]["chrf"] for r in runs])), "ms": found["times", TIMED_SEED][way][arm],
            "gain": float(np.mean(gains)), "gain_per_seed": gains, "gain_interval": interval(draws[arm] - draws["control"]),
            "chrf_gain": None if arm == "control" else gain(chrf[arm], chrf["control"]).as_dict(), "claimed": CLAIM.get(arm),
        })  # fmt: skip
    return out


def page(ledger: Path, out: Path) -> None:
    """Write the page and its figures."""
    from potstill.core.fingerprint import environment

    lines = read(ledger)
    ways = {way: compared(lines, way) for way in ("greedy", f"beam {BEAM}")}
    teacher = next(line for line in lines if line["arm"] == "teacher")
    student, times = (next(line for line in lines if line["arm"] == name) for name in ("control", "times"))
    text = [
        "# Translation: output, sequences or attention?",
        "",
        __doc__.split("\n\n")[2].split("`work`")[0].strip(),
        "",
    ]
    versions = environment()
    text += [f"Command: `python benchmarks/translation.py work`, then `page`. {versions['cpu']}, {versions['cores']} cores, one "
             f"thread a training; commits {', '.join(sorted({x['commit'] for x in lines}))}; signature "
             f"`{teacher['greedy']['bleu_signature']}`.", "",
             f"Teacher: {teacher['params']:,} parameters, BLEU {teacher['greedy']['bleu']:.1f} greedy, "
             f"{teacher[f'beam {BEAM}']['bleu']:.1f} with beam {BEAM}; {times['greedy']['teacher']:.1f} and "
             f"{times[f'beam {BEAM}']['teacher']:.1f} ms a sentence. Student: {student['params']:,} parameters, "
             f"{teacher['params'] / student['params']:.1f} times smaller; all arms the same model, so latency is equal but for "
             "what they write.", ""]  # fmt: skip
    for way, rows in ways.items():
        text += [f"## {way.capitalize()}", "", "| arm | BLEU, 95 % | by seed | chrF | gain over control, 95 % | chrF verdict | ms | claimed |",
                 "|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for r in rows:
            verdict = "" if r["chrf_gain"] is None else f"{r['chrf_gain']['points']:+.2f}: {r['chrf_gain']['verdict']}"
            low, high = r["gain_interval"]
            gained = "" if r["arm"] == "control" else f"{r['gain']:+.2f} [{low:+.2f}, {high:+.2f}]"
            by_seed = " ".join(f"{v:.1f}" for v in r["per_seed"])
            text.append(f"| {r['arm']} | {r['bleu']:.2f} [{r['interval'][0]:.2f}, {r['interval'][1]:.2f}] | {by_seed} | "
                        f"{r['chrf']:.1f} | {gained} | {verdict} | {r['ms']:.1f} | {r['claimed'] or ''} |")  # fmt: skip
        text.append("")
    text += [f"Seeds: {len(ways['greedy'][0]['seeds'])}. BLEU intervals: paired bootstrap over 1,000 test sentences, seeds fixed. The "
             "verdict is that of every report, on the chrF of a sentence, and joins seeds and sentences. Latency, measured: one sentence at "
             "a time, PyTorch, one thread, tokenizer and search included; each sentence through all models in turn, the least of five rounds."]  # fmt: skip
    (out / "translation.md").write_text("\n".join(text) + "\n")
    bare = [{k: v if not isinstance(v, dict) else {a: b for a, b in v.items() if a not in ("counts", "sentence_chrfs")}
             for k, v in line.items()} for line in lines]  # fmt: skip
    body = {"machine": versions, "lines": bare, "compared": ways}
    (out / "translation.json").write_text(json.dumps(body, indent=1) + "\n")
    print("\n".join(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["work", "time", "page", "smoke"])
    parser.add_argument("--hours", type=float, default=math.inf)
    parser.add_argument("--only", nargs="*", default=[], choices=[*ARMS])
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    given = parser.parse_args()
    if given.what == "page":
        page(given.ledger, RESULTS)
    elif given.what == "work":
        work(Bench(given.ledger), given.hours, given.only)
    elif given.what == "time":
        add(given.ledger, timed(Bench(given.ledger)))
    else:
        global SEEDS, TIMED_SEED
        SEEDS, TIMED_SEED = (0,), 0
        work(Bench(given.ledger, smoke=True), given.hours, [])
        add(given.ledger, timed(Bench(given.ledger, smoke=True)))
        page(given.ledger, given.ledger.parent)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
