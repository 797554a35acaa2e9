"""Generated C verified on an emulated core, over a recipe's test split where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.progress import Progress
from potstill.mcu.export import MODEL
from potstill.pipeline.cache import ArtifactCache, default_root
from potstill.pipeline.check import prepared
from potstill.pipeline.fits import core_verdicts, teacher_outputs
from potstill.pipeline.graph import build
from potstill.recipe.model import Recipe
from potstill.verify.emulated import check_ours, target_of, verify_on_core

_SAMPLES = 256
_HEADLINES = ("latency_ms", "peak_memory_bytes", "file_bytes", "model")
"""What is measured of the host's build and says nothing of a core."""


def verify_device(
    model: Path, device: str, recipe: Recipe | None, *, rows: int, scale: float, progress: Progress, trusted: bool
) -> dict[str, Any]:
    """Return what a generated folder gives and takes on a device's core; with a recipe, over its real samples, with its metric over the
    whole test split by the same arithmetic, and with a verdict by what the recipe allows on this device.

    Args:
        model: the folder, or its model.c.
        device: core or profile.
        recipe: whose test split is used; None makes samples up.
        rows: that the emulated core answers.
        scale: pixel range of a foreign model.
        progress: where to report.
        trusted: build and run it whatever is in it.

    Raises:
        PotstillError: it is no such folder, or is a program that is not ours and not trusted; else as `verify_on_core`.
    """
    folder = model if model.is_dir() else model.parent
    if not (folder / MODEL).is_file():
        raise PotstillError(
            f"{model}: must be the {MODEL} of a folder that potstill export-c or an export of kind c wrote; got {'a folder without it' if model.is_dir() else 'something else'}."
        )
    target = target_of(device)
    if not trusted:
        check_ours(folder)
    if recipe is None:
        return verify_on_core(folder, target, None, rows)
    from potstill.verify.foreign import format_of, inputs_of, verify_model

    cache = ArtifactCache(default_root())
    dataset = prepared(recipe, cache, progress)
    session: Any = format_of(folder / MODEL).load(folder / MODEL)
    inputs, _ = inputs_of(folder / MODEL, session, dataset, scale)
    chosen = np.arange(min(_SAMPLES, len(dataset.splits["test"])), dtype=np.int64)
    found = verify_on_core(folder, target, inputs(chosen), rows)
    whole = verify_model(
        folder / MODEL,
        dataset,
        recipe.task,
        threads=1,
        scale=scale,
        lock=cache.root / "locks" / "measure.lock",
        trusted=True,
        teacher_NX=teacher_outputs(build(recipe, cache.digests, cache), cache) if recipe.devices else None,
    )
    verdicts = core_verdicts(recipe, folder / MODEL, device, found, whole)
    said = {**found, "host": {k: v for k, v in whole.items() if k not in _HEADLINES}}
    return {**said, "verdicts": verdicts} if verdicts else said
