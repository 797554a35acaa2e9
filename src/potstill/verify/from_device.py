"""A result that a bundle's runner wrote on a device: read, and checked against what it must be. Shapes: N rows, Y of one output, K classes."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from potstill.core import atomic
from potstill.core.errors import ParityError, StoreError
from potstill.core.hashing import digest_bytes, digest_json
from potstill.core.spec import Spec
from potstill.exporters.parity import AGREEMENT

_MAX_BYTES = 256 << 20


class Device(Spec):
    """What a machine said of itself."""

    name: str = Field(min_length=1, max_length=120)
    machine: str
    model: str
    cpu: str
    cores: int = Field(ge=1)
    memory_bytes: int = Field(gt=0)
    governor: str | None
    clock_mhz: float | None = Field(gt=0)
    system: str
    python: str
    celsius_before: float | None
    celsius_after: float | None


class Runtime(Spec):
    """What ran the model."""

    name: str
    version: str
    numpy: str


class Times(Spec):
    """Milliseconds of single calls."""

    threads: int = Field(ge=1)
    batch: Literal[1]
    calls: int = Field(ge=1)
    min: float = Field(gt=0)
    median: float
    p95: float
    cold: float = Field(gt=0)


class Memory(Spec):
    """Bytes of the process that ran the model, and before it was loaded."""

    peak: int = Field(gt=0)
    baseline: int = Field(gt=0)
    value: int = Field(ge=0)


class Outputs(Spec):
    """What the model gave, float32."""

    shape: tuple[int, ...] = Field(min_length=2, max_length=8)
    sha256: str
    base64: str


class DeviceResult(Spec):
    """The file."""

    schema_: Literal[1] = Field(alias="schema")
    bundle: str
    files: dict[str, str]
    device: Device
    runtime: Runtime
    latency_ms: tuple[Times, ...] = Field(min_length=1)
    peak_memory_bytes: Memory | None
    outputs: Outputs
    rows: tuple[str, ...]
    top1: tuple[int, ...] | None
    accuracy: float | None = Field(ge=0, le=1)
    started: str
    seconds: float = Field(ge=0)
    digest: str

    def outputs_NY(self) -> NDArray[np.float32]:
        """Return the outputs; of a result that `read_result` gave."""
        data = np.frombuffer(base64.b64decode(self.outputs.base64), "<f4")
        return data.reshape(self.outputs.shape)


def read_result(path: Path) -> DeviceResult:
    """Return what a runner wrote. That it ran there nobody can prove; that nothing in it was changed since by hand or by chance its digests show.

    Raises:
        PotstillError: it cannot be read, or is no JSON.
        StoreError: it is of another form, damaged, changed, or contradicts itself; says where.
    """
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise StoreError(f"{path}: must be a device's result of at most {_MAX_BYTES} bytes; got {path.stat().st_size}.")
    raw: Any = atomic.read_json(path)
    try:
        found = DeviceResult.model_validate(raw)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"])) or "result"
        raise StoreError(
            f"{path}: must be what a bundle's run.py writes; {where}: {first['msg'].lower()}. Run it again on the device."
        ) from err
    wrong = _contradiction(found, raw)
    if wrong:
        raise StoreError(
            f"{path}: must be as run.py wrote it; {wrong}. It was damaged or changed. Run it again on the device."
        )
    return found


def _contradiction(found: DeviceResult, raw: dict[str, Any]) -> str:
    """Return what in a result does not fit the rest of it; empty where all does."""
    if digest_json({k: v for k, v in raw.items() if k != "digest"}) != found.digest:
        return "its digest is another"
    try:
        data = base64.b64decode(found.outputs.base64, validate=True)
    except binascii.Error:
        return "outputs are no base64"
    if any(d < 1 for d in found.outputs.shape) or len(data) != 4 * int(np.prod(found.outputs.shape, dtype=object)):
        return "outputs have another shape"
    if digest_bytes(data) != found.outputs.sha256:
        return "outputs have another digest"
    outputs = found.outputs_NY()
    if not np.isfinite(outputs).all():
        return "outputs have NaN or Inf"
    if list(found.rows) != [digest_bytes(row.tobytes())[:16] for row in outputs]:
        return "rows have other digests"
    if found.top1 is not None and list(found.top1) != outputs.argmax(axis=1).tolist():
        return "top1 is not that of the outputs"
    for entry in found.latency_ms:
        if not entry.min <= entry.median <= entry.p95:
            return f"latency_ms must have min <= median <= p95; got {entry.min}, {entry.median}, {entry.p95}"
    memory = found.peak_memory_bytes
    if memory is not None and memory.value != max(0, memory.peak - memory.baseline):
        return "peak_memory_bytes.value is not peak without baseline"
    return ""


def agreement(
    path: Path,
    outputs_NY: NDArray[Any],
    expected_NY: NDArray[Any],
    tolerance: float,
    step: float | None,
    *,
    classes: bool,
) -> dict[str, Any]:
    """Compare what a device gave with what the same file gave here, by the measure that its export was held to.

    Args:
        path: of the result, for errors.
        outputs_NY: of the device.
        expected_NY: of the artifact in its runtime here.
        tolerance: of a file in float, bound of |difference| / max(1, largest |output|).
        step: of a quantised one, from one code of the output to the next; codes must then be within one for 99 % of them.
        classes: whether a row's answer is its largest output.

    Returns:
        {"max_abs_diff", "tolerance" or "codes_equal" and "codes_max", "top1_agreement"}.

    Raises:
        ParityError: they differ by more.
    """
    if outputs_NY.shape != expected_NY.shape:
        raise ParityError(f"{path}: outputs must be {list(expected_NY.shape)}; got {list(outputs_NY.shape)}.")
    difference = np.abs(outputs_NY.astype(np.float64) - expected_NY)
    found: dict[str, Any] = {"max_abs_diff": float(difference.max())}
    worst = int(difference.reshape(len(difference), -1).max(axis=1).argmax())
    if step is None:
        allowed = tolerance * max(1.0, float(np.abs(expected_NY).max()))
        found["tolerance"] = tolerance
        fits, got = (
            difference.max() <= allowed,
            f"a difference of {difference.max():.3g} in row {worst}, over {allowed:.3g}",
        )
        clear = np.ones(len(expected_NY), bool)
    else:
        codes = difference / step
        found |= {"codes_equal": float((codes < 0.5).mean()), "codes_max": float(codes.max())}
        within = float((codes < 1.5).mean())
        fits, got = within >= AGREEMENT, f"{within:.1%} of the codes within one, at least {AGREEMENT:.0%} must be"
        best = np.sort(expected_NY.reshape(len(expected_NY), -1), axis=1)
        clear = best[:, -1] - best[:, -2] > 1.5 * step if best.shape[1] > 1 else np.ones(len(best), bool)
    found["top1_agreement"] = None
    if classes:
        same = outputs_NY.argmax(1) == expected_NY.argmax(1)
        found["top1_agreement"] = float(same.mean())
        if clear.any() and same[clear].mean() < AGREEMENT:
            fits, got = (
                False,
                f"{same[clear].mean():.1%} of {int(clear.sum())} clear rows with the same top class, at least {AGREEMENT:.0%} must be",
            )
    if not fits:
        raise ParityError(f"{path}: the device must give what the same file gives here; got {got}. Its runtime computes otherwise: what was "
                          "tested is not what runs there. Nothing was taken in.")  # fmt: skip
    return found
