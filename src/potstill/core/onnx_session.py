"""The only owner of onnxruntime: an ONNX file as a function, checked before it is opened. Shapes: B rows, K classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError

_MAX_BYTES = 4 << 30
_FLOATS = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class OnnxSession:
    """An ONNX model with one picture input and one output [B, K], run on the CPU.

    Args:
        path: of the file; external data must lie in its folder.
        threads: of one operator; results are reproducible within one count.
        output: name of the output to read; None takes the first.

    Raises:
        PotstillError: not an ONNX file that can be run, or one that reaches outside its folder.
    """

    def __init__(self, path: Path, threads: int = 1, output: str | None = None) -> None:
        import onnxruntime as ort

        self.path, self.threads = path, threads
        _check_file(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        ort.disable_telemetry_events()
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as err:
            raise PotstillError(
                f"{path}: must be an ONNX model that ONNX Runtime can run; got {_first_line(err)}"
            ) from err
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in _FLOATS or len(inputs[0].shape) != 4:
            shown = [(i.name, i.type, i.shape) for i in inputs]
            raise PotstillError(f"{path}: must have one input of pictures, rank 4; got {shown}.")
        names = [o.name for o in outputs]
        if output is not None and output not in names:
            raise PotstillError(f"{path}: output must be one of {names}; got {output!r}.")
        self._output = output or names[0]
        self.input_name: str = inputs[0].name
        self.input_dtype = _FLOATS[inputs[0].type]
        self.input_shape = tuple(d if isinstance(d, int) and d > 0 else None for d in inputs[0].shape)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, inputs_BCHW: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32; a model of a fixed batch is run as often as it takes.

        Raises:
            PotstillError: the model does not take this shape, or fails.
        """
        inputs = np.ascontiguousarray(inputs_BCHW, dtype=self.input_dtype)
        fixed = self.input_shape[0]
        if fixed is None or fixed == len(inputs):
            return self._run(inputs)
        parts = []
        for start in range(0, len(inputs), fixed):
            part = inputs[start : start + fixed]
            padded = np.concatenate([part, np.repeat(part[-1:], fixed - len(part), axis=0)])
            parts.append(self._run(padded)[: len(part)])
        return np.concatenate(parts)

    def _run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        try:
            out = self._session.run([self._output], {self.input_name: inputs})[0]
        except Exception as err:
            raise PotstillError(
                f"{self.path}: must take input {list(inputs.shape)} {inputs.dtype}; got {_first_line(err)}"
            ) from err
        out = np.asarray(out)
        if out.ndim != 2 or len(out) != len(inputs):
            raise PotstillError(f"{self.path}: output {self._output!r} must be [rows, classes]; got {list(out.shape)}.")
        return out.astype(np.float32, copy=False)


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:300]


def _check_file(path: Path) -> None:
    """Refuse what is no file, too large, or points at files outside its own folder."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size == 0 or size > _MAX_BYTES:
            raise PotstillError(f"{path}: must be an ONNX file of at most {_MAX_BYTES} bytes; got {size} bytes.")
        data = path.read_bytes()
    except OSError as err:
        raise PotstillError(f"{path}: must be an ONNX file that can be read; got {err.strerror}.") from err
    folder = path.resolve().parent
    for location in external_locations(data):
        target = (folder / location).resolve()
        if Path(location).is_absolute() or folder not in target.parents:
            raise PotstillError(
                f"{path}: external data must lie in the model's own folder; got {location!r}. A model file must not be "
                "able to read other files."
            )


def external_locations(data: bytes) -> list[str]:
    """Return the `location` of every external tensor in an ONNX file, wherever it is nested.

    Walks the protobuf wire format: an entry {key: "location", value: X} (StringStringEntryProto) is what names a file.
    A false hit costs a refusal, a miss would cost a file; so every length-delimited field is looked into.
    """
    found: list[str] = []
    todo = [memoryview(data)]
    while todo:
        message = todo.pop()
        fields = list(_fields(message))
        texts = {number: bytes(value) for number, value in fields if number in (1, 2) and len(value) < 4096}
        if texts.get(1) == b"location" and 2 in texts:
            found.append(texts[2].decode("utf-8", "replace"))
        todo.extend(value for _, value in fields if b"location" in bytes(value))
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (number, bytes) of the length-delimited fields of a protobuf message; stop where it is none."""
    at = 0
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
            yield tag >> 3, message[at : at + length]
            at += length
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
