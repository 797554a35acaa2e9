"""Any model file of a known format: over a recipe's test split, or by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.child import ChildSession
from potstill.core.errors import PotstillError, ShapeError
from potstill.core.onnx_session import external_locations
from potstill.core.onnx_writer import OnnxWriter
from potstill.core.progress import Progress
from potstill.core.samples import input_shape
from potstill.data.augment import make_batch
from potstill.data.dataset import Dataset
from potstill.exporters import ExporterSpec, registry
from potstill.tasks import TaskSpec, Truth
from potstill.verify.accuracy import headline, lost, run_split
from potstill.verify.latency import calling, interleaved
from potstill.verify.memory import peak_memory

if TYPE_CHECKING:
    from potstill.models.inputs.preprocess import Preprocess

_Arrays: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


def verify_model(
    path: Path,
    dataset: Dataset,
    task: TaskSpec,
    *,
    threads: int,
    scale: float,
    lock: Path,
    trusted: bool = False,
    teacher_NX: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Return what was measured of a model file.

    Args:
        path: of a format that an exporter writes; ours says that it reads pixels in [0, 1], a foreign one reads them times `scale`.
        dataset: its test split is used.
        task: gives the metrics.
        threads: of the runtime.
        scale: pixel range of a foreign model.
        lock: file under which only one process measures.
        trusted: run a file of a format that is a program: the user says so, or a run made it here.
        teacher_NX: the teacher's outputs on the test split; with them the result says how many points the file loses against it.

    Raises:
        PotstillError: no such file, one that cannot be run, or a program that is not trusted.
        ShapeError: it takes other pixels or gives another number of classes.
    """
    exporter, session = _loaded(path, threads, trusted)
    inputs, judged = inputs_of(path, session, dataset, scale)
    test = dataset.splits["test"]

    one = inputs(np.zeros(1, dtype=np.int64))
    memory = peak_memory(exporter.runtime, path, one, threads)  # also the first that runs it, in a process of its own
    outputs = judged(run_split(session, len(test), inputs, Progress("quiet")))
    if dataset.target_shape is None and outputs.shape[1] != len(dataset.classes):
        raise ShapeError(
            f"{path}: must give {len(dataset.classes)} classes, as the data has; it gives {outputs.shape[1]}."
        )
    metrics = task.metrics(outputs, Truth.of(dataset, "test"))
    latency = interleaved({"model": calling(session, one)}, blocks=30, lock=lock)["model"]
    return {
        "model": str(path),
        "preprocessing": _said(session, scale),
        "rows": len(test),
        task.headline: headline(task, dataset, outputs),
        **{
            k: metrics[k]
            for k in ("macro_f1", "rejection", "mse", "mae", "bleu", "bleu_signature", "chrf")
            if k in metrics
        },
        **({} if teacher_NX is None else {"accuracy_drop": lost(task, dataset, teacher_NX, outputs)}),
        "latency_ms": {**latency, "threads": threads, "batch": 1, "source": "measured"},
        "peak_memory_bytes": memory,
        "file_bytes": _size(session.files if isinstance(session, OnnxWriter) else [path], exporter.suffix),
        **{k: metrics[k] for k in ("per_class", "per_variable") if k in metrics},
    }


def verify_alone(path: Path, *, threads: int, scale: float, lock: Path, trusted: bool = False) -> dict[str, Any]:
    """Return what can be measured of a model file without data: what it takes and gives, latency, memory and size; nothing of accuracy.

    Args:
        path: of a format that an exporter writes; its dimensions but that of the batch are fixed.
        threads: of the runtime.
        scale: numbers in [0, scale) are drawn for it, always the same ones; tokens and codes without a scale are 0.
        lock: file under which only one process measures.
        trusted: as for `verify_model`.

    Raises:
        PotstillError: as `verify_model`; a model that writes, or one with open dimensions, needs data.
    """
    exporter, session = _loaded(path, threads, trusted)
    shape = () if isinstance(session, OnnxWriter) else tuple(session.input_shape)
    if not shape or None in shape[1:]:
        raise PotstillError(f"{path}: must have fixed dimensions to be run without data; it takes {list(shape) or 'texts'}. Give a recipe: "
                            "--data recipe.yaml")  # fmt: skip
    one: NDArray[Any] = np.zeros((1, *shape[1:]), session.input_dtype)
    if np.issubdtype(one.dtype, np.floating):
        one = (np.random.default_rng(0).random(one.shape) * scale).astype(one.dtype)
    outputs = session(one)
    if not np.isfinite(outputs).all():
        raise PotstillError(f"{path}: must give finite numbers; got NaN or Inf of numbers in [0, {scale:g}).")
    signature = session.signature
    latency = interleaved({"model": calling(session, one)}, blocks=30, lock=lock)["model"]
    return {
        "model": str(path),
        "preprocessing": _said(session, scale),
        "inputs": {"shape": list(shape), "dtype": np.dtype(session.input_dtype).name, **signature.get("inputs", {})},
        "outputs": {"shape": [None, *outputs.shape[1:]], "dtype": "float32", **signature.get("outputs", {})},
        "accuracy": {"value": None, "source": "unknown"},
        "latency_ms": {**latency, "threads": threads, "batch": 1, "source": "measured"},
        "peak_memory_bytes": peak_memory(exporter.runtime, path, one, threads),
        "file_bytes": _size([path], exporter.suffix),
    }


def _factor(path: Path, session: Any, scale: float) -> np.float32:
    """Return what pixels in [0, 1] are multiplied by. Raises PotstillError where one of ours is given a range."""
    if "potstill" in session.metadata and scale != 1.0:
        raise PotstillError(
            f"{path}: reads pixels in [0, 1], as its metadata says; got scale={scale:g}. Leave --scale out: it is for "
            "foreign models."
        )
    return np.float32(scale)


def _loaded(path: Path, threads: int, trusted: bool) -> tuple[ExporterSpec, Any]:
    """Return (the format, the file opened). Raises PotstillError of a program that is not trusted."""
    exporter = format_of(path)
    if exporter.program and not trusted:
        raise PotstillError(
            f"{path}: a {exporter.suffix} file is a program, and no run on this machine made this one: running it runs whatever is in "
            "it. If you trust whoever gave it to you: potstill verify --run-program"
        )
    if path.suffix == ".onnx":  # runs in this process: what crashes it shall have crashed a child before
        ChildSession(exporter.runtime, path, threads).close()
    return exporter, exporter.load(path, threads)


def _said(session: Any, scale: float) -> str:
    """Return where preprocessing is done."""
    if "potstill" not in session.metadata:
        return f"pixels times {scale:g}, nothing else"
    return {"normalise": "normalised by the host", "log-mel": "spectrogram by the host", None: "inside"}[
        session.signature.get("host", {}).get("do")
    ]


def inputs_of(path: Path, session: Any, dataset: Dataset, scale: float = 1.0) -> tuple[_Arrays, _Arrays]:
    """Return (what gives an opened file's inputs of rows of the test split, what brings its outputs to what the task judges).

    Raises:
        ShapeError: it takes other samples.
    """
    prepare, judged = _preparation(path, session, dataset)
    factor = _factor(path, session, scale)
    test = dataset.splits["test"]

    def inputs(rows: Any) -> Any:
        ready = prepare(make_batch(test, rows, 0, (), 0, reveal=True).inputs_BX.numpy())
        return ready if dataset.kind == "text" else ready * factor

    return inputs, judged


def format_of(path: Path) -> ExporterSpec:
    """Return the format of a file, by its suffix. Raises PotstillError where there is no file, or no such format."""
    kinds = {cls.suffix: cls for _, cls in registry.items()}
    if path.suffix not in kinds:
        known = ", ".join(sorted(kinds))
        raise PotstillError(f"{path}: must be a model file ({known}); got {path.suffix or 'a name without a suffix'}.")
    if not path.is_file():
        raise PotstillError(
            f"{path}: must be a {path.suffix} file that exists; got {'a folder' if path.is_dir() else 'none'}."
        )
    return kinds[path.suffix].model_validate({})


def _preparation(path: Path, session: Any, dataset: Dataset) -> tuple[_Arrays, _Arrays]:
    """Return what brings a batch to what a file takes, and what it gives to what the task judges. Raises ShapeError where nothing does."""
    given = input_shape(dataset.kind, dataset.shape)
    if dataset.kind == "text":
        preprocess = saved_input(path, dataset)
        if isinstance(session, OnnxWriter) != (preprocess.writing is not None):
            raise ShapeError(f"{path}: must be what the student.json beside it says; one of the two writes texts, the other does not. Keep "
                             "the files of a model together.")  # fmt: skip
        return preprocess.outside_numpy, preprocess.judged
    if isinstance(session, OnnxWriter):
        raise ShapeError(
            f"{path}: must read what the data gives, {dataset.kind}; it reads texts. Give a recipe of texts."
        )
    return _sized(path, session, dataset, given), lambda outputs: outputs


def _sized(path: Path, session: Any, dataset: Dataset, given: tuple[int, ...]) -> _Arrays:
    takes = session.input_shape
    last = dataset.kind == "image" and len(takes) == 4 and takes[1] != given[0] and takes[3] == given[0]
    if last:  # as TensorFlow has them
        takes = (takes[0], takes[3], *takes[1:3])
    if len(takes) != len(given) + 1 or takes[1] not in (None, given[0]):
        raise ShapeError(
            f"{path}: must take {given[0]} channels, first or last, as the data has; it takes {list(session.input_shape)}."
        )
    if dataset.kind != "image":
        return lambda inputs: inputs
    from torch import nn

    from potstill.models.inputs.preprocess import Resize

    resize = Resize(nn.Identity(), (takes[2] or given[1], takes[3] or given[2])).outside_numpy
    return (lambda inputs: np.ascontiguousarray(resize(inputs).transpose(0, 2, 3, 1))) if last else resize


def saved_input(path: Path, dataset: Dataset) -> Preprocess:
    """Return what stands before a model: that of the `student.json` beside the file. Raises ShapeError where there is none."""
    from pydantic import TypeAdapter

    from potstill.models import ModelSpec, io_of, registry

    card = path.parent / "student.json"
    if not card.is_file():
        raise ShapeError(f"{path}: must have its student.json beside it; there is none. A file of tokens does not say how text "
                         "becomes them.")  # fmt: skip
    spec: ModelSpec = TypeAdapter(registry.union()).validate_python(atomic.read_json(card)["model"])
    io = io_of(dataset.kind, dataset.shape, dataset.target_shape or (len(dataset.classes),), dataset.rate_hz)
    spec.input.must_read(io, str(card))
    return spec.input.preprocess(io)


def _size(paths: Sequence[Path], suffix: str) -> int:
    """Return the bytes of a model's files, with the weights that an ONNX file keeps in files beside it."""
    found = {path.resolve() for path in paths}
    if suffix == ".onnx":
        found |= {
            (path.parent / location).resolve() for path in paths for location in external_locations(path.read_bytes())
        }
    return sum(path.stat().st_size for path in found)
