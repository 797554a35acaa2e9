"""Generated C on this machine under sanitizers and on an emulated core, code by code beside TensorFlow Lite Micro; what it takes there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from potstill.core.errors import DeviceError, ParityError, PotstillError, nearest
from potstill.core.generated import by_host, report_of
from potstill.devices import catalogue
from potstill.mcu.build import CORES, STACK_BYTES, Core, Emulated, Image, build_core, build_host, emulate, run_host
from potstill.mcu.cycles import cycles, mostly_dense
from potstill.mcu.export import SOURCE, Rows, generate, made_up
from potstill.mcu.oracle import Oracle, identity
from potstill.mcu.read import read_model
from potstill.mcu.rows import as_inputs, num_different

_HOST_ROWS = 256
"""Rows that this machine answers at most."""


@dataclass(frozen=True)
class Target:
    """A core, and the device that it is in."""

    title: str
    core: Core
    flash_bytes: int
    ram_bytes: int
    clock_mhz: tuple[float, float] | None
    """Least and most; None where no device is named."""
    clock_source: str = ""


def target_of(name: str) -> Target:
    """Return what a device's name stands for: a core that is emulated, or a microcontroller of the profiles that has one.

    Raises:
        DeviceError: there is no such name, or its core is not emulated.
    """
    if name in CORES:
        core = CORES[name]
        return Target(f"{name} ({core.machine})", core, core.flash_bytes, core.ram_bytes, None)
    if name not in catalogue.names() and not name.endswith((".yaml", ".yml")):
        raise DeviceError(f"--device: must be one of {', '.join(CORES)}, or a microcontroller with one of these cores; got {name!r}. "
                          f"{nearest(name, [*CORES, *catalogue.names()])}List them: potstill devices")  # fmt: skip
    profile = catalogue.profile_of(name)
    if profile.flash_bytes is None or profile.core not in CORES:
        raise DeviceError(f"--device: must have one of the cores {', '.join(CORES)}; got {name!r} with {profile.core or profile.cores.shown()}.")  # fmt: skip
    core, clock = CORES[profile.core], profile.clock_mhz
    sizes = []
    for figure, most in (
        (profile.flash_bytes, core.flash_bytes),
        (profile.ram_contiguous_bytes or profile.ram_bytes, core.ram_bytes),
    ):
        sizes.append(min(most, int(figure.low)) if figure.low else most)
    span = None if clock.low is None or clock.high is None else (clock.low, clock.high)
    return Target(profile.title, core, sizes[0], sizes[1], span, clock.source)


def check_ours(folder: Path) -> None:
    """Raise PotstillError where a file that is built is not what this version makes of the model.tflite beside it: then it is a program
    of unknown origin."""
    report = report_of(folder)
    made = generate(read_bytes(folder / SOURCE), report["model"]["name"])
    built = [name for name in made.files if name.endswith((".c", ".h", ".ld")) and not name.startswith("golden")]
    other = [n for n in built if not (folder / n).is_file() or (folder / n).read_bytes() != made.files[n]]
    other += [n for n in report["sources"] if n not in made.files]
    if other:
        raise PotstillError(
            f"{folder}: is a program, and {', '.join(other[:3])} is not what this version of potstill makes of the {SOURCE} beside it: running it runs "
            "whatever is in it. Write it again: potstill export-c. If you trust whoever changed it: potstill verify --run-program"
        )


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes. Raises PotstillError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise PotstillError(f"{path}: must be a file that can be read; got {err.strerror}.") from err


def verify_on_core(folder: Path, target: Target, samples_NX: NDArray[Any] | None, num_rows: int) -> dict[str, Any]:
    """Return what a generated folder gives and takes.

    Args:
        folder: generated; it is built and run, so it must be trusted.
        target: where it is to run.
        samples_NX: real samples; None makes some up.
        num_rows: rows that the emulated core answers, of those.

    Raises:
        ParityError: a code is not TensorFlow Lite Micro's.
        BudgetError: it does not fit the device's flash or RAM.
        EmulationError: it faults, hangs or overruns its stack.
        MissingExtraError: a compiler, the emulator or TensorFlow Lite Micro is not installed.
    """
    report = report_of(folder)
    model = read_model(folder / SOURCE)
    rows = (
        made_up(model, max(num_rows, 2 * num_rows), 1)
        if samples_NX is None
        else as_inputs(model, by_host(report.get("host"))(samples_NX[: max(_HOST_ROWS, num_rows)]))
    )
    oracle = Oracle(read_bytes(folder / SOURCE), model)
    wanted = oracle(rows)
    oracle.close()
    with tempfile.TemporaryDirectory() as scratch:
        found = run_host(build_host(folder, Path(scratch) / "host", sanitize=True), report, rows)
        _same(found, wanted, f"{folder} on this machine")
        image = build_core(
            folder, target.core, Path(scratch) / "core.elf", flash_bytes=target.flash_bytes, ram_bytes=target.ram_bytes
        )
        emulated = emulate(image.path, target.core, report, rows[:num_rows])
    _same(emulated.outputs, wanted[:num_rows], f"{folder} on {target.core.name}")
    return _facts(report, target, image, emulated, len(rows), "made up" if samples_NX is None else "of the test split")


def _same(found: Rows, wanted: Rows, where: str) -> None:
    rows, codes = num_different(found, wanted)
    if rows:
        total = sum(a.size for row in wanted for a in row)
        raise ParityError(f"{where}: must give TensorFlow Lite Micro's codes; got others for {rows} of {len(wanted)} rows, {codes} of {total} codes. What "
                          "would run on the device is not the model. Write it again: potstill export-c")  # fmt: skip


def _facts(
    report: dict[str, Any], target: Target, image: Image, run: Emulated, host_rows: int, rows_are: str
) -> dict[str, Any]:
    dense = mostly_dense((op["kind"], op["macs"]) for op in report["operators"])
    each, why = cycles(target.core.name, run.instructions, dense=dense)
    times: dict[str, Any] = {
        "low": None,
        "high": None,
        "source": "unknown",
        "because": "the device's clock is not known: name a device, see potstill devices",
    }
    if each is None:
        times["because"] = why
    elif target.clock_mhz is not None:
        slow, fast = target.clock_mhz
        times = {
            "low": each[0] / fast / 1e3,
            "high": each[1] / slow / 1e3,
            "source": "modelled",
            "clock": target.clock_source,
        }
    span = (
        {"low": None, "high": None, "source": "unknown"}
        if each is None
        else {"low": each[0], "high": each[1], "source": "modelled"}
    )
    return {
        "device": target.title,
        "oracle": f"{identity()['name']} {identity()['version']}",
        "codes": {"equal": True, "rows_here": host_rows, "rows_emulated": len(run.outputs), "rows_are": rows_are},
        "flash_bytes": {"value": image.code_bytes + image.weight_bytes, "code": image.code_bytes, "weights": image.weight_bytes,
                        "of": target.flash_bytes, "source": "measured"},
        "ram_bytes": {"value": image.static_ram_bytes + run.stack_bytes, "static": image.static_ram_bytes, "stack": run.stack_bytes,
                      "stack_allowed": STACK_BYTES, "of": target.ram_bytes, "source": "emulated"},
        "arena_bytes": {"value": report["arena_bytes"], "least_possible": report["arena_bound_bytes"]},
        "macs": report["macs"],
        "instructions": {"value": run.instructions, "least": run.instructions_least, "most": run.instructions_most, "source": "emulated"},
        "cycles": {**span, "because": why},
        "latency_ms": times,
    }  # fmt: skip
