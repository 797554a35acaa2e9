"""Any ONNX file over a recipe's test split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.errors import PotstillError, ShapeError
from potstill.core.onnx_session import OnnxSession, external_locations
from potstill.core.progress import Progress
from potstill.core.samples import input_shape
from potstill.data.augment import make_batch
from potstill.data.dataset import Dataset
from potstill.tasks import TaskSpec, Truth
from potstill.verify.accuracy import run_split
from potstill.verify.gain import accuracy_interval, independent
from potstill.verify.latency import interleaved
from potstill.verify.memory import peak_memory


def verify_model(
    path: Path, dataset: Dataset, task: TaskSpec, *, threads: int, scale: float, lock: Path
) -> dict[str, Any]:
    """Return what was measured of a model file.

    Args:
        path: an ONNX file; ours says that it reads pixels in [0, 1], a foreign one reads them times `scale`.
        dataset: its test split is used.
        task: gives the metrics.
        threads: of the runtime.
        scale: pixel range of a foreign model.
        lock: file under which only one process measures.

    Raises:
        PotstillError: no such file, or one that cannot be run.
        ShapeError: it takes other pixels or gives another number of classes.
    """
    if not path.is_file():
        raise PotstillError(
            f"{path}: must be an .onnx file that exists; got {'a folder' if path.is_dir() else 'none'}."
        )
    if path.suffix != ".onnx":
        raise PotstillError(f"{path}: must be an .onnx file; got {path.suffix or 'a name without a suffix'}.")
    session = OnnxSession(path, threads)
    ours = "potstill" in session.metadata
    if ours and scale != 1.0:
        raise PotstillError(
            f"{path}: reads pixels in [0, 1], as its metadata says; got scale={scale:g}. Leave --scale out: it is for "
            "foreign models."
        )
    prepare = _preparation(path, session, dataset)
    factor = np.float32(1.0 if ours else scale)
    test = dataset.splits["test"]

    def inputs(rows: Any) -> Any:
        ready = prepare(make_batch(test, rows, 0, (), 0, reveal=True).inputs_BX.numpy())
        return ready if dataset.kind == "text" else ready * factor

    outputs = run_split(session, len(test), inputs, Progress("quiet"))
    if dataset.target_shape is None and outputs.shape[1] != len(dataset.classes):
        raise ShapeError(
            f"{path}: must give {len(dataset.classes)} classes, as the data has; it gives {outputs.shape[1]}."
        )
    truth = Truth.of(dataset, "test")
    metrics = task.metrics(outputs, truth)
    one = inputs(np.zeros(1, dtype=np.int64))
    value, low, high = accuracy_interval(independent(task.correct(outputs, truth)[None], test.groups, truth))
    latency = interleaved({"model": lambda: session(one)}, blocks=30, lock=lock)["model"]
    return {
        "model": str(path),
        "preprocessing": "inside" if ours else f"pixels times {scale:g}, nothing else",
        "rows": len(test),
        task.headline: {"value": value, "low": low, "high": high, "source": "measured"},
        **{k: metrics[k] for k in ("macro_f1", "rejection", "mse", "mae") if k in metrics},
        "latency_ms": {**latency, "threads": threads, "batch": 1, "source": "measured"},
        "peak_memory_bytes": peak_memory(path, one, threads),
        "file_bytes": _size(path),
        **{k: metrics[k] for k in ("per_class", "per_variable") if k in metrics},
    }


def _preparation(path: Path, session: OnnxSession, dataset: Dataset) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what brings a batch to the size that a file takes. Raises ShapeError where nothing does."""
    given = input_shape(dataset.kind, dataset.shape)
    takes = session.input_shape
    if dataset.kind == "text":
        return _tokenizer(path, dataset)
    if len(takes) != len(given) + 1 or takes[1] not in (None, given[0]):
        raise ShapeError(
            f"{path}: must take {given[0]} channels first, as the data has; it takes {list(session.input_shape)}."
        )
    if dataset.kind != "image":
        return lambda inputs: inputs
    from torch import nn

    from potstill.models.inputs.preprocess import Resize

    return Resize(nn.Identity(), (takes[2] or given[1], takes[3] or given[2])).outside_numpy


def _tokenizer(path: Path, dataset: Dataset) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what makes tokens of texts: that of the `student.json` beside the file. Raises ShapeError where there is none."""
    from pydantic import TypeAdapter

    from potstill.models import ModelSpec, io_of, registry

    card = path.parent / "student.json"
    if not card.is_file():
        raise ShapeError(f"{path}: must have its student.json beside it; there is none. A file of tokens does not say how text "
                         "becomes them.")  # fmt: skip
    spec: ModelSpec = TypeAdapter(registry.union()).validate_python(atomic.read_json(card)["model"])
    io = io_of(dataset.kind, dataset.shape, (len(dataset.classes),), dataset.rate_hz)
    spec.input.must_read(io, str(card))
    return spec.input.preprocess(io).outside_numpy


def _size(path: Path) -> int:
    """Return the bytes of a model with the weights that it keeps in files beside it."""
    beside = {(path.parent / location).resolve() for location in external_locations(path.read_bytes())}
    return path.stat().st_size + sum(other.stat().st_size for other in beside)
