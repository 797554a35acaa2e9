"""Every figure of the report, computed from finished artifacts. Shapes: S seeds, N test rows, K classes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import artifact, atomic
from potstill.core.fingerprint import environment, package_versions
from potstill.core.tensorfile import open_arrays
from potstill.data.dataset import Dataset
from potstill.pipeline._judged import forecasts, mean_scores, scores, sentences
from potstill.pipeline._quantised import in_runtime, quantised
from potstill.pipeline._robust import robustness
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.execute import Outcome
from potstill.pipeline.graph import ALONE, STUDENT, Graph, last_step
from potstill.pipeline.shown import shown
from potstill.stages.verdict import NAME as VERDICT
from potstill.tasks import Truth
from potstill.verify.gain import accuracy_interval, gain, independent, one_group

_CURVE_POINTS = 200
_DROP = 1.0
"""Points that quantising may cost without a word of caution."""
_SAMPLES = 24


class Results:
    """Reads a finished graph's artifacts, every byte verified first, and puts `results.json` together."""

    def __init__(self, graph: Graph, cache: ArtifactCache) -> None:
        self.graph, self.cache, self.recipe = graph, cache, graph.recipe
        for node in graph.nodes.values():
            if node.spec.kind not in ("label", "features"):  # only their manifests are read here, each with a checksum
                artifact.verify(cache.path(node.key))
        self.dataset = Dataset.open(self.folder("prepare"))
        self.truth = Truth.of(self.dataset, "test")
        self.seeds = list(range(self.recipe.seed, self.recipe.seed + self.recipe.seeds))

    def folder(self, node: str) -> Path:
        """Return the artifact of a node."""
        return self.cache.path(self.graph.nodes[node].key)

    def manifest(self, node: str) -> dict[str, Any]:
        """Return the manifest of a node's artifact."""
        return artifact.manifest(self.folder(node))

    def facts(self, node: str) -> dict[str, Any]:
        """Return what a node's stage said of its work."""
        out: dict[str, Any] = self.manifest(node)["facts"]
        return out

    def outputs(self, node: str) -> NDArray[Any]:
        """Return [N, K] test outputs that an evaluate or verify node left."""
        return np.asarray(open_arrays(self.folder(node) / "outputs.safetensors")["outputs"])

    def correct(self, outputs_NK: NDArray[Any]) -> NDArray[Any]:
        """Return [N], each row's share of the headline metric."""
        return self.recipe.task.correct(outputs_NK, self.truth)

    def assemble(self, recipe_text: str, outcomes: list[Outcome]) -> dict[str, Any]:
        """Return the whole of results.json, but for the pictures."""
        recipe = self.recipe
        prepared, taught, assistants = self.facts("prepare"), self.facts("teach"), self._assistants()
        student_outputs = self.outputs(f"evaluate/{STUDENT}/seed{recipe.seed}")
        teacher_outputs = self.outputs("evaluate/teacher")
        first = last_step(self.graph, STUDENT, recipe.seed)
        arms = {arm: self._arm_correct(arm) for arm in (STUDENT, *recipe.controls)}
        return {
            "schema": 1,
            "name": recipe.name,
            "description": recipe.description or None,
            "potstill": package_versions(("potstill",))["potstill"],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "recipe_sha256": recipe_digest(self.graph),
            "recipe": recipe_text,
            "task": recipe.task.kind,
            "metric": recipe.task.called,
            "classes": self.dataset.classes,
            "notes": self._notes(taught),
            "data": {k: prepared[k] for k in ("source", "sample", "rows", "labelled", "shape", "rate_hz", "target_shape", "digest")},
            "models": {
                "teacher": _model(taught.get("profile"), taught, self.recipe.teacher.kind),
                **{a["name"]: a["model"] for a in assistants},
                "student": _model(self.facts(first).get("profile"), self.facts(first), recipe.student.kind),
            },
            "teacher": {**_teacher_facts(taught), **self._scores(_logits(teacher_outputs, taught["output"]))},
            "assistants": assistants,
            "arms": [self._arm(arm, correct) for arm, correct in arms.items()],
            "auto": self._auto(),
            "pruning": self._pruning(),
            "gains": [self._gain(arm, arms) for arm in recipe.controls],
            "student": {
                "sha256": self.manifest(first)["files"]["student.safetensors"]["sha256"],
                "seed": recipe.seed,
                **self._scores(student_outputs),
            },
            **self._looked_at(_logits(teacher_outputs, taught["output"]), student_outputs),
            "curves": self._curves(),
            "store": self._store("label") if "label" in self.graph.nodes else None,
            "features": [self._store(n.name) for n in self.graph.named("features/")],
            "quantised": quantised(self),
            "robustness": robustness(self),
            "artifacts": [self._exported(e.kind, arms[STUDENT][0]) for e in recipe.export],
            "verdicts": [atomic.read_json(self.folder(n.name) / VERDICT) for n in self.graph.named("verdict/")],
            "environment": environment(),
            "fingerprint": self.manifest(first)["fingerprint"],
            "stages": [
                {"id": o.name, "stage": self.graph.nodes[o.name].spec.kind, "key": o.key,
                 "seconds": self.manifest(o.name)["seconds"], "cached": o.cached}
                for o in outcomes
            ],
        }  # fmt: skip

    def _arm_correct(self, arm: str) -> NDArray[Any]:
        return np.stack([self.correct(self.outputs(f"evaluate/{arm}/seed{s}")) for s in self.seeds])

    def _independent(self, correct_SN: NDArray[Any]) -> NDArray[Any]:
        """Return one value a group of rows where the test rows belong to groups: rows of one group are no independent ones."""
        return independent(correct_SN, self.dataset.splits["test"].groups, self.truth)

    def _arm(self, arm: str, correct_SN: NDArray[Any]) -> dict[str, Any]:
        facts = [self._trained(arm, s) for s in self.seeds]
        runs = [self.outputs(f"evaluate/{arm}/seed{s}") for s in self.seeds]
        return {
            "name": arm,
            "control": arm != STUDENT,
            "accuracy": self.interval(correct_SN),
            "per_seed": [float(v) for v in correct_SN.mean(axis=1)],
            **mean_scores(self.recipe.task, runs, self.truth),
            "seeds": self.seeds,
            **facts[0],
            "seconds": round(sum(f["seconds"] for f in facts), 3),
        }

    def _trained(self, arm: str, seed: int) -> dict[str, Any]:
        """Return steps, seconds and taps of all trainings that an arm's model went through."""
        facts = [self.facts(n.name) for n in self.graph.named(f"steps/{arm}/seed{seed}/")]
        if "choice" in facts[-1]:  # the facts of what was chosen
            facts = facts[-1:]
        taps = {name: pairs for f in facts for name, pairs in f.get("taps", {}).items()}
        return {"steps": sum(f["steps"] for f in facts), "seconds": sum(f["seconds"] for f in facts), "taps": taps}

    def _pruning(self) -> list[dict[str, Any]]:
        """Return what each prune step did to the published student."""
        keys = ("importance", "plan", "recalibrated")
        nodes = self.graph.named(f"steps/{STUDENT}/seed{self.seeds[0]}/")
        return [
            {
                "step": i,
                "start": "teacher" if i > 1 and nodes[i - 2].spec.kind == "inherit" else "student",
                **{k: self.facts(node.name)[k] for k in keys},
            }
            for i, node in enumerate(nodes, 1)
            if node.spec.kind == "prune"
        ]

    def _gain(self, control: str, arms: dict[str, NDArray[Any]]) -> dict[str, Any]:
        alone = self.dataset.splits["test"].groups is None or one_group(self.dataset.splits["test"].groups, self.truth)
        rows = "test rows" if alone else "groups of test rows"
        student, other = (self._independent(arms[name]) for name in (STUDENT, control))
        found = {"control": control, **gain(student, other, rows).as_dict()}
        if control == ALONE and len(self._kept_alone()) == len(self.seeds):  # the same weights: nothing was compared
            found |= {"low": 0.0, "high": 0.0, "verdict": "no gain", "more_seeds": None, "detail": "the student is this "
                      "control, chosen on the validation rows: 0 by construction"}  # fmt: skip
        return found

    def _assistants(self) -> list[dict[str, Any]]:
        """Return name, accuracy, size and loss of each assistant, in the order of the steps."""
        nodes = self.graph.named("assist/")
        out = []
        for node in nodes:
            number, facts = node.name.split("/")[1], self.facts(node.name)
            store = self.facts(f"label/{number}") if f"label/{number}" in self.graph.nodes else None
            out.append({
                "name": "assistant" if len(nodes) == 1 else f"assistant {number}", "step": int(number),
                "accuracy": self.interval(self.correct(self.outputs(f"evaluate/assistant/{number}"))[None]),
                "steps": facts["steps"], "seconds": facts["seconds"], "store": store,
                "model": _model(facts.get("profile"), facts, facts["model"]),
            })  # fmt: skip
        return out

    def _auto(self) -> list[dict[str, Any]] | None:
        """Return, for each seed, the races of its steps and the last choice; None where objectives are stated."""
        out = []
        for seed in self.seeds:
            nodes = self.graph.named(f"steps/{STUDENT}/seed{seed}/")
            facts = [self.facts(n.name) for n in nodes]
            if "choice" in facts[-1]:
                races = [f["race"] for f in facts if "race" in f]
                steps = facts[-2]["steps"] or facts[-1]["steps"]
                out.append({"seed": seed, "races": races, "choice": facts[-1]["choice"], "steps": steps})
        return out or None

    def _kept_alone(self) -> list[int]:
        """Return the seeds whose control was kept as the student."""
        return [entry["seed"] for entry in self._auto() or () if entry["choice"]["chosen"] == "control"]

    def _scores(self, outputs: NDArray[Any]) -> dict[str, Any]:
        return {
            "accuracy": {**self.interval(self.correct(outputs)[None]), "source": "measured"},
            **scores(self.recipe.task, outputs, self.truth),
        }

    def interval(self, correct_SN: NDArray[Any]) -> dict[str, Any]:
        """Return the headline with its interval over seeds and test rows."""
        value, low, high = accuracy_interval(self._independent(correct_SN))
        return {"value": value, "low": low, "high": high, "unit": self.recipe.task.unit}

    def _looked_at(self, teacher: NDArray[Any], student: NDArray[Any]) -> dict[str, Any]:
        """Return the test rows that the report shows."""
        if self.recipe.task.output == "flags":
            return {"disagreements": []}
        if self.recipe.task.output == "values":
            return {"disagreements": [], "forecasts": forecasts(self.dataset, self.truth, teacher, student)}
        if self.recipe.task.output == "tokens":
            return {
                "disagreements": [],
                "sentences": sentences(self.dataset, self.truth, teacher, student, self.recipe.task),
            }
        return {"disagreements": self._disagreements(teacher, student)}

    def _notes(self, taught: dict[str, Any]) -> list[dict[str, str]]:
        notes = []
        if taught["saw_hidden_labels"]:
            notes.append(("caution", "The teacher was trained on labels that are hidden from the student and from every "
                          "control. Part of the gain is those labels, passed on through the teacher."))  # fmt: skip
        elif taught["saw_hidden_labels"] is None:
            notes.append(("caution", "The teacher comes from elsewhere: it may have been trained on labels that are hidden "
                          "from the student. Part of the gain may be those labels."))  # fmt: skip
        if self.recipe.seeds == 1 and self.recipe.controls:
            notes.append(("caution", "One seed: the spread between trainings is unknown, so no gain is claimed. "
                          "Set seeds: 3 or more."))  # fmt: skip
        failed = [e["seed"] for e in self._auto() or () if e["choice"]["student"] is None]
        alone = [seed for seed in self._kept_alone() if seed not in failed]
        if failed:
            notes.append(("caution", f"objectives: auto could train no candidate to its end in {len(failed)} of "
                          f"{len(self.seeds)} seeds (seed {', '.join(map(str, failed))}) and kept the control {ALONE} as the "
                          "student there: the gain over it is 0 by construction. Lower learning_rate, or set "
                          "clip_norm."))  # fmt: skip
        if alone:
            notes.append(("caution", f"objectives: auto kept the control {ALONE} as the student in {len(alone)} of "
                          f"{len(self.seeds)} seeds (seed {', '.join(map(str, alone))}): the chosen loss did not beat it on "
                          "the validation rows. There the gain over it is 0 by construction."))  # fmt: skip
        dropped = quantised(self)
        if dropped is not None and dropped["points"] < -_DROP:
            remedy = "" if dropped["trained"] else ", or objectives, which train it as it rounds"
            notes.append(("caution", f"Quantising ({dropped['scheme']}) costs {-dropped['points']:.1f} points of the student's "
                          f"{self.recipe.task.called}. Try calibration, sensitivity or float_layers{remedy}."))  # fmt: skip
        if not self.recipe.controls:
            notes.append(("caution", "No control was trained, so nothing is said about what distilling gave."))
        if one_group(self.dataset.splits["test"].groups, self.truth):
            notes.append(("caution", "All test rows are of one group (speaker, patient): the intervals cover its rows, not other "
                          "groups, among which results may differ far more."))  # fmt: skip
        notes.append(("info", "One fixed teacher and one fixed split of the data: the intervals cover seeds and test "
                      "samples, not other teachers or other splits."))  # fmt: skip
        return [{"level": level, "text": text} for level, text in notes]

    def _curves(self) -> dict[str, Any]:
        from potstill.train.logs import read

        out: dict[str, Any] = {}
        for arm in (STUDENT, *self.recipe.controls):
            for seed in self.seeds:
                logs = [self.folder(n.name) / "log.jsonl" for n in self.graph.named(f"steps/{arm}/seed{seed}/")]
                records = read(next((path for path in reversed(logs) if path.exists()), logs[-1]))
                thin = max(1, len(records) // _CURVE_POINTS)
                out.setdefault(arm, {})[str(seed)] = records[thin - 1 :: thin]
        return out

    def _store(self, node: str) -> dict[str, Any]:
        facts, seconds = self.facts(node), self.manifest(node)["seconds"]
        rows = facts["rows"] * facts["views"]
        return {**facts, "seconds": seconds, "rows_per_second": round(rows / max(seconds, 1e-9), 1)}

    def _exported(self, kind: str, student_correct: NDArray[Any]) -> dict[str, Any]:
        exported, verified = self.facts(f"export/{kind}"), self.facts(f"verify/{kind}")
        correct = self.correct(self.outputs(f"verify/{kind}"))
        files = self.manifest(f"export/{kind}")["files"]
        latency = verified["latency"]
        times = {k: v for k, v in latency["student"].items() if not k.startswith("ratio")}
        return {
            "format": kind,
            "file": exported["file"],
            "bytes": verified["bytes"],
            "sha256": files[exported["file"]]["sha256"],
            "files": files,
            "parity": exported["parity"],
            "accuracy": {**self.interval(correct[None]), "source": "measured"},
            "accuracy_drop": float(student_correct.mean() - correct.mean()),
            "latency_ms": {**times, "threads": self.recipe.verify.threads, "batch": 1, "source": "measured",
                           "rows": verified["timed_rows"]},
            "teacher_latency_ms": None if "teacher" not in latency else {
                **latency["teacher"], "threads": self.recipe.verify.threads, "batch": 1, "source": "measured",
                "runtime": verified["teacher_runtime"]},
            "latency_ratio": latency["student"].get("ratio"),
            "peak_memory_bytes": verified["memory"],
            "timing": verified.get("timing"),
            "quantised": in_runtime(exported, verified, self.recipe.verify.threads),
        }  # fmt: skip

    def _disagreements(self, teacher_NK: NDArray[Any], student_NK: NDArray[Any]) -> list[dict[str, Any]]:
        """Return the rows on which teacher and student differ most confidently."""
        teacher, student = _softmax(teacher_NK), _softmax(student_NK)
        differ = np.flatnonzero(teacher.argmax(1) != student.argmax(1))
        strength = teacher[differ].max(1) + student[differ].max(1)
        out = []
        for row in differ[np.argsort(-strength, kind="stable")][:_SAMPLES]:
            kept, picture = self._shown(int(row))
            out.append({
                **kept, "file": None if picture is None else f"samples/row-{row}.png", "row": int(row), "label": int(self.truth.labels_N[row]),
                "teacher": int(teacher[row].argmax()), "student": int(student[row].argmax()),
                "teacher_confidence": float(teacher[row].max()), "student_confidence": float(student[row].max()),
            })  # fmt: skip
        return out

    def write_samples(self, results: dict[str, Any], write: Callable[[str, NDArray[Any]], None]) -> None:
        """Call `write(file, image [H, W, C] uint8)` for each picture that results.json names."""
        for entry in results["disagreements"]:
            if entry["file"] is not None:
                picture = self._shown(entry["row"])[1]
                assert picture is not None
                write(entry["file"], picture)

    def _shown(self, row: int) -> tuple[dict[str, Any], NDArray[Any] | None]:
        sample = np.asarray(self.dataset.splits["test"].samples[row])
        return shown(self.dataset.kind, sample, self.dataset.rate_hz)


def recipe_digest(graph: Graph) -> str:
    """Return the run's identity: a digest over the keys of its stages, hence over all that decides them."""
    from potstill.core.hashing import digest_json

    return digest_json({name: node.key for name, node in sorted(graph.nodes.items())})


def _teacher_facts(taught: dict[str, Any]) -> dict[str, Any]:
    return {k: taught[k] for k in ("kind", "output", "saw_hidden_labels", "gate")}


def _model(profile: dict[str, Any] | None, facts: dict[str, Any], kind: str) -> dict[str, Any]:
    keys = ("params", "macs", "peak_activation_bytes")
    return {
        "name": facts.get("model", kind),
        **({k: profile[k] for k in keys} if profile else dict.fromkeys(keys)),
        "file_bytes": facts.get("file_bytes"),
    }


def _softmax(logits_NK: NDArray[Any]) -> NDArray[Any]:
    exp = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    out: NDArray[Any] = exp / exp.sum(axis=1, keepdims=True)
    return out


def _logits(outputs_NK: NDArray[Any], output: str) -> NDArray[Any]:
    """Return log-probabilities where a teacher gives probabilities: they are logits whose softmax is the same."""
    return np.log(np.maximum(outputs_NK, 1e-12)) if output == "probabilities" else outputs_NK
