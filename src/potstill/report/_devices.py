"""Verdicts on devices, as the page and the card show them."""

from __future__ import annotations

from typing import Any

from potstill.devices import say
from potstill.devices.lines import LIMITS, Line, line_of

_SUMMARY = {"fits": "fits", "does not fit": "does not fit", "unknown": "unknown whether it fits"}


def columns(results: dict[str, Any]) -> list[str]:
    """Return the names of the lines that have a figure or a limit on any device, in the order of a budget's fields."""
    there = {
        line["name"]
        for found in results.get("verdicts") or []
        for line in found["lines"]
        if line["word"] != "unknown" or line["limit"] is not None
    }
    return [say.NAMES[name] for name in LIMITS if name in there]


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row a device: who, the verdict, a cell for each of `columns` (None where the device has no such line), and notes."""
    out = []
    for found in results.get("verdicts") or []:
        lines = {say.NAMES[line["name"]]: line_of(line) for line in found["lines"]}
        out.append({
            "device": found["device"], "title": found["title"], "file": found["file"], "verdict": found["verdict"],
            "says": _SUMMARY[found["verdict"]], "cells": [_cell(lines.get(name)) for name in columns(results)],
            "notes": _notes(found, lines),
        })  # fmt: skip
    return out


def _cell(line: Line | None) -> dict[str, str] | None:
    if line is None:
        return None
    limit = "no limit" if line.limit is None else f"at most {say.number(line.name, line.limit)}"
    figure = say.figure(line)
    return {"figure": figure, "word": "" if figure == "?" else line.word, "limit": limit, "verdict": line.verdict or ""}


def _notes(found: dict[str, Any], lines: dict[str, Line]) -> list[tuple[str, str]]:
    """Return (name, text): what the figures rest on, why some are unknown, what binds, what would help."""
    out = []
    if found["runtime"]:
        out.append(("runtime", found["under"]))
    if found["rests_on"] and found["cost"]:
        out.append(("cost", f"read from {found['rests_on']}"))
    out += [(name, line.reason) for name, line in lines.items() if line.word != "unknown" and line.limit is not None]
    why = [
        f"{name}: {line.reason}" for name, line in lines.items() if line.word == "unknown" and line.limit is not None
    ]
    if why:
        out.append(("unknown", "; ".join(why)))
    if found["binding"]:
        line = lines[say.NAMES[found["binding"]]]
        known = line.high is not None or line.verdict == "does not fit"
        out.append(("binds", say.NAMES[found["binding"]] + (f", {say.spare(line.margin or 0.0)}" if known else "")))
    if found["remedies"]:
        out.append(("would help", "; ".join(found["remedies"])))
    if found["elsewhere"]:
        out.append(("elsewhere", found["elsewhere"]))
    return out
