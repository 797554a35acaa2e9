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
    """Print every damaged part. Raises StoreError (exit code 4) if there is any."""
    from potstill.pipeline.check import store_folder, store_problems

    store = store_folder(folder)
    problems = store_problems(store)
    if as_json:
        print(json.dumps({"folder": str(store), "damage": [{"file": d.file, "what": d.what} for d in problems]}))
    for damage in problems if not as_json else ():
        print(f"{damage.file}: {damage.what}")
    if any(damage.file == MANIFEST for damage in problems):  # without it nobody knows how the rest was made
        raise StoreError(
            f"{store}: {len(problems)} damaged. Remove the store, then run its recipe again: potstill cache gc --damaged"
        )
    if problems:
        raise StoreError(f"{store}: {len(problems)} damaged. Mend it: potstill labels repair {folder}")
    if not as_json:
        print(f"{store}: every shard is as it was written.")


def repair_store(folder: Path, options: RunOptions) -> None:
    """Rewrite the damaged shards and print which they were."""
    from potstill.pipeline.check import repair, store_folder

    mended = repair(store_folder(folder), options, Progress("auto"))
    print("\n".join(f"rewritten: {name}" for name in mended) or "Nothing was damaged.")
