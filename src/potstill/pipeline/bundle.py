"""A folder that goes to a device: an artifact, test samples as it reads them, what it gives for them here, and a runner that needs the
runtime alone. And back: what the runner measured there, into the run. Shapes: N rows, X the shape of one input, Y of one output."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import artifact, atomic
from potstill.core.errors import PotstillError, StoreError
from potstill.core.fingerprint import package_versions
from potstill.core.hashing import digest_bytes, digest_file, digest_json
from potstill.core.tensorfile import open_arrays
from potstill.data.dataset import Dataset
from potstill.pipeline.cache import ArtifactCache, default_root
from potstill.quant import spec as quant
from potstill.stages._parts import gather
from potstill.stages.verify import VerifyStage
from potstill.tasks import Truth
from potstill.verify import device_runner
from potstill.verify.from_device import DeviceResult, agreement, read_result
from potstill.verify.gain import accuracy_interval, independent

ROWS = 256
BUNDLES, MEASURED = "bundles", "measured"
"""Folders of a run: the manifests of its bundles, and what came back."""


@dataclass(frozen=True)
class _Export:
    """One verified export of a run, whose stages' folders are whole."""

    kind: str
    stage: VerifyStage
    exported: Path
    verified: Path
    student: Path
    dataset: Dataset
    facts: dict[str, Any]
    """Of the export stage."""

    def expected_NY(self, rows_N: NDArray[np.int64]) -> NDArray[Any]:
        """Return what the artifact gave for test rows in its runtime here."""
        return np.asarray(open_arrays(self.verified / "outputs.safetensors")["outputs"])[rows_N]

    def step(self) -> float | None:
        """Return what a code of the output is worth, None where the artifact is in float; as its export was compared."""
        spec = quant.read(self.student)
        if spec is None or self.facts["parity"].get("codes_equal") is None:
            return None
        if spec.output is not None:
            return spec.values[spec.output].scale
        outputs = np.asarray(open_arrays(self.verified / "outputs.safetensors")["outputs"])
        return max(float(np.ptp(outputs)) / 255, 1e-12)


def kinds_of(run: Path) -> list[str]:
    """Return the formats that a run exported and verified. Raises PotstillError where it is no finished run."""
    if not (run / "run.json").is_file():
        raise PotstillError(
            f"{run}: must be the folder of a finished run; it has no run.json. Finish it first: potstill run RECIPE --out {run}"
        )
    return [
        name.removeprefix("verify/")
        for name in atomic.read_json(run / "run.json")["keys"]
        if name.startswith("verify/")
    ]


def write_bundle(run: Path, kind: str | None, num_rows: int, out: Path | None) -> dict[str, Any]:
    """Write a bundle of one export of a run.

    Args:
        run: folder of a finished run, whose artifacts are in this machine's cache.
        kind: the format; None takes the first that has a runner.
        num_rows: most test rows, the first ones.
        out: folder, new or empty; None takes one in the run's.

    Returns:
        {"bundle": id, "folder", "format", "rows", "bytes"}.

    Raises:
        PotstillError: no such export, a format or model that no runner runs, or a folder with something in it.
    """
    from potstill.models.tools.saved import load_model

    export = _export(run, _chosen(run, kind))
    model = load_model(export.student)
    if model.preprocess.writing is not None:
        raise PotstillError(f"{run}: must be a model that answers at once; it writes texts token by token, which the runner does not do. "
                            "Measure it with potstill on the device: potstill verify")  # fmt: skip
    folder = out or run / f"bundle-{export.kind}"
    if folder.exists() and (not folder.is_dir() or any(p.name not in _ours(folder) for p in folder.iterdir())):
        raise PotstillError(
            f"--out {folder}: must be new, empty or an earlier bundle; it holds something else. Choose another folder."
        )
    test = export.dataset.splits["test"]
    rows = np.arange(min(num_rows, len(test)), dtype=np.int64)
    inputs = model.preprocess.outside_numpy(gather(test, rows)[0])
    arrays = {
        "inputs": inputs,
        "expected": export.expected_NY(rows).astype(np.float32),
        "labels": np.asarray(test.labels)[rows].astype(np.int64),
    }
    shutil.rmtree(folder, ignore_errors=True)
    manifest = _written(folder, run, export, arrays)
    atomic.write_json(run / BUNDLES / f"{manifest['bundle']}.json", manifest)
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    return {
        "bundle": manifest["bundle"],
        "folder": str(folder),
        "format": export.kind,
        "rows": len(rows),
        "bytes": size,
    }


def _ours(folder: Path) -> set[str]:
    """Return the names in a folder that an earlier bundle put there, its results too."""
    if not (folder / "manifest.json").is_file():
        return set()
    return {
        "manifest.json",
        *(p.name for p in folder.glob("result*.json")),
        *atomic.read_json(folder / "manifest.json").get("files", ()),
    }


def _chosen(run: Path, kind: str | None) -> str:
    there = kinds_of(run)
    able = [k for k in there if k in device_runner.RUNTIMES]
    if kind is None and able:
        return able[0]
    if kind not in able:
        raise PotstillError(f"{run}: must have an export that a runner runs ({', '.join(device_runner.RUNTIMES)}); "
                            f"{'asked for ' + kind + ', ' if kind else ''}it has {', '.join(there) or 'none'}.")  # fmt: skip
    return kind


def _export(run: Path, kind: str) -> _Export:
    cache = ArtifactCache(default_root())
    keys = atomic.read_json(run / "run.json")["keys"]
    verified = cache.path(keys[f"verify/{kind}"])
    if not (verified / artifact.MANIFEST).is_file():
        raise PotstillError(f"{run}: its artifacts must be in the cache; they are not (removed, or run on another machine). Run its recipe again: "
                            f"potstill run {run / 'recipe.yaml'} --out {run}")  # fmt: skip
    found = artifact.manifest(verified)
    inputs = {name: cache.path(key) for name, key in found["inputs"].items()}
    for folder in (verified, inputs["exported"], inputs["student"], inputs["data"]):
        artifact.verify(folder)
    return _Export(kind, VerifyStage.model_validate(found["spec"]), inputs["exported"], verified, inputs["student"],
                   Dataset.open(inputs["data"]), artifact.manifest(inputs["exported"])["facts"])  # fmt: skip


def _written(folder: Path, run: Path, export: _Export, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Write everything and return the manifest, which has the digest of every other file."""
    folder.mkdir(parents=True)
    shown = {}
    for name, array in arrays.items():
        array = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        atomic.write_bytes(folder / f"{name}.bin", array.tobytes())
        shown[name] = {"file": f"{name}.bin", "dtype": array.dtype.str, "shape": list(array.shape)}
    for name in (n for n in artifact.manifest(export.exported)["files"] if "/" not in n):
        shutil.copyfile(export.exported / name, folder / name)
    atomic.write_bytes(folder / "run.py", Path(device_runner.__file__).read_bytes())
    atomic.write_bytes(folder / "README.md", _readme(run, export).encode())
    files = {p.name: {"sha256": digest_file(p), "bytes": p.stat().st_size} for p in sorted(folder.iterdir())}
    results = atomic.read_json(run / "results.json")
    body = {
        "schema": 1, "name": results["name"], "recipe_sha256": results["recipe_sha256"], "potstill": package_versions(("potstill",))["potstill"],
        "format": export.kind, "file": export.facts["file"], "task": export.stage.task.kind, "answers": export.stage.task.output,
        "classes": export.dataset.classes, "parity": export.facts["parity"], "arrays": shown, "files": files,
    }  # fmt: skip
    manifest = {**body, "bundle": digest_json(body)[:16]}
    atomic.write_json(folder / "manifest.json", manifest)
    return manifest


def _readme(run: Path, export: _Export) -> str:
    packages, file = device_runner.RUNTIMES[export.kind].packages, export.facts["file"]
    return f"""# {file} on a device

This folder runs `{file}` on a device and writes what was measured there. It needs Python 3.9 or later, NumPy and {" and ".join(packages)}; no network
once these are installed, no rights beyond an ordinary user's.

    scp -r . board:bundle
    ssh board 'cd bundle && python3 -m venv venv && venv/bin/pip install numpy {" ".join(packages)} && venv/bin/python run.py'
    scp board:bundle/result.json . && potstill verify {run.name} --from-device result.json

Or copy the folder by hand, and bring `result.json` back. `run.py --help` lists what can be set: the device's name, how long to time.

It reads `inputs.bin` (test samples as the model takes them) row by row and times single calls on one thread and on all cores, each in a
process of its own. The result has the outputs of every row, latencies, the process's peak memory and facts about the machine (processor,
cores, memory, governor, system, versions); no user, host name or path.
"""


def take_in(run: Path, file: Path) -> dict[str, Any]:
    """Take what a device measured into a run: into `measured/` and results.json, as measured on that device.

    Args:
        run: the run that the bundle was made of.
        file: what its run.py wrote.

    Returns:
        The record, as results.json has it in `measured_on`.

    Raises:
        StoreError: the file is damaged or changed, or is of another bundle or artifact.
        ParityError: the device gives something else than the artifact gives here. Nothing is then written.
    """
    result = read_result(file)
    manifest = _manifest(run, result, file)
    export = _export(run, manifest["format"])
    _check_belongs(run, result, manifest, file)
    rows = np.arange(manifest["arrays"]["inputs"]["shape"][0], dtype=np.int64)
    expected, outputs = export.expected_NY(rows), result.outputs_NY()
    if digest_bytes(expected.astype("<f4").tobytes()) != manifest["files"]["expected.bin"]["sha256"]:
        raise StoreError(
            f"{file}: must be of a bundle of what {run} verified; its expected outputs are others. Bundle it again."
        )
    task, classes = export.stage.task, export.stage.task.output == "classes"
    parity = agreement(file, outputs, expected, export.facts["parity"]["tolerance"], export.step(), classes=classes)
    truth = Truth.of(export.dataset, "test").take(rows)
    record = _record(result, manifest, parity)
    if classes and (truth.labels_N >= 0).any():
        known = truth.labels_N >= 0
        if (
            result.accuracy is None
            or abs(result.accuracy - float((outputs.argmax(1) == truth.labels_N)[known].mean())) > 1e-9
        ):
            raise StoreError(
                f"{file}: must be as run.py wrote it; its accuracy is not that of its outputs. Run it again on the device."
            )
    groups = export.dataset.splits["test"].groups
    value, low, high = accuracy_interval(
        independent(task.correct(outputs, truth)[None], None if groups is None else groups[rows], truth)
    )
    record["accuracy"] = {"value": value, "low": low, "high": high, "unit": task.unit, "source": "measured"}
    record["accuracy_here"] = float(task.correct(expected, truth).mean())
    name = re.sub(r"[^a-z0-9]+", "-", result.device.name.lower()).strip("-") or "device"
    atomic.write_json(run / MEASURED / f"{name}-{manifest['format']}.json", record)
    _publish(run)
    return record


def _manifest(run: Path, result: DeviceResult, file: Path) -> dict[str, Any]:
    path = run / BUNDLES / f"{result.bundle}.json"
    if not re.fullmatch(r"[0-9a-f]{16}", result.bundle) or not path.is_file():
        raise StoreError(f"{file}: must be of a bundle of {run}; it is of bundle {result.bundle[:40]!r}, which this run never made. Give the run "
                         "that it was made of.")  # fmt: skip
    manifest: dict[str, Any] = atomic.read_json(path)
    if digest_json({k: v for k, v in manifest.items() if k != "bundle"})[:16] != result.bundle:
        raise StoreError(
            f"{path}: must be as it was written; its digest is another. Bundle it again: potstill bundle {run}"
        )
    return manifest


def _check_belongs(run: Path, result: DeviceResult, manifest: dict[str, Any], file: Path) -> None:
    """Raise StoreError unless the device ran the files of the bundle, and the run still has that artifact."""
    if result.files != {name: entry["sha256"] for name, entry in manifest["files"].items()}:
        raise StoreError(
            f"{file}: must be of the files of its bundle; it was run with others. Copy the whole folder to the device again."
        )
    known = {a["file"]: a["sha256"] for a in atomic.read_json(run / "results.json")["artifacts"]}
    ran = result.files[manifest["file"]]
    if known.get(manifest["file"]) != ran:
        raise StoreError(f"{file}: must be of the artifact that {run} has now; it ran a {manifest['file']} of digest {ran[:12]}, the run has "
                         f"{str(known.get(manifest['file']))[:12]}. Bundle the new one: potstill bundle {run}")  # fmt: skip


def _record(result: DeviceResult, manifest: dict[str, Any], parity: dict[str, Any]) -> dict[str, Any]:
    said = result.model_dump(mode="json", by_alias=True)
    return {
        "device": said["device"], "format": manifest["format"], "file": manifest["file"], "sha256": result.files[manifest["file"]],
        "bundle": result.bundle, "runtime": said["runtime"], "rows": len(result.rows), "started": result.started,
        "latency_ms": [{**entry, "source": "measured"} for entry in said["latency_ms"]],
        "peak_memory_bytes": None if said["peak_memory_bytes"] is None else {**said["peak_memory_bytes"], "source": "measured"},
        "parity": parity, "outputs_sha256": result.outputs.sha256,
    }  # fmt: skip


def measured(run: Path, artifacts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was measured on devices of the artifacts that a run has now, by device and format; of others it is left out."""
    known = {a["sha256"] for a in artifacts}
    found = [atomic.read_json(path) for path in sorted((run / MEASURED).glob("*.json"))]
    return [record for record in found if record.get("sha256") in known]


def _publish(run: Path) -> None:
    """Put what was measured into results.json, and its new digest into run.json: the run stays finished."""
    results, state = atomic.read_json(run / "results.json"), atomic.read_json(run / "run.json")
    results["measured_on"] = measured(run, results["artifacts"])
    atomic.write_json(run / "results.json", results)
    if "results.json" in state["files"]:
        state["files"]["results.json"] = digest_file(run / "results.json")
        atomic.write_json(run / "run.json", state)
