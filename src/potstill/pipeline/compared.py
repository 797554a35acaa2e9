"""What a comparison found, computed from finished artifacts. Shapes: S seeds, N test rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import artifact
from potstill.core.fingerprint import environment, package_versions
from potstill.core.tensorfile import open_arrays
from potstill.data.dataset import Dataset
from potstill.pipeline.arms import BUDGETS, CONTROL, Arm, CompareSpec
from potstill.pipeline.cache import ArtifactCache
from potstill.tasks import Truth
from potstill.verify.gain import accuracy_interval, gain, independent

if TYPE_CHECKING:
    from potstill.pipeline.compare import Comparison


class Findings:
    """Reads the artifacts of a finished comparison, every byte verified first."""

    def __init__(self, found: Comparison, cache: ArtifactCache) -> None:
        self.found, self.cache, self.recipe = found, cache, found.graph.recipe
        for node in found.graph.nodes.values():
            if node.spec.kind not in ("label", "features"):  # only their manifests are read here
                artifact.verify(cache.path(node.key))
        self.dataset = Dataset.open(cache.path(found.graph.nodes["prepare"].key))
        self.truth = Truth.of(self.dataset, "test")
        self.seeds = list(range(self.recipe.seed, self.recipe.seed + self.recipe.seeds))
        self.measured = self.facts("measure")

    def facts(self, node: str) -> dict[str, Any]:
        """Return what a node's stage said of its work."""
        out: dict[str, Any] = artifact.manifest(self.cache.path(self.found.graph.nodes[node].key))["facts"]
        return out

    def assemble(self, recipe_text: str) -> dict[str, Any]:
        """Return the whole of compare.json."""
        correct = {a.name: self._independent([f"judge/{a.name}/seed{s}" for s in self.seeds]) for a in self.found.arms}
        teacher, taught = self._independent(["evaluate/teacher"]), self.facts("teach")
        arms = [self._arm(arm, correct) for arm in self.found.arms]
        spec, recipe = self.found.spec, self.recipe
        for arm in arms:
            arm["over"] = _over(arm, spec)
        return {
            "schema": 1,
            "name": recipe.name,
            "description": recipe.description or None,
            "potstill": package_versions(("potstill",))["potstill"],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "recipe": recipe_text,
            "task": recipe.task.kind,
            "metric": recipe.task.called,
            "budget": {name: getattr(spec, name) for name in BUDGETS},
            "sizes": {n.name.removeprefix("size/"): self.facts(n.name) for n in self.found.graph.named("size/")},
            "seeds": self.seeds,
            "test_rows": len(self.dataset.splits["test"]),
            "format": recipe.export[0].kind,
            "threads": recipe.verify.threads,
            "teacher": {
                "name": taught.get("model", recipe.teacher.kind), "accuracy": self._interval(teacher),
                **{k: (taught.get("profile") or {}).get(k) for k in ("params", "macs")},
                "file_bytes": taught.get("file_bytes"), "runtime": self.measured["teacher_runtime"],
                "latency_ms": self.measured["latency"]["teacher"],
            },
            "arms": arms,
            "best": self._best(arms, correct),
            "environment": environment(),
        }  # fmt: skip

    def _independent(self, nodes: list[str]) -> NDArray[Any]:
        """Return [S, N] of the headline, one value a group where test rows belong to groups."""
        found = [
            np.asarray(open_arrays(self.cache.path(self.found.graph.nodes[n].key) / "outputs.safetensors")["outputs"])
            for n in nodes
        ]
        correct = np.stack([self.recipe.task.correct(outputs, self.truth) for outputs in found])
        return independent(correct, self.dataset.splits["test"].groups, self.truth)

    def _interval(self, correct_SN: NDArray[Any]) -> dict[str, Any]:
        value, low, high = accuracy_interval(correct_SN)
        return {"value": value, "low": low, "high": high, "unit": self.recipe.task.unit}

    def _arm(self, arm: Arm, correct: dict[str, NDArray[Any]]) -> dict[str, Any]:
        profile = self.facts(self.found.last(arm.name, self.seeds[0]))["profile"]
        measured = self.measured["latency"][arm.name]
        ratio = measured.pop("ratio")
        return {
            "name": arm.name,
            "says": arm.says,
            "model": arm.recipe.student.kind,
            "steps": [step.kind for step in arm.recipe.steps],
            "params": profile["params"],
            "macs": profile["macs"],
            "weight_bytes": self._weight_bytes(arm.name),
            "file_bytes": self.measured["bytes"][arm.name],
            "accuracy": self._interval(correct[arm.name]),
            "per_seed": [float(v) for v in correct[arm.name].mean(axis=1)],
            "gain": None if arm.name == CONTROL else gain(correct[arm.name], correct[CONTROL]).as_dict(),
            "latency_ms": {**measured, "source": "measured"},
            "latency_ratio": ratio,
            "peak_memory_bytes": self.measured["memory"][arm.name],
        }

    def _weight_bytes(self, arm: str) -> int:
        """Return the bytes of an arm's kernels and matrices as they are stored; biases, norms and scales are left out."""
        from potstill.compress.quant_float import weight_bytes
        from potstill.models.tools.saved import load_model
        from potstill.quant import spec

        folder = self.cache.path(self.found.graph.nodes[self.found.last(arm, self.seeds[0])].key)
        return weight_bytes(load_model(folder).module, spec.read(folder))["kept"]

    def _best(self, arms: list[dict[str, Any]], correct: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
        """Return the most accurate arm within the budget, set against every other; None where none keeps to it."""
        fit = [a for a in arms if not a["over"]]
        if not fit:
            return None
        first = max(fit, key=lambda a: a["accuracy"]["value"])
        others = [a["name"] for a in fit if a is not first]
        against = {name: gain(correct[first["name"]], correct[name]).as_dict() for name in others}
        return {"name": first["name"], "against": against}


def _over(arm: dict[str, Any], spec: CompareSpec) -> list[str]:
    """Return which lines of the budget an arm breaks: a latency where its whole interval is over it."""
    took = {**arm, "latency_ms": arm["latency_ms"]["interval"]["low"]}
    return [name for name in BUDGETS if getattr(spec, name) is not None and took[name] > getattr(spec, name)]
