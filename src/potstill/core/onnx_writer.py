"""A translator in ONNX files, run by NumPy and ONNX Runtime alone: what a device needs between ids and ids. Shapes: B rows, S tokens of
a source, L tokens at most, K tokens to choose from, R rows of a step.

`student.onnx` says in its metadata, under "writing", how it writes. With a memory it reads sources once, "inputs" [B, S] int32 -> read_0,
read_1, ... [B, ...], and the file beside it that it names writes a token: "last" [R] int32, read_i [R, ...] and kept_i [R, ..., P, ...],
whose P is 0 before the first token -> "outputs" [R, K] and kept_i_now, one longer. Without one it is run anew for each token, "inputs"
[B, 2, L] int32 -> "outputs" [B, L, K].
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.core.onnx_session import OnnxGraph, OnnxSession, warm
from potstill.core.writing import Remembering, Stepper, Whole, Writing

CARD = "writing"
"""The metadata's key."""
_LONGEST = 1 << 16

__all__ = ["CARD", "OnnxWriter", "card_of", "opened", "warm"]


def opened(path: Path, threads: int = 1) -> OnnxSession | OnnxWriter:
    """Return an ONNX file as what it is; raises as either."""
    graph = OnnxGraph(path, threads)
    if graph.inputs[:1] == ["last"]:
        raise PotstillError(
            f"{path}: must be the file of a translator that reads; this one writes its tokens. Give student.onnx."
        )
    return OnnxWriter(graph, threads) if CARD in graph.metadata else OnnxSession(path, threads)


def card_of(writing: Writing, step: str | None) -> str:
    """Return what the metadata says; `step` is the name of the other file."""
    return json.dumps({**asdict(writing), "step": step}, sort_keys=True)


class OnnxWriter:
    """Ids of sources to ids of what is written for them.

    Args:
        reader: the file that says how it writes.
        threads: of one operator.

    Raises:
        PotstillError: what it says cannot be, or the file that writes is not beside it.
    """

    input_dtype = np.int32

    def __init__(self, reader: OnnxGraph, threads: int = 1) -> None:
        self.path = reader.path
        self.metadata = reader.metadata
        self.signature: dict[str, Any] = {}
        self.writing, step = _card(self.path, reader.metadata[CARD])
        self.files = [self.path] if step is None else [self.path, step]
        self.input_shape: tuple[int | None, ...] = (None, 2, self.writing.length)
        self._reader, self._step = reader, None if step is None else OnnxGraph(step, threads)
        names = [n for n in self._step.inputs if n.startswith("read_")] if self._step else []
        if self._step and (names != reader.outputs or self._step.inputs[0] != "last"):
            raise PotstillError(f"{self.path}: must read what {step} takes; it gives {reader.outputs}, and that takes {self._step.inputs}. "
                                "Files of two models? Export both anew.")  # fmt: skip

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[np.int64]:
        """Return [B, L] int64, what is written for sources [B, 2, L] (the second row is not read) or [B, S], as `Writing.search`
        says."""
        return self.writing.search(self._stepper(inputs_BX))

    def fed(self, ids_B2L: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the logits [B, K] of each place, fed what stands before it in the second row."""
        stepper = self._stepper(ids_B2L)
        for place in range(ids_B2L.shape[2]):
            yield stepper.step(np.ascontiguousarray(ids_B2L[:, 1, place], np.int32), place)

    def longest(self) -> None:
        """Write one text of the greatest length for a source of the greatest length: what takes most memory and time."""
        stepper = self._stepper(np.ones((1, self.writing.length), np.int32))
        last = np.full(1, self.writing.mark, np.int32)
        for place in range(self.writing.length):
            stepper.step(last, place)
            if place == 0 and self.writing.beam > 1:
                stepper.take(np.zeros(self.writing.beam, np.int64))
                last = np.repeat(last, self.writing.beam)

    def _stepper(self, ids_BX: NDArray[Any]) -> Stepper:
        source = np.ascontiguousarray(ids_BX[:, 0] if ids_BX.ndim == 3 else ids_BX, np.int32)
        if source.ndim != 2 or source.shape[1] > self.writing.length:
            raise PotstillError(f"{self.path}: must take sources of at most {self.writing.length} tokens; got {list(source.shape)}. Cut "
                                "them.")  # fmt: skip
        source = np.ascontiguousarray(source[:, : max(1, int((source > 0).sum(axis=1).max(initial=1)))])
        if self._step is None:
            return Whole(lambda ids: self._reader([ids])[0], source, self.writing.length)
        step, rows = self._step, len(source)
        read = self._reader([source])
        kept = [step.shapes[n] for n in step.inputs[1 + len(read) :]]
        nothing = [np.zeros((rows, *shape[1:]), np.float32) for shape in kept]

        def run(last_R: NDArray[np.int32], read: Any, written: Any) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
            logits, *now = step([last_R, *read, *written])
            return logits, now

        return Remembering(run, read, nothing, rows)


def _card(path: Path, text: str) -> tuple[Writing, Path | None]:
    """Return what a file says of itself, checked, for it may come from anywhere."""
    try:
        said: dict[str, Any] = json.loads(text)
        step = said.pop("step")
        writing = Writing(**said)
        if set(said) != {f.name for f in fields(Writing)}:
            raise ValueError("missing fields")
        whole = all(isinstance(said[n], int) and 1 <= said[n] <= _LONGEST for n in ("mark", "length", "beam"))
        if not whole or not isinstance(said["length_penalty"], (int, float)) or not 0 <= said["length_penalty"] < 100:
            raise ValueError("numbers out of bounds")
        if step is not None and (not isinstance(step, str) or Path(step).name != step):
            raise ValueError("step is no file name")
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise PotstillError(
            f"{path}: metadata {CARD!r} must say how texts are written; got {text[:200]!r} ({err})."
        ) from err
    if step is not None and not (path.parent / step).is_file():
        raise PotstillError(f"{path}: must have {step} beside it, which writes the tokens; there is none. Keep the files of a "
                            "translator together.")  # fmt: skip
    return writing, None if step is None else path.parent / step
