"""`labels check` and `labels repair`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.core.artifact import MANIFEST
from potstill.core.errors import StoreError
from potstill.core.progress import Progress

if TYPE_CHECKING:
    from potstill.stages import RunOptions


def check_store(folder: Path, *, as_json: bool) -> None:
    """Print every damaged part of each store. Raises StoreError (exit code 4) if there is any."""
    from potstill.pipeline.check import store_folders, store_problems

    found = {store: store_problems(store) for store in store_folders(folder)}
    if as_json:
        listed = {s: [{"file": d.file, "what": d.what} for d in problems] for s, problems in found.items()}
        print(json.dumps([{"folder": str(store), "damage": damage} for store, damage in listed.items()]))
    for store, problems in found.items() if not as_json else ():
        for damage in problems:
            print(f"{damage.file if len(found) == 1 else store / damage.file}: {damage.what}")
        if not problems:
            print(f"{store}: every shard is as it was written.")
    for store, problems in found.items():
        if any(damage.file == MANIFEST for damage in problems):  # without it nobody knows how the rest was made
            raise StoreError(
                f"{store}: {len(problems)} damaged. Remove the store, then run its recipe again: potstill cache gc --damaged"
            )
    damaged = [store for store, problems in found.items() if problems]
    if damaged:
        num = sum(len(problems) for problems in found.values())
        raise StoreError(f"{', '.join(map(str, damaged))}: {num} damaged. Mend it: potstill labels repair {folder}")


def repair_store(folder: Path, options: RunOptions) -> None:
    """Rewrite the damaged shards and print which they were."""
    from potstill.pipeline.check import repair, store_folders

    mended = [name for store in store_folders(folder) for name in repair(store, options, Progress("auto"))]
    print("\n".join(f"rewritten: {name}" for name in mended) or "Nothing was damaged.")
