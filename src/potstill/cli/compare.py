"""`compare`: call the pipeline, write the page, print the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.core.progress import Mode, Progress

if TYPE_CHECKING:
    from pathlib import Path

    from potstill.stages import RunOptions


def compare_recipe(
    path: Path,
    arms: str,
    seeds: int | None,
    weight_bytes: int | None,
    macs: int | None,
    latency_ms: float | None,
    out: Path | None,
    options: RunOptions,
    *,
    mode: Mode,
) -> None:
    """Compare the arms of the recipe at `path`, write the page, and print the table and what follows from it."""
    from rich.console import Console

    from potstill.pipeline.arms import CompareSpec
    from potstill.report.compared import PAGE, compare_file, comparison_table, sentences

    names = tuple(a for a in arms.split(",") if a.strip()) or CompareSpec().arms
    spec = CompareSpec(arms=names, weight_bytes=weight_bytes, macs=macs, latency_ms=latency_ms)
    progress = Progress(mode)
    done = compare_file(path, spec, seeds, out, options, progress)
    if mode == "json":
        progress.event("finished", changed=done.changed, folder=str(done.folder), seconds=round(done.seconds, 3))
        return
    if not done.changed:
        print(f"Nothing to do: {done.folder} is finished and unchanged ({done.seconds:.1f} s).")
    console = Console()
    console.print(comparison_table(done.results, console.width))
    for sentence in sentences(done.results):
        console.print(sentence, highlight=False)
    print(f"\nReport: {done.folder / PAGE}")
