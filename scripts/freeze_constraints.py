"""Write constraints/core.txt and constraints/dev.txt: the exact versions that this environment holds.

    .venv/bin/python scripts/freeze_constraints.py

Run it in an environment in which `make test` passes. `core.txt` is what `make demo` needs; `dev.txt` adds the rest.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# Exact versions that were tested together. Written by scripts/freeze_constraints.py.\n"


def closure(name: str, extras: set[str], found: dict[str, str]) -> None:
    """Add the installed version of `name` and of all it needs to `found`."""
    dist = distribution(name)
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found and not extras:
        return
    found[key] = dist.version.split("+")[0]
    for text in dist.requires or []:
        need = Requirement(text)
        if _applies(need.marker, extras):
            try:
                closure(need.name, set(need.extras), found)
            except PackageNotFoundError:
                print(f"not installed, left out: {need.name} (of {name})")


def _applies(marker: Marker | None, extras: set[str]) -> bool:
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""}) | {""})


def main() -> None:
    core: dict[str, str] = {}
    closure("potstill", set(), core)
    everything: dict[str, str] = {}
    closure("potstill", {"dev", "hf", "mcu", "prune", "runtimes", "tensorboard", "translation"}, everything)
    for found in (core, everything):
        found.pop("potstill")
    _write("core.txt", HEAD, core)
    _write("dev.txt", HEAD + "-c core.txt\n", {k: v for k, v in everything.items() if k not in core})


def _write(name: str, head: str, versions: dict[str, str]) -> None:
    lines = "".join(f"{k}=={v}\n" for k, v in sorted(versions.items()))
    (ROOT / "constraints" / name).write_text(head + lines)


if __name__ == "__main__":
    main()
