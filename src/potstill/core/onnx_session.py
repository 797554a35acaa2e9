"""The only owner of onnxruntime: an ONNX file as a function, checked before it is opened. Shapes: B rows, X, Y the
shapes of one input and output."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError

_MAX_BYTES = 2 << 30
"""What protobuf holds; larger weights lie in files beside the model."""
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class OnnxSession:
    """An ONNX model with one input of numbers and one output that is read, run on the CPU.

    Args:
        path: of the file; external data must lie in its folder.
        threads: of one operator; results are reproducible within one count.
        output: name of the output to read; None takes the first.

    Raises:
        PotstillError: not an ONNX file that can be run, or one that reaches outside its folder.
    """

    def __init__(self, path: Path, threads: int = 1, output: str | None = None) -> None:
        self.path, self.threads = path, threads
        self._session = _opened(path, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) < 2:
            shown = [(i.name, i.type, i.shape) for i in inputs]
            raise PotstillError(f"{path}: must have one input of numbers, of rank 2 or more; got {shown}.")
        names = [o.name for o in outputs]
        if output is not None and output not in names:
            raise PotstillError(f"{path}: output must be one of {names}; got {output!r}.")
        self._output = output or names[0]
        self.input_name: str = inputs[0].name
        self.input_dtype = _TYPES[inputs[0].type]
        self.input_shape = tuple(d if isinstance(d, int) and d > 0 else None for d in inputs[0].shape)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.signature: dict[str, Any] = {}

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, *Y] float32; a model of a fixed batch is run as often as it takes.

        Raises:
            PotstillError: the model does not take this shape, or fails.
        """
        inputs = self._typed(inputs_BX)
        if len(inputs) == 0:
            return self(np.zeros((1, *inputs.shape[1:]), inputs.dtype))[:0]
        fixed = self.input_shape[0]
        if fixed is None or fixed == len(inputs):
            return self._run(inputs)
        parts = []
        for start in range(0, len(inputs), fixed):
            part = inputs[start : start + fixed]
            padded = np.concatenate([part, np.repeat(part[-1:], fixed - len(part), axis=0)])
            parts.append(self._run(padded)[: len(part)])
        return np.concatenate(parts)

    def _typed(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        if self.input_dtype is np.uint8 and inputs_BX.dtype != np.uint8:
            # 255 times a float pixel often lies just below the byte it came from: cutting would darken it by one.
            inputs_BX = np.clip(np.rint(inputs_BX), 0, 255)
        return np.ascontiguousarray(inputs_BX, dtype=self.input_dtype)

    def _run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        try:
            out = self._session.run([self._output], {self.input_name: inputs})[0]
        except Exception as err:
            raise PotstillError(
                f"{self.path}: must take input {list(inputs.shape)} {inputs.dtype}; got {_first_line(err)}"
            ) from err
        out = np.asarray(out)
        if out.ndim < 2 or len(out) != len(inputs):
            raise PotstillError(f"{self.path}: output {self._output!r} must be [rows, ...]; got {list(out.shape)}.")
        return out.astype(np.float32, copy=False)


class OnnxGraph:
    """An ONNX model with several inputs and outputs, run on the CPU as it is.

    Args:
        path: of the file; external data must lie in its folder.
        threads: of one operator.

    Raises:
        PotstillError: not an ONNX file that can be run, or one that reaches outside its folder.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path = path
        self._session = _opened(path, threads)
        self.inputs: list[str] = [i.name for i in self._session.get_inputs()]
        self.outputs: list[str] = [o.name for o in self._session.get_outputs()]
        self.shapes = {i.name: [d if isinstance(d, int) else 0 for d in i.shape] for i in self._session.get_inputs()}
        """Of each input; 0 where a dimension is open."""
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, given: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return every output, of every input in order. Raises PotstillError where the model fails."""
        try:
            out: list[NDArray[Any]] = self._session.run(None, dict(zip(self.inputs, given, strict=True)))
        except Exception as err:
            shapes = [list(a.shape) for a in given]
            raise PotstillError(f"{self.path}: must take inputs {shapes}; got {_first_line(err)}") from err
        return out


def warm() -> None:
    """Load the runtime, so that what a model adds to it can be measured."""
    import onnxruntime

    onnxruntime.get_available_providers()


def _opened(path: Path, threads: int) -> Any:
    import onnxruntime as ort

    _check_file(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    if _cuts_sums():
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    ort.disable_telemetry_events()
    try:
        return ort.InferenceSession(str(path.resolve()), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as err:
        raise PotstillError(f"{path}: must be an ONNX model that ONNX Runtime can run; got {_first_line(err)}") from err


@functools.cache
def _cuts_sums() -> bool:
    """Return whether this is an x86 processor without VNNI. There ONNX Runtime turns int8 into uint8, whose kernels cut sums of two
    products at 16 bits: other answers than those of the numbers in the file."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:300]


def _check_file(path: Path) -> None:
    """Refuse what is no file, too large, or points at files outside its own folder."""
    try:
        if path.is_dir():
            raise PotstillError(f"{path}: must be an ONNX file; got a folder.")
        size = path.stat().st_size
        if not path.is_file() or size == 0 or size > _MAX_BYTES:
            raise PotstillError(f"{path}: must be an ONNX file of at most {_MAX_BYTES} bytes; got {size} bytes.")
        data = path.read_bytes()
    except OSError as err:
        raise PotstillError(f"{path}: must be an ONNX file that can be read; got {err.strerror}.") from err
    folder = path.resolve().parent
    for location in external_locations(data):
        _check_location(path, folder, location)


def _check_location(path: Path, folder: Path, location: str) -> None:
    try:
        target = (folder / location).resolve()
        inside = "\0" not in location and folder in target.parents and target.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, a loop of links
        inside = False
    if not inside or Path(location).is_absolute():
        raise PotstillError(
            f"{path}: external data must be a file in the model's own folder; got {location[:200]!r}. A model file must "
            "not be able to read other files."
        )


_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""The fields of onnx.proto3 through which a tensor's external_data is reached, by message and field number."""
_MAX_DEPTH = 100


def external_locations(data: bytes) -> list[str]:
    """Return the `location` of every external tensor in an ONNX file, wherever it is nested.

    Walks protobuf's wire format along the fields of the ONNX schema that lead to tensors: the runtime is not asked, since
    it opens what it finds, and the onnx package is not loaded, since a device has none. Where an entry gives a key or
    value twice every combination counts: a false hit costs a refusal, a miss would cost a file.
    """
    found: list[str] = []
    todo = [("model", memoryview(data), 0)]
    while todo:
        kind, message, depth = todo.pop()
        if kind == "entry":
            texts = [(number, bytes(value)) for number, value in _fields(message)]
            if (1, b"location") in texts:
                found += [value.decode("utf-8", "replace") for number, value in texts if number == 2] or [""]
        elif depth < _MAX_DEPTH:
            known = _MESSAGES[kind]
            todo += [(known[number], value, depth + 1) for number, value in _fields(message) if number in known]
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (number, bytes) of the length-delimited fields of a protobuf message; groups are skipped, as parsers do, and
    it stops where this is no message."""
    at = depth = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                return
            if depth == 0:
                yield (tag & 0xFFFFFFFF) >> 3, message[at : at + length]
            at += length
        elif kind == 3:
            depth += 1
        elif kind == 4 and depth:
            depth -= 1
        else:
            return


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    return value, len(message) + 1
