"""What was measured of time beyond the artifact's own latency: parts, threads, a cold start, a long run; every cell text."""

from __future__ import annotations

from typing import Any

from potstill.report import _charts as charts
from potstill.report._say import milliseconds, number

_SPREAD = ("min", "median", "p95")


def section(artifact: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the page and the card show of one artifact; None where it was not asked for."""
    found = artifact.get("timing")
    if not found:
        return None
    student, teacher = found["models"]["student"], found["models"].get("teacher")
    head = [*_SPREAD, *(["teacher, median"] if teacher else [])]
    parts = [
        (name, [*(milliseconds(student["parts"][name][k]) for k in _SPREAD), *([milliseconds(teacher["parts"][name]["median"])] if teacher else [])])
        for name in student["parts"]
    ]  # fmt: skip
    whole = [*(milliseconds(student[k]) for k in _SPREAD), *([milliseconds(teacher["median"])] if teacher else [])]
    return {
        "head": head, "parts": [*parts, ("end to end", whole)], "threads": [_threads(t) for t in found["threads"]],
        "sentences": _sentences(found), "cold": _cold(found["cold_start"]), "long": _long(found["sustained"]),
        "chart": _chart(found["sustained"]), "median": milliseconds(student["median"]),
    }  # fmt: skip


def _threads(found: dict[str, Any]) -> tuple[str, list[str]]:
    return str(found["threads"]), [
        *(milliseconds(found[k]) for k in (*_SPREAD, "cpu_ms")),
        f"{found['cpu_per_wall']:.2f}",
    ]


def _sentences(found: dict[str, Any]) -> list[str]:
    student = found["models"]["student"]
    out = [f"Over {found['rows']} test rows one after another, in a process of its own. Read: the row from the memory-mapped data, as a batch; "
           "preprocess: what the host does before; what is inside the file (normalise, log-mel) is in infer; postprocess: the task's decision."]  # fmt: skip
    ratio = student.get("ratio")
    if ratio:
        out.append(f"From end to end the student takes {ratio['value']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}] of the teacher's time; the two were "
                   "timed by turns.")  # fmt: skip
    out.append(f"It takes {milliseconds(student['cpu_ms'])} of CPU time a sample, and {student['cpu_per_wall']:.2f} of CPU time a second of wall time: "
               "in one thread less than 1 means that other work had the processor.")  # fmt: skip
    energy = student["energy_mj"]
    if energy["source"] == "measured":
        out.append(
            f"Energy: {number(energy['value'])} mJ a sample by the processor's own counters, with all else that it did meanwhile."
        )
    return out


def _cold(found: dict[str, Any]) -> str:
    return (
        f"{milliseconds(found['total_ms'])}, {milliseconds(found['min_ms'])} to {milliseconds(found['max_ms'])} in {found['starts']} fresh "
        f"processes: runtime {milliseconds(found['runtime_ms'])}, file {milliseconds(found['load_ms'])}, first answer "
        f"{milliseconds(found['first_ms'])}; Python's own start is not in it, and the files lay in the page cache"
    )


def _long(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    slower, window = found["slower"], found["window_s"]
    bounds = "" if slower["low"] is None else f" [{slower['low']:.3f}, {slower['high']:.3f}]"
    if slower["low"] is None:
        word = "too short to say whether it slows down"
    elif slower["low"] <= 1 <= slower["high"]:
        word = "no slower and no faster, within the noise"
    else:
        word = f"{abs(slower['value'] - 1):.1%} {'slower' if slower['value'] > 1 else 'faster'}"
    return (
        f"{found['seconds']:.0f} s without a pause, {found['calls']:,} samples: the first {window} s {milliseconds(found['first_ms'])}, the last "
        f"{window} s {milliseconds(found['last_ms'])}, {slower['value']:.3f}{bounds} of it: {word}"
    )


def _chart(found: dict[str, Any] | None) -> str:
    points = [(float(i + 1), ms) for i, ms in enumerate((found or {}).get("per_second_ms", []))]
    if len(points) < 3:
        return ""
    title = "median of each second of the long run, ms"
    return charts.lines(title, [charts.Line(title, points, charts.STUDENT)], from_zero=True, caption="second")
