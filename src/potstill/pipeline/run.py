"""One run: from a recipe to a folder with the student, its artifacts and every figure."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.core import atomic
from potstill.core.errors import PotstillError
from potstill.core.progress import Progress
from potstill.pipeline.bits import check_bits
from potstill.pipeline.bundle import measured
from potstill.pipeline.cache import ArtifactCache
from potstill.pipeline.cuts import check_cuts
from potstill.pipeline.execute import RANK, Executor, Outcome
from potstill.pipeline.formats import check_formats
from potstill.pipeline.graph import STUDENT, Graph, build, last_step
from potstill.pipeline.schedule import run_all
from potstill.pipeline.taps import check_objectives
from potstill.quant import spec as quant
from potstill.recipe.model import Recipe
from potstill.stages import RunOptions

OUTPUTS = ("results.json", "student.safetensors", "student.json", "recipe.yaml")


@dataclass(frozen=True)
class Run:
    """A finished run.

    `results` is results.json; `folder` holds it, the student and its artifacts; `changed` says whether this call made
    anything.
    """

    folder: Path
    results: dict[str, Any]
    changed: bool
    seconds: float


def run(
    recipe: Recipe,
    recipe_text: str,
    out: Path,
    options: RunOptions,
    progress: Progress,
    *,
    loggers: tuple[str, ...] = (),
) -> Run:
    """Make what is missing and leave everything in `out`.

    Args:
        recipe: validated.
        recipe_text: as it was written; kept in the run.
        out: the run folder; created.
        options: where and how.
        progress: where to report.
        loggers: "csv" and "tensorboard" beside the JSON lines that are always kept.

    Returns:
        The run; on a second call with nothing changed, `changed` is False and no stage ran.

    Raises:
        PotstillError: see exit codes; what was finished stays in the cache.
    """
    started = time.monotonic()
    cache = ArtifactCache(options.cache)
    graph = build(recipe, cache.digests, cache)
    _check_folder(out, recipe)
    if graph.waits:
        Executor(graph, cache, options, progress).run(graph.nodes["prepare"])
        graph = build(recipe, cache.digests, cache)
    found = finished(graph, cache, out)
    if found is not None:
        return Run(out, found, False, time.monotonic() - started)
    check_formats(graph, cache)
    check_objectives(graph, cache, check_cuts(graph, cache))
    check_bits(graph, cache)
    cores = os.cpu_count() or 1 if options.threads == 0 else options.threads
    outcomes = run_all(graph, cache, options, progress, cores)
    if RANK != 0:
        return Run(out, {}, False, time.monotonic() - started)
    results = _publish(graph, cache, out, recipe_text, outcomes, loggers)
    return Run(out, results, True, time.monotonic() - started)


def finished(graph: Graph, cache: ArtifactCache, out: Path) -> dict[str, Any] | None:
    """Return the results of a run folder that needs nothing done, or None."""
    state = out / "run.json"
    if not state.exists() or not all(cache.has(n.key) for n in graph.nodes.values()):
        return None
    try:
        known = atomic.read_json(state)
        if known["keys"] != {n.name: n.key for n in graph.nodes.values()}:
            return None
        for name, digest in known["files"].items():
            if not (out / name).is_file() or cache.digests.digest(out / name) != digest:
                return None
        results: dict[str, Any] = atomic.read_json(out / "results.json")
    except (PotstillError, KeyError, TypeError, AttributeError):
        return None
    cache.digests.save()
    return results


def _check_folder(out: Path, recipe: Recipe) -> None:
    """A folder with something else in it is not ours to write into."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise PotstillError(f"--out {out}: must be a folder that can be made; got {err.strerror}.") from err
    foreign = [p.name for p in out.iterdir() if not atomic.is_partial(p)] if not (out / "run.json").exists() else []
    if foreign and not (out / "results.json").exists():
        raise PotstillError(
            f"--out {out}: must be new, empty, or an earlier run; it holds {foreign[0]!r}. Choose another folder."
        )
    before = _state(out).get("name", recipe.name)
    if before != recipe.name:
        raise PotstillError(
            f"--out {out}: must be of the recipe {recipe.name!r}; it is a run of {before!r}. Choose another folder."
        )


def _state(out: Path) -> dict[str, Any]:
    """Return run.json of an earlier run; nothing where there is none or it is damaged: it is then written anew."""
    try:
        state = atomic.read_json(out / "run.json")
    except PotstillError:
        return {}
    return state if isinstance(state, dict) else {}


def _publish(
    graph: Graph, cache: ArtifactCache, out: Path, recipe_text: str, outcomes: list[Outcome], loggers: tuple[str, ...]
) -> dict[str, Any]:
    from potstill.pipeline.results import Results

    gathered = Results(graph, cache)
    results = gathered.assemble(recipe_text, outcomes)
    results["measured_on"] = measured(out, results["artifacts"])
    first = gathered.folder(last_step(graph, STUDENT, graph.recipe.seed))
    _claim(out, graph.recipe)
    atomic.write_bytes(out / "recipe.yaml", recipe_text.encode())
    for name in ("student.safetensors", "student.json"):
        atomic.write_bytes(out / name, (first / name).read_bytes())
    quantised = [quant.NAME] if (first / quant.NAME).exists() else []
    for name in quantised:
        _copy(first / name, out / name)
    for entry in results["artifacts"]:
        for name in entry["files"]:
            _copy(gathered.folder(f"export/{entry['format']}") / name, out / name)
    _write_samples(gathered, results, out)
    _write_logs(graph, gathered, out, loggers)
    atomic.write_json(out / "results.json", results)
    names = [*OUTPUTS, *quantised, *(name for e in results["artifacts"] for name in e["files"])]
    for name in set(_state(out).get("files", ())) - set(names):  # a format that the recipe no longer asks for
        if (out / name).resolve().is_relative_to(out.resolve()):
            (out / name).unlink(missing_ok=True)
    atomic.write_json(out / "run.json", {
        "name": graph.recipe.name,
        "keys": {n.name: n.key for n in graph.nodes.values()},
        "parts": {n.name: n.parts for n in graph.nodes.values()},
        "files": {name: cache.digests.digest(out / name) for name in names},
    })  # fmt: skip
    cache.digests.save()
    return results


def _claim(out: Path, recipe: Recipe) -> None:
    """Mark the folder as this recipe's and unfinished; a report of earlier results must not outlive them."""
    atomic.write_json(out / "run.json", {"files": [], **_state(out), "name": recipe.name, "keys": {}})
    for name in ("report.html", "model_card.md", "model_card.json"):
        (out / name).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    with atomic.replacing(target) as tmp:
        shutil.copyfile(source, tmp)


def _write_samples(gathered: Any, results: dict[str, Any], out: Path) -> None:
    from potstill.data.pictures import write_png

    shutil.rmtree(out / "samples", ignore_errors=True)
    gathered.write_samples(results, lambda file, image: write_png(out / file, image))


def _write_logs(graph: Graph, gathered: Any, out: Path, loggers: tuple[str, ...]) -> None:
    from potstill.train import logs

    shutil.rmtree(out / "logs", ignore_errors=True)
    for node in graph.named("steps/"):
        source = gathered.folder(node.name) / "log.jsonl"
        if not source.exists():
            continue
        stem = out / "logs" / node.name.removeprefix("steps/").replace("/", "-")
        _copy(source, stem.with_suffix(".jsonl"))
        if "csv" in loggers:
            logs.write_csv(logs.read(source), stem.with_suffix(".csv"))
        if "tensorboard" in loggers:
            logs.write_tensorboard(logs.read(source), out / "tensorboard" / stem.name)
