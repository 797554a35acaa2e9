"""What the children of the fork server do, and the small recipes that they do it to."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from forks import kill_when

Recipe = dict[str, Any]

SMALL: Recipe = {
    "name": "small",
    "data": {"kind": "digits", "limit": 150, "test": 0.1, "labelled": 70},
    "augment": [{"kind": "shift", "pixels": 1}],
    "teacher": {
        "kind": "train",
        "model": {"kind": "ds-cnn", "width": 6, "depth": 1, "downsample": 1},
        "training": {"epochs": 12, "batch_size": 32, "learning_rate": 0.03},
        "labels": "all",
    },
    "labels": {"views": 2, "codec": {"kind": "float16"}},
    "student": {"kind": "ds-cnn", "width": 4, "depth": 1, "downsample": 1},
    "steps": [
        {
            "kind": "distill",
            "objectives": [{"kind": "soft-label", "temperature": 2.0}, {"kind": "hard-label", "weight": 0.2}],
            "training": {"epochs": 10, "batch_size": 32, "learning_rate": 0.02},
        }
    ],
    "controls": [],
    "verify": {"blocks": 5, "teacher_latency": False},
}


def edited(recipe: Recipe, **edits: Any) -> Recipe:
    """Return a copy with edits, a path's parts joined by two underscores: steps__0__training__ema=0.9."""
    out = copy.deepcopy(recipe)
    for path, value in edits.items():
        *parents, last = path.split("__")
        target: Any = out
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        target[int(last) if isinstance(target, list) else last] = value  # a new section too
    return out


VARIANTS: dict[str, Recipe] = {
    "AdamW": SMALL,
    "SGD, EMA, clipping": edited(
        SMALL, steps__0__training={"epochs": 10, "batch_size": 32, "learning_rate": 0.1, "optimizer": "sgd", "ema": 0.9,
                                   "clip_norm": 1.0, "keep": "best"},
    ),
    "patience, bfloat16": edited(
        SMALL, steps__0__training={"epochs": 12, "batch_size": 40, "learning_rate": 0.03, "patience": 2,
                                   "precision": "bfloat16", "lr_schedule": "constant"},
    ),
    "live teacher, mixup": edited(
        SMALL, labels={"mode": "live", "views": 3, "codec": {"kind": "int8-affine"}},
        augment=[{"kind": "shift", "pixels": 1}, {"kind": "mixup", "alpha": 0.4}],
    ),
    "two steps, top-k": edited(
        SMALL, labels={"views": 2, "codec": {"kind": "topk", "k": 4}},
        steps=[SMALL["steps"][0], edited(SMALL["steps"][0], training__optimizer="sgd", objectives__0__temperature=4.0)],
    ),
    "transformer, falling T": edited(
        SMALL, student={"kind": "vit", "patch": 2, "dim": 16, "depth": 1, "heads": 2},
        steps__0__objectives__0={"kind": "soft-label", "temperature": {"kind": "linear", "start": 4.0, "end": 1.0}},
    ),
}  # fmt: skip
"""Trainings that between them hold every value a checkpoint can hold."""


def make(cache: str, recipe: Recipe, upto: str = "", every: float = 20.0, kill_at: int | None = None) -> dict[str, Any]:
    """Make the artifacts of the nodes whose name starts with one of `upto` (joined by '|'; '' for all).

    Returns:
        "made": node -> content digest; "touched": how often files in the cache were touched.
    """
    from potstill.core.artifact import content_digest
    from potstill.core.progress import Progress
    from potstill.pipeline.cache import ArtifactCache
    from potstill.pipeline.execute import Executor
    from potstill.pipeline.graph import build
    from potstill.recipe.model import Recipe as Model
    from potstill.stages import RunOptions

    root = Path(cache)
    seen = kill_when(root, kill_at)
    kept = ArtifactCache(root)
    graph = build(Model.model_validate(recipe), kept.digests)
    executor = Executor(graph, kept, RunOptions(root, 1, checkpoint_every_s=every), Progress("quiet"))
    made = {}
    for node in graph.nodes.values():
        if node.name.startswith(tuple(upto.split("|"))):
            executor.run(node)
            made[node.name] = [node.key, content_digest(kept.path(node.key))]
    return {"made": made, "touched": seen[0]}


def finish(cache: str, recipe: Recipe, out: str, kill_at: int | None = None, every: float = 20.0) -> dict[str, Any]:
    """Do a whole run and its report, as the command line does; return how often files were touched."""
    import yaml

    from potstill.core.progress import Progress
    from potstill.pipeline.run import run
    from potstill.recipe.model import Recipe as Model
    from potstill.report import build
    from potstill.stages import RunOptions

    seen = kill_when(Path(cache).parent, kill_at)
    options = RunOptions(Path(cache), 1, checkpoint_every_s=every)
    text = yaml.safe_dump(recipe, sort_keys=False)
    done = run(Model.model_validate(recipe), text, Path(out), options, Progress("quiet"))
    if done.changed or not (Path(out) / "report.html").exists():
        build(Path(out))
    return {"changed": done.changed, "touched": seen[0]}
