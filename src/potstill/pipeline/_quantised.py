"""What the report says of a quantised student: accuracy in float, as it rounds and in its runtime; bytes, time, the layers' cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.core.tensorfile import open_arrays
from potstill.pipeline.graph import STUDENT, last_step
from potstill.stages.evaluate import FLOAT

if TYPE_CHECKING:
    from potstill.pipeline.results import Results


def quantised(results: Results) -> dict[str, Any] | None:
    """Return the facts of the student of the first seed; None where it is in float32."""
    seed = results.recipe.seed
    facts = results.facts(last_step(results.graph, STUDENT, seed)).get("quantised")
    if facts is None:
        return None
    folder = results.folder(f"evaluate/{STUDENT}/seed{seed}")
    whole = results.correct(np.asarray(open_arrays(folder / FLOAT)["outputs"]))
    rounded = results.correct(results.outputs(f"evaluate/{STUDENT}/seed{seed}"))
    return {
        **facts,
        "seed": seed,
        "accuracy_float": {**results.interval(whole[None]), "source": "measured"},
        "accuracy": {**results.interval(rounded[None]), "source": "measured"},
        "points": 100 * float(rounded.mean() - whole.mean()),
    }


def in_runtime(exported: dict[str, Any], verified: dict[str, Any], threads: int) -> dict[str, Any] | None:
    """Return an artifact's bytes and time beside those of the same student in float32; None where it is in float32."""
    if "scheme" not in exported:
        return None
    latency = verified["latency"]
    return {
        "scheme": exported["scheme"],
        "float_bytes": verified["float_bytes"],
        "float_latency_ms": {**latency["float"], "threads": threads, "batch": 1, "source": "measured"},
        "latency_ratio": latency["student"]["ratio_float"],
    }
