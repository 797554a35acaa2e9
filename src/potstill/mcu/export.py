"""A .tflite file as a folder of C that checks itself; all of it, or an error and nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic
from potstill.core.errors import ExportError, PotstillError
from potstill.core.generated import REPORT
from potstill.mcu import emit
from potstill.mcu.code import Program
from potstill.mcu.dead import without_dead_channels
from potstill.mcu.draw import drawn
from potstill.mcu.instructions import modelled
from potstill.mcu.lower import Tables, lower
from potstill.mcu.model import Model
from potstill.mcu.oracle import Oracle, identity, tables
from potstill.mcu.pads import without_pads
from potstill.mcu.plan import Plan, plan_memory
from potstill.mcu.read import parse

MODEL, SOURCE = "model.c", "model.tflite"
"""What the folder opens with, the file that it came from, and what is known of both."""
GOLDEN_ROWS = 4
_HERE = Path(__file__).parent
_TARGET = ("host.c", "check.c", "startup.c", "target.h", "link.ld", "Makefile")
_HEADERS = ("ps_kernels.h", "ps_math.h")
_WINDOW = 5
"""Neighbours that are averaged, so that some made-up inputs are as smooth as real ones."""

Rows: TypeAlias = list[list[NDArray[Any]]]
"""One array per input, row by row."""


@dataclass(frozen=True)
class Generated:
    """A model as C, not yet written."""

    model: Model
    """As the file has it."""
    program: Program
    plan: Plan
    files: dict[str, bytes]
    """Name -> content."""
    report: dict[str, Any]


def generate(
    data: bytes,
    name: str,
    golden: Callable[[Model], Rows] | None = None,
    samples: str = "",
    host: dict[str, Any] | None = None,
) -> Generated:
    """Return a model as C; the same bytes give the same files.

    Args:
        data: of a .tflite file that computes in int8; float32 is taken at its edges.
        name: of the file, for errors and comments.
        golden: gives rows for which the folder checks itself, one array per input in its own type; None makes some up.
        samples: what the inputs are, where it is known.
        host: what is done to a sample before it is the input, for the report.

    Raises:
        ExportError: an operator, a type or a shape has no kernel, or TensorFlow Lite Micro does not run it.
        MissingExtraError: TensorFlow Lite Micro is not installed.
    """
    model = parse(data, name)
    program = program_of(model)
    plan = plan_memory(program)
    rows = made_up(model, GOLDEN_ROWS) if golden is None else golden(model)
    oracle = Oracle(data, model)
    answers = oracle(rows)
    oracle.close()
    report = {**_report(data, model, program, plan), "samples": samples, "host": host}
    files = {
        MODEL: emit.body(program, plan).encode(),
        "model.h": emit.header(program, plan).encode(),
        "golden.h": b"/* What golden.c has. */\n#include <stdint.h>\n\n"
        + f"#define GOLDEN_ROWS {len(rows)}\nextern const uint8_t golden_inputs[], golden_outputs[];\n".encode(),
        "golden.c": b'/* Inputs, and what TensorFlow Lite Micro gives for them. */\n#include "golden.h"\n\n'
        + _bytes_of("golden_inputs", [a for row in rows for a in row])
        + _bytes_of("golden_outputs", [a for row in answers for a in row]),
        SOURCE: data,
        "memory.svg": drawn(report).encode(),
        **{n: (_HERE / "kernels" / n).read_bytes() for n in (*_HEADERS, *emit.sources(program))},
        **{n: (_HERE / "target" / n).read_bytes() for n in _TARGET},
    }
    report["files"] = {n: hashlib.sha256(b).hexdigest() for n, b in sorted(files.items())}
    files[REPORT] = atomic.json_bytes(report)
    return Generated(model, program, plan, files, report)


def program_of(model: Model, tables_of: Tables = tables) -> Program:
    """Return the calls that a model becomes. Raises ExportError as `lower`, and where shapes contradict one another."""
    try:
        return lower(without_pads(without_dead_channels(model)), tables_of)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError, ZeroDivisionError) as err:
        if isinstance(err, PotstillError):
            raise
        raise ExportError(
            f"{model.name}: must be a whole .tflite file; got operators and shapes that contradict one another ({err})."
        ) from err


def write_folder(made: Generated, out: Path) -> Path:
    """Write a generated model into a folder that is empty or not there, and return the path of its model.c.

    Raises:
        ExportError: the folder has something else in it.
    """
    before: set[str] = set()
    if out.is_dir() and (out / REPORT).is_file():
        before = {REPORT, *atomic.read_json(out / REPORT).get("files", ())}
    if out.exists() and (not out.is_dir() or any(p.name not in before for p in out.iterdir())):
        what = "other files in it" if out.is_dir() else "a file"
        raise ExportError(f"{out}: must be a folder that is empty, new or of an earlier export; got {what}.")
    for name in sorted(before - set(made.files)):
        (out / name).unlink(missing_ok=True)
    return write_files(made, out)


def write_files(made: Generated, out: Path) -> Path:
    """Write a generated model beside whatever is in a folder, and return the path of its model.c."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in made.files.items():
        atomic.write_bytes(out / name, content)
    return out / MODEL


def made_up(model: Model, rows: int, seed: int = 0) -> Rows:
    """Return inputs of any code, and smooth ones, in turn; of float32 in [0, 1)."""
    rng = np.random.default_rng(seed)

    def one(i: int, row: int) -> NDArray[Any]:
        t = model.tensors[i]
        if t.dtype != "int8":
            return rng.random(t.shape, dtype=np.float32)
        if row % 2 == 0:
            return rng.integers(-128, 128, t.shape).astype(np.int8)
        flat = np.convolve(rng.normal(0, 1, t.size + _WINDOW - 1), np.full(_WINDOW, 1 / _WINDOW), "valid")
        wide = flat / max(flat.std(), 1e-6) * rng.uniform(10, 60) + rng.uniform(-60, 60)
        codes: NDArray[Any] = np.clip(np.rint(wide), -128, 127).astype(np.int8).reshape(t.shape)
        return codes

    return [[one(i, row) for i in model.inputs] for row in range(rows)]


def _bytes_of(name: str, arrays: Sequence[NDArray[Any]]) -> bytes:
    raw = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    lines = ["".join(f"{v}," for v in raw[i : i + 32]) for i in range(0, len(raw), 32)]
    return f"const uint8_t {name}[{len(raw)}] = {{\n{chr(10).join(lines)}\n}};\n".encode()


def _report(data: bytes, model: Model, program: Program, plan: Plan) -> dict[str, Any]:
    kernels: dict[int, list[str]] = {}
    macs: dict[int, int] = {}
    for call in program.calls:
        kernels.setdefault(call.op.index, []).append(call.kernel)
        macs[call.op.index] = macs.get(call.op.index, 0) + call.macs
    facts: Callable[[int], dict[str, Any]] = lambda i: emit.tensor_facts(model.tensors[i])  # noqa: E731
    return {
        "schema": 1,
        "model": {"name": model.name, "sha256": hashlib.sha256(data).hexdigest()},
        "rounding": "double",
        "oracle": identity(),
        "inputs": [facts(i) for i in model.inputs],
        "outputs": [facts(i) for i in model.outputs],
        "sources": [MODEL, *emit.sources(program)],
        "macs": program.macs,
        "instructions_m4": {"value": modelled(program), "source": "modelled"},
        "arena_bytes": plan.arena,
        "arena_bound_bytes": plan.bound,
        "operators": [
            {"index": op.index, "kind": op.kind, "layer": model.tensors[op.outputs[0]].name, "output": list(model.tensors[op.outputs[0]].shape),
             "macs": macs.get(op.index, 0), "kernels": sorted(set(kernels.get(op.index, [])))}
            for op in program.model.ops
        ],
        "memory": [
            {"name": b.name, "bytes": b.size, "offset": o, "first": b.first, "last": b.last}
            for b, o in zip(plan.blocks, plan.offsets, strict=True)
        ],
    }  # fmt: skip
