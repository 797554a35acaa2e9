"""What a teacher's features cost here, live and stored: bytes from shapes, milliseconds from a short probe. Loads torch."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.fingerprint import environment
from potstill.core.tensorfile import TensorWriter, open_arrays
from potstill.core.units import human_bytes
from potstill.labels.codecs import CodecSpec
from potstill.pipeline.places import dry_run
from potstill.pipeline.shape import DataShape
from potstill.recipe.model import Recipe
from potstill.taps import Place

BUDGET_S = 0.1
"""About what one figure may take; a pass or a read that would take longer is made over fewer rows, and scaled."""
FILE_BYTES = 32 << 20
"""Most that the probe writes for one place."""
_REPEATS = 3

Clock = Callable[[], float]


@dataclass(frozen=True)
class FeatureCost:
    """One place of the teacher, or all that are read together."""

    place: str
    """Path of the module; "all" for all together: live, one pass serves them."""
    shape: tuple[int, ...] | None
    """Of a row."""
    stored_bytes: int
    """Rows times views times bytes of a row."""
    live_bytes: int
    """On disk: none."""
    stored_ms: float
    """To read a batch and bring it to float32."""
    live_ms: float
    """For the teacher to run on a batch, as far as the place."""
    batch: int
    """Rows."""
    faster: str
    """stored or live."""
    source: str
    """measured: a whole batch was, both ways, here; estimated: scaled from fewer rows, or the store would not stay in memory
    as the probe's file does."""

    def text(self) -> str:
        """Return a line for the plan."""
        shape = "" if self.shape is None else " " + "×".join(map(str, self.shape))
        return (
            f"features {self.place}{shape}: stored {human_bytes(self.stored_bytes)}, live {human_bytes(self.live_bytes)} on "
            f"disk; {self.batch} rows take {self.stored_ms:.3g} ms stored and {self.live_ms:.3g} ms live ({self.source}): "
            f"{self.faster} is faster here."
        )


def feature_costs(
    recipe: Recipe, shape: DataShape, names: Sequence[str], batch: int, threads: int, folder: Path,
    clock: Clock = time.perf_counter,
) -> list[FeatureCost]:  # fmt: skip
    """Return the cost of each place, and of all together where there are several.

    Args:
        recipe: its teacher is tappable; the weights do not matter.
        shape: of the data.
        names: of the teacher's places that are read.
        batch: rows of a training step.
        threads: that a training will have.
        folder: on the disk where stores are; the probe's file is removed again.
        clock: seconds.
    """
    import torch

    from potstill.taps.capture import Capture

    teacher, found = dry_run(recipe, shape)["teacher"]
    places = [place for place in found if place.name in names]
    pixels = torch.rand(batch, *shape.io.shape).to(getattr(torch, shape.io.dtype))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    def live(some: Sequence[Place]) -> tuple[float, bool]:
        captured = Capture(teacher.module, some, "teacher", stop=True)

        def run(num: int) -> None:
            with torch.inference_mode(), captured:
                teacher.module(teacher.preprocess(pixels[:num]))

        return _per_batch(run, batch, clock)

    try:
        teacher.module.eval()
        passes = {place.name: live([place]) for place in places}
        together = live(places)
    finally:
        torch.set_num_threads(before)
    reads = {place.name: _read(place, recipe.features.codec, batch, folder, clock) for place in places}
    rows = shape.train_rows * recipe.labels.views
    sizes = {place.name: rows * recipe.features.codec.row_bytes(math.prod(place.shape)) for place in places}
    costs = [
        _cost(p.name, p.shape, sizes[p.name], [reads[p.name]], passes[p.name], batch, sum(sizes.values()))
        for p in places
    ]
    if len(places) > 1:
        total = sum(sizes.values())
        costs.append(_cost("all", None, total, list(reads.values()), together, batch, total))
    return costs


def _cost(
    name: str, shape: tuple[int, ...] | None, size: int, reads: list[tuple[float, bool]], live: tuple[float, bool],
    batch: int, total: int,
) -> FeatureCost:  # fmt: skip
    stored = sum(seconds for seconds, _ in reads)
    whole = live[1] and all(whole for _, whole in reads) and total < environment()["memory_bytes"] // 2
    return FeatureCost(
        place=name, shape=shape, stored_bytes=size, live_bytes=0, stored_ms=1e3 * stored, live_ms=1e3 * live[0],
        batch=batch, faster="stored" if stored < live[0] else "live", source="measured" if whole else "estimated",
    )  # fmt: skip


def _per_batch(run: Callable[[int], None], batch: int, clock: Clock) -> tuple[float, bool]:
    """Return (seconds for a batch, whether a whole batch was run): the fastest of up to three.
    Rows grow fourfold while a batch stays within the budget."""

    def seconds(num: int) -> float:
        start = clock()
        run(num)
        return clock() - start

    num = min(2, batch)
    seconds(num)  # warms up
    best = seconds(num)
    while num < batch and best * (more := min(batch, 4 * num)) / num <= BUDGET_S:
        num, best = more, seconds(more)
    spent = best
    for _ in range(_REPEATS - 1):
        if spent + best > BUDGET_S:
            break
        best = min(best, again := seconds(num))
        spent += again
    return best * batch / num, num == batch


def _read(place: Place, codec: CodecSpec, batch: int, folder: Path, clock: Clock) -> tuple[float, bool]:
    """Return (seconds to read a batch from a memory map, whether a whole batch was read)."""
    width = math.prod(place.shape)
    block = np.random.default_rng(0).normal(size=(min(64, max(1, FILE_BYTES // (4 * width))), width)).astype(np.float32)
    num = max(1, FILE_BYTES // codec.row_bytes(width) // len(block)) * len(block)
    rows = np.random.default_rng(1).integers(0, num, size=min(batch, num))
    with tempfile.TemporaryDirectory(dir=folder, prefix="probe-") as made:
        path = Path(made) / "rows.safetensors"
        layout = {name: (dtype, (num, *shape)) for name, (dtype, shape) in codec.layout(width).items()}
        fields = codec.encode(block)
        with TensorWriter(path, layout) as writer:
            for _ in range(num // len(block)):
                for name, array in fields.items():
                    writer.append(name, array)
        arrays: dict[str, Any] = open_arrays(path, scattered=True)

        def run(some: int) -> None:
            codec.decode({name: array.take(rows[:some], axis=0) for name, array in arrays.items()}, width)

        seconds, whole = _per_batch(run, len(rows), clock)
    return seconds * batch / len(rows), whole and len(rows) == batch
