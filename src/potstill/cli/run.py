"""`run` and `verify`: call the pipeline, print the verdict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.cli.verdicts import print_verdicts, stop_at_misfits
from potstill.core import atomic
from potstill.core.errors import PotstillError
from potstill.core.progress import Mode, Progress

if TYPE_CHECKING:
    from potstill.stages import RunOptions

_SCHEMA = 1
"""Of the results.json that the report reads."""


def run_recipe(
    path: Path,
    out: Path | None,
    options: RunOptions,
    *,
    mode: Mode,
    samples: bool,
    loggers: tuple[str, ...],
    cores: int,
) -> None:
    """Run the recipe at `path`, write its report and print the verdicts. Raises BudgetError where a device of the recipe does not take the
    student; after all was written and printed."""
    from potstill.pipeline.run import run
    from potstill.recipe.load import load

    recipe = load(path)
    rank = int(os.environ.get("RANK", "0"))
    progress = Progress(mode if rank == 0 else "quiet")
    folder = out or Path("runs") / recipe.name
    done = run(recipe, path.read_text(encoding="utf-8-sig"), folder, options, progress, loggers=loggers)
    if rank != 0:
        return
    page = folder / "report.html"
    if done.changed or not page.exists():
        from potstill.report import build

        page = build(folder, samples=samples)
    verdicts = done.results.get("verdicts") or []
    if mode == "json":
        progress.event(
            "finished",
            changed=done.changed,
            folder=str(folder),
            seconds=round(done.seconds, 3),
            verdicts=_brief(verdicts),
        )
    else:
        if not done.changed:
            print(f"Nothing to do: {folder} is finished and unchanged ({done.seconds:.1f} s).")
        print_verdict(done.results)
        print_verdicts(verdicts)
        print(f"\nReport: {page}\nStudent: {folder / 'student.safetensors'}")
    stop_at_misfits(verdicts)


def _brief(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: found[k] for k in ("device", "export", "verdict", "binding")} for found in verdicts]


def print_verdict(results: dict[str, Any]) -> None:
    """Print the verdict table and the notes that belong to it."""
    from rich.console import Console

    from potstill.report import verdict_table

    console = Console()
    console.print(verdict_table(results, console.width))
    for note in results["notes"]:
        style = "yellow" if note["level"] == "caution" else "dim"
        console.print(f"{note['level']}: {note['text']}", style=style, highlight=False)


def write_report(folder: Path, *, samples: bool) -> None:
    """Write the page and the card of a finished run again, and print where the page is."""
    from jinja2 import UndefinedError

    from potstill.report import build

    if not (folder / "results.json").is_file():
        there = "a folder without results.json" if folder.is_dir() else "a file" if folder.exists() else "none"
        raise PotstillError(
            f"{folder}: must be the folder of a finished run; got {there}. Finish it first: potstill run RECIPE --out "
            f"{folder}"
        )
    results = atomic.read_json(folder / "results.json")
    if not isinstance(results, dict) or results.get("schema") != _SCHEMA:
        found = results.get("schema") if isinstance(results, dict) else type(results).__name__
        raise PotstillError(
            f"{folder / 'results.json'}: must be what this version of potstill writes, schema {_SCHEMA}; got {found}. "
            f"Run its recipe again: potstill run {folder / 'recipe.yaml'} --out {folder}"
        )
    try:
        print(build(folder, samples=samples))
    except (LookupError, TypeError, ValueError, AttributeError, UndefinedError) as err:
        if _as_written(folder):
            raise  # ours to mend
        raise PotstillError(
            f"{folder / 'results.json'}: must be as a run wrote it; got something else where it was changed ({err}). Run its recipe "
            f"again: potstill run {folder / 'recipe.yaml'} --out {folder}"
        ) from err


def _as_written(folder: Path) -> bool:
    """Return whether results.json has the bytes that its run says."""
    from potstill.core.hashing import digest_file

    try:
        return bool(
            atomic.read_json(folder / "run.json")["files"]["results.json"] == digest_file(folder / "results.json")
        )
    except (PotstillError, LookupError, TypeError):
        return False


def verify_file(
    model: Path, recipe_path: Path | None, *, threads: int, scale: float, run_program: bool, as_json: bool
) -> None:
    """Run a model file over the test split of a recipe, or by itself, and print what was measured and the verdict on each device of the
    recipe. Raises BudgetError where one does not take it; after all was printed."""
    from potstill.cli.show import print_facts_and_verdicts
    from potstill.pipeline.check import verify_against
    from potstill.recipe.load import load

    recipe = None if recipe_path is None else load(recipe_path)
    facts = verify_against(model, recipe, threads=threads, scale=scale, progress=Progress("auto"), trusted=run_program)
    print_facts_and_verdicts(facts, as_json=as_json)
