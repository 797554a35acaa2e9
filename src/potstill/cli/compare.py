"""`compare`: call the pipeline, write the page, print the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from potstill.core.progress import Mode, Progress

if TYPE_CHECKING:
    from potstill.stages import RunOptions


def compare_recipe(
    path: Path,
    arms: str,
    seeds: int | None,
    weight_bytes: int | None,
    macs: int | None,
    out: Path | None,
    options: RunOptions,
    *,
    mode: Mode,
) -> None:
    """Compare the arms of the recipe at `path`, write the page, and print the table and what follows from it."""
    import os

    from rich.console import Console

    from potstill.pipeline.arms import CompareSpec
    from potstill.pipeline.compare import compare
    from potstill.recipe.load import load
    from potstill.report.compared import build, comparison_table, sentences

    recipe = load(path)
    recipe = recipe if seeds is None else recipe.model_copy(update={"seeds": seeds})
    spec = CompareSpec(
        arms=tuple(a for a in arms.split(",") if a.strip()) or CompareSpec().arms, weight_bytes=weight_bytes, macs=macs
    )
    folder, progress = out or Path("runs") / f"{recipe.name}-compare", Progress(mode)
    cores = os.cpu_count() or 1 if options.threads == 0 else options.threads
    done = compare(recipe, spec, path.read_text(encoding="utf-8-sig"), folder, options, progress, cores)
    page = folder / "compare.html"
    if done.changed or not page.exists():
        page = build(folder)
    if mode == "json":
        progress.event("finished", changed=done.changed, folder=str(folder), seconds=round(done.seconds, 3))
        return
    if not done.changed:
        print(f"Nothing to do: {folder} is finished and unchanged ({done.seconds:.1f} s).")
    console = Console()
    console.print(comparison_table(done.results, console.width))
    for sentence in sentences(done.results):
        console.print(sentence, highlight=False)
    print(f"\nReport: {page}")
