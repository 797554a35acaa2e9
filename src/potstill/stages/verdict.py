"""Judge an exported student by a device's budget: what was measured of it, and what its graph says it would take there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core import atomic
from potstill.core.artifact import manifest
from potstill.core.errors import DeviceError
from potstill.core.tensorfile import open_arrays
from potstill.devices.catalogue import DeviceName, identity_of, profile_of
from potstill.devices.lines import Budget
from potstill.devices.profile import DeviceProfile
from potstill.devices.read import READABLE, read_cost
from potstill.exporters import AnyExporter, ExporterSpec
from potstill.exporters import registry as formats
from potstill.models import AnyModel
from potstill.stages._artifacts import artifact_of
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import data_io
from potstill.tasks import AnyTask, TaskSpec
from potstill.verify.accuracy import lost
from potstill.verify.verdict import HOST, Subject, verdict_on

NAME = "verdict.json"
COSTED = "exported:costed"
"""Input: the same student in a format whose graph can be read."""
_WRITES = "it writes its answer token by token: what one answer takes depends on its length"


class DeviceBudget(Budget):
    """A device, and what the student may take there."""

    device: DeviceName = Field(examples=["rpi4"])
    """As `potstill devices` lists them, a profile in YAML, or `host`: the machine that the run is on."""
    export: str | None = None
    """Which of the recipe's exports is judged; nothing takes the first that a runtime of the device takes."""

    def profile(self) -> DeviceProfile:
        """Return the device's profile."""
        return profile_of(self.device)

    def budget(self) -> Budget:
        """Return the limits alone."""
        return Budget(**{name: getattr(self, name) for name in Budget.model_fields})

    def chosen(self, exports: Sequence[ExporterSpec]) -> ExporterSpec | None:
        """Return which of a recipe's exports is judged; None where there is none."""
        if self.export is not None:
            return next((e for e in exports if e.kind == self.export), None)
        profile = self.profile()
        fits = (
            e for e in exports if profile.kind == HOST or any(r.runtime.startswith(e.runs_in) for r in profile.runtimes)
        )
        return next(fits, None)

    def identity(self, digest: Callable[[Path], str]) -> dict[str, Any]:
        return {**super().identity(digest), **identity_of(self.device, digest)}


def device_faults(
    devices: Sequence[DeviceBudget], exports: Sequence[ExporterSpec]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (path within `devices`, message) for what cannot be judged."""
    kinds, seen = ", ".join(e.kind for e in exports) or "none", set()
    for i, entry in enumerate(devices):
        chosen, profile = entry.chosen(exports), entry.profile()
        if chosen is None and entry.export is not None:
            yield (i, "export"), f"must be one of the recipe's exports; got {entry.export!r}. It exports: {kinds}"
        elif chosen is None:
            there = [
                k for k, cls in formats.items() if any(r.runtime.startswith(cls.runs_in) for r in profile.runtimes)
            ]
            known = f"Export one of: {', '.join(there)}" if there else "No latency of it is published"
            yield (i, "device"), (f"{profile.name!r} must have a runtime that takes one of the recipe's exports; got {kinds}. {known}, or say "
                                  "which export is judged, though its latency there is unknown")  # fmt: skip
        elif (profile.name, chosen.kind) in seen:
            yield (i, "device"), f"must be judged once for each export; got {profile.name!r} with {chosen.kind} again"
        else:
            seen.add((profile.name, chosen.kind))


def costed_as(chosen: ExporterSpec, exports: Sequence[ExporterSpec]) -> ExporterSpec | None:
    """Return the export whose graph is read for the cost: the judged one where it can be, else another; None without one."""
    return next((e for e in (chosen, *exports) if e.suffix in READABLE), None)


@registry.register
class VerdictStage(StageSpec):
    """Artifact, what was measured of it, and the teacher's test outputs -> a verdict on one device."""

    requires: ClassVar[tuple[str, ...]] = ("data", "exported", "verified", "outputs")
    provides: ClassVar[str] = "verdict"
    kind: Literal["verdict"] = "verdict"
    task: AnyTask
    """Gives the headline metric, in whose points accuracy drops."""
    entry: DeviceBudget
    """The device and its limits."""
    exporter: AnyExporter
    """The format that is judged."""
    costed: bool = False
    """Whether the cost is read from the same student in another format."""
    student: AnyModel
    """Whose smaller sizes are tried where it does not fit."""
    threads: int = 1
    """CPU threads of the runtime while latency was measured."""

    def inputs_needed(self) -> tuple[str, ...]:
        return (*super().inputs_needed(), *([COSTED] if self.costed else []))

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset

        dataset = Dataset.open(context.inputs["data"])
        facts = manifest(context.inputs["verified"])["facts"]
        path, num_bytes = artifact_of(context.inputs["exported"])
        measured = {
            "latency_ms": {**facts["latency"]["student"], "threads": self.threads},
            "memory": facts["memory"],
            "file_bytes": num_bytes,
            "accuracy_drop": lost(
                self.task, dataset, *(_outputs(context.inputs[name]) for name in ("outputs", "verified"))
            ),
        }
        other = artifact_of(context.inputs[COSTED])[0] if self.costed else None
        subject = subject_of(self.exporter, self.task, path, other, measured)

        def smaller(asked: Any, cost: Any) -> str | None:
            from potstill.verify.smaller import smaller_student

            return smaller_student(self.student, data_io(dataset), dataset.stats, asked, cost)

        found = verdict_on(subject, self.entry.profile(), self.entry.budget(), smaller)
        atomic.write_json(context.work / NAME, found)
        return {"verdict": found["verdict"], "device": found["device"]}


def subject_of(
    exporter: ExporterSpec, task: TaskSpec, path: Path, other: Path | None, measured: dict[str, Any]
) -> Subject:
    """Return what is judged of a file, its cost read from it or from the same student in another file."""
    cost, why = None, ""
    source = path if path.suffix in READABLE else other
    if task.output == "tokens":
        why = _WRITES
    elif source is None:
        why = f"the graph of a {path.suffix} file cannot be read; export onnx or litert too"
    else:
        try:
            cost = read_cost(source)
            why = "" if source == path else f"{source.name}, the same student"
        except DeviceError as err:
            why = str(err)
    return Subject(path.name, exporter.kind, cost, why, exporter.runs_in, measured)


def _outputs(folder: Path) -> Any:
    return np.asarray(open_arrays(folder / "outputs.safetensors")["outputs"])
