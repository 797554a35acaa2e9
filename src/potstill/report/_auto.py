"""How objectives were chosen, in words and as a table."""

from __future__ import annotations

from typing import Any

from potstill.report._say import percent


def sentence(results: dict[str, Any]) -> str:
    """Return how candidates were tried and how often the student was kept; "" where objectives were stated."""
    seeds = results.get("auto") or []
    if not seeds:
        return ""
    parts = sorted({race["first_part"] for entry in seeds for race in entry["races"]})
    kept = [e for e in seeds if e["choice"]["chosen"] == "student"]
    if parts == [0]:
        tried = "The first loss that the rules named was taken without a race."
    else:
        span = f"{parts[0]:,}" if len(parts) == 1 else f"{parts[0]:,} to {parts[-1]:,}"
        tried = (
            f"Losses named by rules trained the first {span} steps on the same labels, and the best on validation rows "
        )
        tried += "went on."
    failed = sum(e["choice"]["student"] is None for e in seeds)
    if failed:
        tried += f" In {failed} of {len(seeds)} seed{'s' if len(seeds) != 1 else ''} none of them could be trained to its end."
    return (
        f"{tried} The finished student is kept only where it is judged better than the finished control hard-label, by "
        f"{seeds[0]['choice']['validation_rows']:,} validation rows{_groups(seeds)}{_prior(seeds)}: so in {len(kept)} of {len(seeds)} "
        f"seed{'s' if len(seeds) != 1 else ''}{'' if kept else ', which is to say: train it alone'}."
    )


def _groups(seeds: list[dict[str, Any]]) -> str:
    """Return of how many groups the validation rows are; "" where they are of none."""
    num = seeds[0]["choice"]["validation_groups"]
    return "" if num is None else f" of {num} group{'s' if num > 1 else ''}, each of which counts as one,"


def _prior(seeds: list[dict[str, Any]]) -> str:
    """Return the words for what was expected without looking; "" where nothing was."""
    expected = [100 * e["choice"]["expected"] for e in seeds]
    if not max(expected):
        return ""
    mean = sum(expected) / len(expected)
    return f" and by the {mean:+.1f} points that few labels and such a teacher lead one to expect"


def rows(results: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row for each candidate, and one for each last choice; every value is text."""
    out = []
    for entry in results.get("auto") or []:
        for race in entry["races"]:
            for found in race["candidates"]:
                outcome = race["decided_by"] if found["won"] else "stopped" if found["steps"] else "not tried"
                outcome = f"went on: {outcome}" if found["won"] else found["failed"] or outcome
                out.append(_row(entry["seed"], found["name"], found["why"], found["steps"], found["score"], outcome))
        choice = entry["choice"]
        for arm, name in (("student", "student, finished"), ("control", "hard-label, finished")):
            outcome = "kept as the student" if choice["chosen"] == arm else "not kept"
            failed = choice[arm] is None
            steps, outcome = (0, "none could be trained to its end") if failed else (entry["steps"], outcome)
            out.append(_row(entry["seed"], name, "", steps, choice[arm], outcome))
    return out


def _row(seed: int, name: str, why: str, steps: int, score: float | None, outcome: str) -> dict[str, str]:
    return {
        "seed": str(seed), "name": name, "why": why, "steps": f"{steps:,}", "score": percent(score), "outcome": outcome,
    }  # fmt: skip
