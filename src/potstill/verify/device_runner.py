"""Runs the model of this folder on this machine, and writes what was measured there to a JSON file.

Needs Python 3.9 or later, NumPy and the model's runtime; nothing else, no network, no rights. README.md says how. This file goes into
every bundle as run.py: nothing in it may import potstill. Shapes: N rows, X the shape of one input, Y of one output.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
WARM_S, MOST_CALLS = 1.0, 20_000


class Stop(Exception):
    """What the user must know; ends the program."""


class Onnx:
    """ONNX Runtime, on the CPU."""

    packages, module = ("onnxruntime",), "onnxruntime"

    def __init__(self, path: Path, threads: int) -> None:
        ort = importlib.import_module(self.module)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        if _x86_without_vnni():  # there its default cuts sums of 8-bit products at 16 bits, which changes answers
            options.add_session_config_entry("session.qdqisint8allowed", "1")
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name

    def __call__(self, row: Any) -> Any:
        """Return [1, *Y] for [1, *X]."""
        return self._session.run(None, {self._name: row})[0]


class LiteRT:
    """LiteRT, on the CPU by its default kernels; codes are made of numbers and made numbers again here."""

    packages, module = ("ai-edge-litert",), "ai_edge_litert.interpreter"

    def __init__(self, path: Path, threads: int) -> None:
        made = importlib.import_module(self.module).Interpreter(model_path=str(path), num_threads=threads)
        made.allocate_tensors()
        self._model = made
        self._input, self._output = made.get_input_details()[0], made.get_output_details()[0]

    def __call__(self, row: Any) -> Any:
        """Return [1, *Y] for [1, *X]."""
        scale, zero = self._input["quantization"]
        if self._input["dtype"] in (np.int8, np.uint8) and scale > 0:
            limits = np.iinfo(self._input["dtype"])
            row = np.clip(np.rint(row / np.float32(scale)) + zero, limits.min, limits.max).astype(self._input["dtype"])
        self._model.set_tensor(self._input["index"], row)
        self._model.invoke()
        out = self._model.get_tensor(self._output["index"])
        scale, zero = self._output["quantization"]
        if np.issubdtype(out.dtype, np.integer) and scale > 0:
            return (out.astype(np.float32) - np.float32(zero)) * np.float32(scale)
        return out


class ExecuTorch:
    """ExecuTorch; its Python binding loads PyTorch, which its package does not bring."""

    packages, module = ("executorch", "torch"), "executorch.runtime"

    def __init__(self, path: Path, threads: int) -> None:
        self._torch = importlib.import_module("torch")
        importlib.import_module("executorch.extension.pybindings.portable_lib")._unsafe_reset_threadpool(threads)
        self._program = importlib.import_module(self.module).Runtime.get().load_program(str(path))
        self._method = self._program.load_method("forward")

    def __call__(self, row: Any) -> Any:
        """Return [1, *Y] for [1, *X]."""
        (out,) = self._method.execute([self._torch.from_numpy(row.copy())])
        return out.float().numpy()


RUNTIMES: dict[str, Any] = {"onnx": Onnx, "litert": LiteRT, "executorch": ExecuTorch}
"""By the format of the model."""


def sha256(data: bytes) -> str:
    """Return the SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(text.encode())


def read_manifest() -> dict[str, Any]:
    """Return manifest.json, every file that it names checked."""
    try:
        manifest: dict[str, Any] = json.loads((HERE / "manifest.json").read_bytes())
        for name, entry in manifest["files"].items():
            if Path(name).name != name or sha256((HERE / name).read_bytes()) != entry["sha256"]:
                raise Stop(f"{name}: must be as it was bundled; its SHA-256 differs. Copy the whole folder again.")
    except (OSError, ValueError, KeyError) as err:
        raise Stop(f"{HERE}: must be a whole bundle; got {err}. Copy the whole folder again.") from err
    return manifest


def array(manifest: dict[str, Any], name: str) -> Any:
    """Return an array of the bundle."""
    entry = manifest["arrays"][name]
    return np.fromfile(HERE / entry["file"], entry["dtype"]).reshape(entry["shape"])


def device_facts(name: str) -> dict[str, Any]:
    """Return what the machine says of itself; no user, host or path."""
    cpu = _in_file("/proc/cpuinfo", "model name") or _in_file("/proc/cpuinfo", "Hardware") or platform.processor()
    model = _read("/proc/device-tree/model").rstrip("\0").strip()
    frequency = "/sys/devices/system/cpu/cpu0/cpufreq/"
    fastest = _read(frequency + "cpuinfo_max_freq")
    return {
        "name": name or model or cpu or platform.machine(), "machine": platform.machine(), "model": model, "cpu": cpu,
        "cores": _cores(), "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "governor": _read(frequency + "scaling_governor") or None,
        "clock_mhz": int(fastest) / 1000 if fastest.isdigit() else None,
        "system": platform.system() + " " + platform.release(), "python": platform.python_version(),
    }  # fmt: skip


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def temperature() -> float | None:
    """Return that of the first sensor in degrees Celsius, None where there is none."""
    text = _read("/sys/class/thermal/thermal_zone0/temp")
    return int(text) / 1000 if text.lstrip("-").isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _in_file(path: str, key: str) -> str:
    found = (line.split(":", 1)[1].strip() for line in _read(path).splitlines() if line.startswith(key) and ":" in line)
    return next(found, "")


def _x86_without_vnni() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64", "i686") and "vnni" not in _read("/proc/cpuinfo")


def peak_bytes() -> int | None:
    """Return the most memory that this process had at once (VmHWM), None where the system does not say."""
    text = _in_file("/proc/self/status", "VmHWM").split()
    return int(text[0]) * 1024 if text else None


def measure(manifest: dict[str, Any], threads: int, seconds: float, out: Path) -> dict[str, Any]:
    """Run every row once, then time single rows; leave the outputs in `out`."""
    runtime = RUNTIMES[manifest["format"]]
    importlib.import_module(runtime.module)
    inputs = array(manifest, "inputs")
    baseline = peak_bytes()
    started = time.perf_counter()
    session = runtime(HERE / manifest["file"], threads)
    first = np.asarray(session(inputs[:1]))
    cold = time.perf_counter() - started
    peak = peak_bytes()
    outputs = np.concatenate([first, *(np.array(session(inputs[i : i + 1])) for i in range(1, len(inputs)))])
    outputs.astype("<f4").tofile(out)
    times = _timed(session, inputs, seconds)
    return {
        "latency_ms": {
            "threads": threads, "batch": 1, "calls": len(times), "min": float(times.min()), "median": float(np.median(times)),
            "p95": float(np.percentile(times, 95)), "cold": 1e3 * cold,
        },
        "memory": None if peak is None or baseline is None else {"peak": peak, "baseline": baseline, "value": max(0, peak - baseline)},
        "shape": list(outputs.shape),
    }  # fmt: skip


def _timed(session: Any, inputs: Any, seconds: float) -> Any:
    """Return milliseconds of calls one by one, rows in turn, after a second of warming up."""
    rows = [inputs[i : i + 1] for i in range(len(inputs))]
    started, place = time.perf_counter(), 0
    while place < 3 or time.perf_counter() - started < min(WARM_S, seconds):
        session(rows[place % len(rows)])
        place += 1
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < 10 or (time.perf_counter() - started < seconds and len(found) < MOST_CALLS):
        before = time.perf_counter()
        session(rows[len(found) % len(rows)])
        found.append(time.perf_counter() - before)
    return 1e3 * np.array(found)


def in_child(threads: int, seconds: float, out: Path) -> dict[str, Any]:
    """Measure in a process of its own, so that nothing else is in its memory."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--child",
        str(threads),
        "--seconds",
        str(seconds),
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise Stop(
            f"the model must run here with {threads} threads; its process ended with {done.returncode}: {said[:300]}"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def versions(manifest: dict[str, Any]) -> dict[str, str]:
    """Return the runtime's name and version, and NumPy's. Stops where a package that it needs is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    runtime = RUNTIMES.get(manifest["format"])
    if runtime is None:
        raise Stop(f"format must be one of {', '.join(RUNTIMES)}; got {manifest['format']!r}.")
    try:
        found = [version(package) for package in runtime.packages]
    except PackageNotFoundError as err:
        raise Stop(
            f"needs {err.name}, which is not installed here: pip install numpy {' '.join(runtime.packages)}"
        ) from None
    return {"name": runtime.packages[0], "version": found[0], "numpy": np.__version__}


def whole(manifest: dict[str, Any], name: str, seconds: float) -> dict[str, Any]:
    """Return the result: what was measured on one thread and on all, the outputs, and a digest over all of it."""
    device, runtime = device_facts(name), versions(manifest)
    begun, before = time.time(), temperature()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outputs.bin"
        counts = sorted({1, device["cores"]})
        found = []
        for threads in counts:
            print(f"measuring with {threads} thread{'s' * (threads != 1)} ...", flush=True)
            found.append(in_child(threads, seconds, out if threads == 1 else Path(folder) / "more.bin"))
        outputs = np.fromfile(out, "<f4").reshape(found[0]["shape"])
    bad = np.flatnonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1))
    if len(bad):
        raise Stop(
            f"the model must give finite numbers; got NaN or Inf in row {bad[0]}, {len(bad)} of {len(outputs)} rows."
        )
    top1 = outputs.argmax(axis=1).tolist() if manifest["answers"] == "classes" else None
    labels, right = array(manifest, "labels"), None
    if top1 is not None and (labels >= 0).any():
        right = float((np.array(top1) == labels)[labels >= 0].mean())
    body = {
        "schema": 1, "bundle": manifest["bundle"], "files": {n: e["sha256"] for n, e in manifest["files"].items()},
        "device": {**device, "celsius_before": before, "celsius_after": temperature()}, "runtime": runtime,
        "latency_ms": [f["latency_ms"] for f in found], "peak_memory_bytes": found[0]["memory"],
        "outputs": {"shape": list(outputs.shape), "sha256": sha256(outputs.tobytes()), "base64": base64.b64encode(outputs.tobytes()).decode()},
        "rows": [sha256(row.tobytes())[:16] for row in outputs], "top1": top1, "accuracy": right,
        "started": datetime.fromtimestamp(int(begun), timezone.utc).isoformat(), "seconds": round(time.time() - begun, 3),
    }  # fmt: skip
    return {**body, "digest": digest(body)}


def said(manifest: dict[str, Any], result: dict[str, Any]) -> str:
    """Return what was found, for people."""
    outputs = np.frombuffer(base64.b64decode(result["outputs"]["base64"]), "<f4").reshape(result["outputs"]["shape"])
    expected = array(manifest, "expected")
    lines = [f"{result['device']['name']}, {result['runtime']['name']} {result['runtime']['version']}"]
    for entry in result["latency_ms"]:
        lines.append(
            "latency, {threads} thread(s): median {median:.4g} ms, min {min:.4g}, p95 {p95:.4g} ({calls} calls)".format(
                **entry
            )
        )
    if result["peak_memory_bytes"] is not None:
        lines.append(f"peak memory: {result['peak_memory_bytes']['value'] / 1e6:.1f} MB beside the runtime's own")
    lines.append(f"outputs: largest difference from the expected ones {np.abs(outputs - expected).max():.3g}")
    if result["top1"] is not None:
        lines.append(
            f"top-1: as expected on {int((outputs.argmax(1) == expected.argmax(1)).sum())} of {len(outputs)} rows"
        )
    if result["accuracy"] is not None:
        lines.append(f"accuracy on these rows: {100 * result['accuracy']:.1f} %")
    return "\n".join(lines)


def main() -> int:
    """Measure and write; 2 where the bundle or the machine is not as it must be."""
    parser = argparse.ArgumentParser(description="Run the model of this folder here, and write what was measured.")
    parser.add_argument("--out", type=Path, default=Path("result.json"), help="the JSON file to write")
    parser.add_argument("--name", default="", help="what to call this device, if not as it calls itself")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing, for each number of threads")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    try:
        manifest = read_manifest()
        if args.child:
            answer = os.fdopen(os.dup(1), "w")
            os.dup2(2, 1)  # runtimes talk on stdout
            print(json.dumps(measure(manifest, args.child, args.seconds, args.out)), file=answer, flush=True)
            return 0
        result = whole(manifest, args.name, args.seconds)
        args.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
        print(said(manifest, result))
        print(f"written: {args.out}. Bring it back, then: potstill verify RUN --from-device {args.out.name}")
    except (Stop, OSError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
