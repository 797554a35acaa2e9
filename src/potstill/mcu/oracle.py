"""TensorFlow Lite Micro on this machine: what its interpreter gives is what the generated code must give, code by code.

It rounds twice, as its kernels on a core do. LiteRT's default kernels round once and give other codes for many inputs, so they are no
oracle of what a microcontroller computes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.child import ChildSession
from potstill.core.errors import ExportError, MissingExtraError, PotstillError
from potstill.core.extras import check_present
from potstill.mcu.model import Model, Op, Tensor
from potstill.mcu.rows import packed, unpacked
from potstill.mcu.write import write_model

VERSION = "0.dev20261023182759"
"""The release that results are compared with."""
_RUNTIME = "potstill.core.runtimes.tflm"


class Oracle:
    """A .tflite file in TensorFlow Lite Micro's interpreter, in a process of its own.

    Args:
        data: bytes of the file.
        model: the same, read.

    Raises:
        ExportError: the interpreter refuses it.
        MissingExtraError: it is not installed, or is another version than the one that is compared with.
    """

    def __init__(self, data: bytes, model: Model) -> None:
        check_version()
        self._model = model
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(data)
            try:
                self._session = ChildSession(_RUNTIME, path)
            except MissingExtraError:
                raise
            except PotstillError as err:
                raise ExportError(f"{model.name}: must be a model that TensorFlow Lite Micro runs; got a refusal. Its operators or types are not those of a "
                                  "microcontroller: quantise it whole (int8_static_per_channel).") from err  # fmt: skip

    def __call__(self, rows: Sequence[Sequence[NDArray[Any]]]) -> list[list[NDArray[Any]]]:
        """Return the outputs of each row, of one array per input in its own type."""
        given = np.frombuffer(packed(rows), np.uint8).reshape(len(rows), -1)
        ends = [self._model.tensors[i] for i in self._model.outputs]
        return unpacked(self._session(given).tobytes(), [(e.shape, e.dtype) for e in ends], len(rows), self._model.name)

    def close(self) -> None:
        """End the process."""
        self._session.close()


def check_version() -> None:
    """Raise MissingExtraError where TensorFlow Lite Micro is not here in the version that codes are compared with."""
    check_present("tflite_micro", "mcu", "TensorFlow Lite Micro")
    there = version("tflite-micro")
    if there != VERSION:
        raise MissingExtraError(
            f"tflite-micro: must be {VERSION}, which codes are compared with; got {there}. Install it: pip install 'potstill[mcu]'"
        )


@cache
def identity() -> dict[str, str]:
    """Return the oracle's version and the SHA-256 of its native module."""
    check_version()
    found = importlib.util.find_spec("tflite_micro")
    assert found is not None and found.origin is not None
    native = sorted((Path(found.origin).parent / "python" / "tflite_micro").glob("_runtime*.so"))
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in native)).hexdigest()
    return {"name": "TensorFlow Lite Micro", "version": VERSION, "sha256": digest}


def tables(model: Model, ops: Sequence[Op]) -> dict[int, list[int]]:
    """Return what unary operators make of each code from -128 to 127: their answers in TensorFlow Lite Micro, in a model of their own.

    Returns:
        {index of the operator: 256 codes}.

    Raises:
        ExportError: one has other types, or is none that TensorFlow Lite Micro has for int8.
        MissingExtraError: it is not installed.
    """
    check_unary(model, ops)
    if not ops:
        return {}
    codes = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
    alone = _side_by_side(model, ops)
    try:
        oracle = Oracle(write_model(alone), alone)
        found = oracle([[codes] * len(ops)])[0]
    except MissingExtraError:
        raise
    except PotstillError as err:
        if len(ops) > 1:
            return {k: v for op in ops for k, v in tables(model, [op]).items()}
        raise model.refuse(
            ops[0], "must be one that TensorFlow Lite Micro has for int8", f"a refusal of {ops[0].kind}"
        ) from err
    oracle.close()
    return {op.index: [int(v) for v in codes.ravel()] for op, codes in zip(ops, found, strict=True)}


def check_unary(model: Model, ops: Sequence[Op]) -> None:
    """Raise ExportError where a unary operator is not from codes to codes."""
    for op in ops:
        x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
        if len(op.inputs) != 1 or x.dtype != "int8" or y.dtype != "int8" or len(x.scales) != 1 or len(y.scales) != 1:
            raise model.refuse(
                op,
                "must read and give int8 codes",
                f"{x.dtype} and {y.dtype}. Quantise it whole (int8_static_per_channel)",
            )


def _side_by_side(model: Model, ops: Sequence[Op]) -> Model:
    """Return a model of unary operators over 256 codes each."""
    tensors: list[Tensor] = []
    made = []
    for op in ops:
        ends = (model.tensors[op.inputs[0]], model.tensors[op.outputs[0]])
        tensors += [replace(t, shape=(1, 256), data=None) for t in ends]
        made.append(replace(op, inputs=(len(tensors) - 2,), outputs=(len(tensors) - 1,)))
    ends_of = tuple(range(0, len(tensors), 2))
    return Model(model.name, tuple(tensors), tuple(made), ends_of, tuple(i + 1 for i in ends_of))
