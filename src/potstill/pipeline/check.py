"""Checks on request: a store's every byte, its repair, and a model file against a recipe's test split."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import artifact, atomic
from potstill.core.errors import PotstillError, StoreError
from potstill.core.hashing import digest_file
from potstill.core.progress import Progress
from potstill.data.augment import AugmentSpec, Batch, make_batch
from potstill.data.dataset import Dataset, Split
from potstill.labels.rows import StoreRows
from potstill.labels.store import LabelStore
from potstill.labels.writer import Damage, check, discard_damaged
from potstill.pipeline.cache import ArtifactCache, default_root
from potstill.pipeline.execute import Executor
from potstill.pipeline.fits import file_verdicts, teacher_outputs
from potstill.pipeline.graph import build
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions, StageContext, StageSpec
from potstill.stages.features import FeaturesStage
from potstill.stages.label import LabelStage

_STAGES: dict[str, type[StageSpec]] = {"label": LabelStage, "features": FeaturesStage}
"""Those that fill a store."""


def store_folders(folder: Path) -> list[Path]:
    """Return the stores that a path means: a store itself, or those that a run folder used, labels first."""
    if not (folder / "run.json").is_file():
        return [_store(folder)]
    keys = atomic.read_json(folder / "run.json")["keys"]
    names = sorted((n for n in keys if n.split("/")[0] in _STAGES), key=lambda n: not n.startswith("label"))
    if not names:
        why = "its teacher ran live or was not read" if keys else "it is not finished: run its recipe again"
        raise PotstillError(f"{folder}: must be a run with stored labels or features; {why}.")
    stores = [ArtifactCache(default_root()).path(keys[name]) for name in names]
    for name, store in zip(names, stores, strict=True):
        if not store.is_dir():
            what = "its labels" if name == "label" else f"its {name}"
            raise PotstillError(
                f"{folder}: {what} must be in the cache; they are not (removed, or their repair was interrupted). Run "
                f"its recipe again: potstill run {folder / 'recipe.yaml'} --out {folder}"
            )
    return [_store(store) for store in stores]


def _store(folder: Path) -> Path:
    if not folder.is_dir():
        raise PotstillError(f"{folder}: must be a label store or a run folder; there is no such folder.")
    if not (folder / "manifest.json").exists() and not any(folder.glob("*/*.safetensors")):
        raise PotstillError(f"{folder}: must be a label store or a run folder; it holds no manifest and no shards.")
    return folder


@dataclass(frozen=True)
class LabelledData:
    """The training pixels of a run and its teacher's labels, for a training loop of one's own."""

    store: LabelStore
    split: Split
    """The training split; the store has its rows, in its order."""
    augment: tuple[AugmentSpec, ...]
    seed: int

    def batch(self, rows_B: NDArray[np.int64], view: int) -> Batch:
        """Return pixels [B, C, H, W] in [0, 1] and labels, as the teacher saw them in that view."""
        return make_batch(self.split, rows_B, view, self.augment, self.seed)

    def teacher(self, rows_B: NDArray[np.int64], view: int) -> StoreRows:
        """Return the teacher's outputs for the same rows and view: `.logits()`, `.probabilities()`."""
        return StoreRows(self.store, view, rows_B)


def open_labels(run: Path | str) -> LabelledData:
    """Open the label store of a finished run, every shard verified, with the data that it belongs to.

    Raises:
        StoreError: something in it is damaged.
        PotstillError: no run folder, or one whose teacher ran live.
    """
    folder = store_folders(Path(run))[0]
    origin = _origin(folder)
    if origin["stage"] != "label":
        raise PotstillError(f"{run}: must be a run with stored labels; it has stored features only.")
    stage = LabelStage.model_validate(origin["spec"])
    prepared = ArtifactCache(default_root()).path(atomic.read_json(Path(run) / "run.json")["keys"]["prepare"])
    artifact.verify(prepared)
    split = Dataset.open(prepared).splits["train"]
    return LabelledData(LabelStore.open(folder), split, stage.augment, stage.augment_seed)


def store_problems(folder: Path) -> list[Damage]:
    """Return what is damaged in a store, and in the record of how it was made where it is in the cache."""
    found = check(folder)
    if (folder / artifact.MANIFEST).exists():
        try:
            artifact.manifest(folder)
        except StoreError as err:
            found.append(Damage(artifact.MANIFEST, str(err)))
    return found


def repair(folder: Path, options: RunOptions, progress: Progress) -> list[str]:
    """Write the damaged parts of a cached store again, bit for bit as they were, and return their names.

    Raises:
        StoreError: the store is not in the cache (so how it was made is not known), its inputs are gone, or this
            machine's numerics are not those that it was written with.
    """
    manifest = _origin(folder)
    if not check(folder):
        return []
    options = _same_numerics(manifest, options, folder)
    cache = ArtifactCache(options.cache)
    key = str(manifest["key"])
    inputs = {name: cache.path(k) for name, k in manifest["inputs"].items()}
    for name, path in inputs.items():
        if not (path / artifact.MANIFEST).exists():
            raise StoreError(
                f"{folder}: repair needs its {name}, which is not in the cache any more. Run the recipe again."
            )
        artifact.verify(path)
    stage = _STAGES[manifest["stage"]].model_validate(manifest["spec"])
    with cache.lock(key):
        work = cache.root / "work" / key
        cache.begin(key, {name: artifact.making(path) for name, path in inputs.items()})
        os.rename(folder, work)  # no reader finds it until it is whole again
        mended = discard_damaged(work)
        facts = stage.run(StageContext(manifest["name"], inputs, work, options, progress))
        cache.publish(key, {**{k: v for k, v in manifest.items() if k != "files"}, "facts": facts})
    return mended


def _origin(folder: Path) -> dict[str, Any]:
    try:
        manifest = artifact.manifest(folder)
    except StoreError as err:
        raise StoreError(
            f"{folder}: repair needs its {artifact.MANIFEST}, which says how it was made; it is missing or damaged. "
            "Remove the store and run again: potstill cache gc --damaged"
        ) from err
    if manifest.get("stage") not in _STAGES:
        raise PotstillError(
            f"{folder}: must be a store of labels or features; it is the artifact of stage {manifest.get('stage')!r}."
        )
    return manifest


def _same_numerics(manifest: dict[str, Any], options: RunOptions, folder: Path) -> RunOptions:
    theirs = manifest["fingerprint"]
    options = replace(options, threads=theirs["threads"])
    ours = options.fingerprint()
    if theirs != ours and not options.accept_fingerprint:
        changed = ", ".join(k for k in theirs if theirs[k] != ours.get(k))
        raise StoreError(
            f"{folder}: must be repaired under the numerics it was written with; got another {changed}. Its new rows "
            "would differ from its old ones in their last bits. Repair it where it was made, or remove it and run "
            "again: potstill cache gc --damaged"
        )
    return options


def verify_against(
    model: Path, recipe: Recipe | None, *, threads: int, scale: float, progress: Progress, trusted: bool = False
) -> dict[str, Any]:
    """Run a model file over the recipe's test split, whose data is prepared first if it is not in the cache; without a recipe, on made-up
    numbers. One that is a program is run only if it is `trusted`, or an export of a run on this machine."""
    from potstill.verify.foreign import format_of, verify_alone, verify_model

    cache = ArtifactCache(default_root())
    exporter = format_of(model)
    trusted = trusted or (exporter.program and all(made_here(cache, part) for part in exporter.parts(model)))
    lock = cache.root / "locks" / "measure.lock"
    if recipe is None:
        return verify_alone(model, threads=threads, scale=scale, lock=lock, trusted=trusted)
    graph = build(recipe, cache.digests, cache)
    facts = verify_model(
        model, prepared(recipe, cache, progress), recipe.task, threads=threads, scale=scale, lock=lock,
        trusted=trusted, teacher_NX=teacher_outputs(graph, cache) if recipe.devices else None,
    )  # fmt: skip
    verdicts = file_verdicts(recipe, model, format_of(model), facts)
    return {**facts, "verdicts": verdicts} if verdicts else facts


def prepared(recipe: Recipe, cache: ArtifactCache, progress: Progress) -> Dataset:
    """Return a recipe's data, prepared first if it is not in the cache."""
    graph = build(recipe, cache.digests, cache)
    node = graph.nodes["prepare"]
    Executor(graph, cache, RunOptions(cache.root), progress).run(node)
    return Dataset.open(cache.path(node.key))


def made_here(cache: ArtifactCache, model: Path) -> bool:
    """Return whether an export stage of this cache wrote these bytes. A manifest beside the file would not do: it comes with it."""
    digest = digest_file(model)
    for path in sorted((cache.root / "artifacts").glob(f"*/{artifact.MANIFEST}")):
        try:
            found = artifact.manifest(path.parent)
        except StoreError:
            continue
        if found.get("stage") == "export" and any(f["sha256"] == digest for f in found["files"].values()):
            return True
    return False
