"""Building a generated folder for this machine and for a core, and running it on either."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from potstill.core.errors import BudgetError, EmulationError, ExportError, MissingExtraError
from potstill.core.generated import FLAGS, compiler, report_of
from potstill.mcu.rows import packed, unpacked

STACK_BYTES = 4096
"""Kept free for the stack; its use is measured."""
_BUILD_S, _RUN_S, _START_S = 300, 600, 60
_APT = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
SERVE = Path(__file__).parent / "target" / "serve.c"
"""Reads rows from a file of the emulator's host, runs the model over them and says what that took."""
_KERNELS = Path(__file__).parent / "kernels"
_FAULT = 99


@dataclass(frozen=True)
class Core:
    """A core that QEMU emulates."""

    name: str
    machine: str
    flags: tuple[str, ...]
    instructions_per_tick: float
    """Of its SysTick, at one instruction a nanosecond: 1000 over the board's clock in MHz."""
    flash_bytes: int
    ram_bytes: int


CORES = {
    core.name: core
    for core in (
        Core("cortex-m3", "mps2-an385", ("-mcpu=cortex-m3",), 40, 4 << 20, 4 << 20),
        Core(
            "cortex-m4",
            "mps2-an386",
            ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
            40,
            4 << 20,
            4 << 20,
        ),
        Core(
            "cortex-m7", "mps2-an500", ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16"), 40, 4 << 20, 4 << 20
        ),
        Core("cortex-m55", "mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), 31.25, 512 << 10, 512 << 10),
    )
}
"""Cores by name."""


@dataclass(frozen=True)
class Image:
    """A program for a core."""

    path: Path
    code_bytes: int
    """Of flash, without the model's constants; the test program that feeds it is in it."""
    weight_bytes: int
    """Of flash: weights, biases, multipliers and tables."""
    static_ram_bytes: int
    """The arena and all other memory that is held from the start."""


@dataclass(frozen=True)
class Emulated:
    """What a core gave, and what it took. Ticks of its counter are several instructions, so counts are exact to one tick."""

    outputs: list[list[NDArray[Any]]]
    instructions: int
    """Of one inference, the mean."""
    instructions_least: int
    instructions_most: int
    stack_bytes: int
    """High-water mark."""


def tool(name: str) -> str:
    """Return the path of a program of the ARM tools. Raises MissingExtraError naming the packages where it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise MissingExtraError(
            f"{name}: must be installed to build for a core and to run there; it is not. Install it: {_APT}"
        )
    return found


def ends_of(report: dict[str, Any]) -> list[tuple[list[int], str]]:
    """Return shape and type of each output."""
    return [(end["shape"], end["dtype"]) for end in report["outputs"]]


def build_host(folder: Path, out: Path, *, sanitize: bool) -> Path:
    """Build a folder for this machine as a program that reads rows on stdin and writes rows on stdout.

    Raises:
        ExportError: it does not compile.
        MissingExtraError: there is no compiler.
    """
    folder = folder.resolve()  # the compiler is started in it
    extra = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitize else []
    made = [str(folder / s) for s in (*report_of(folder)["sources"], "host.c")]
    _compiled([compiler(), *FLAGS, *extra, f"-I{folder}", *made, "-lm", "-o", str(out)], folder)
    return out


def run_host(program: Path, report: dict[str, Any], rows: Sequence[Sequence[NDArray[Any]]]) -> list[list[NDArray[Any]]]:
    """Return what a program of `build_host` gives for rows of inputs. Raises EmulationError where it crashes or hangs."""
    done = _ran([str(program)], _RUN_S, program.parent, packed(rows))
    if done.returncode:
        raise EmulationError(
            f"{program.name} on this machine: must run without a fault; got exit code {done.returncode}: {_told(done.stderr)}"
        )
    return unpacked(done.stdout, ends_of(report), len(rows), program.name)


def build_core(
    folder: Path,
    core: Core,
    out: Path,
    *,
    flash_bytes: int,
    ram_bytes: int,
    main: Sequence[Path] = (SERVE,),
    defines: Sequence[str] = (),
) -> Image:
    """Build a folder for a core, with a program that reads rows from a file of the emulator's host.

    Args:
        folder: generated.
        core: that it is for.
        out: file to write.
        flash_bytes: of the device.
        ram_bytes: of the device, the stack's 4 KB included.
        main: what calls the model: sources, and objects and archives that they need.
        defines: more names to define.

    Raises:
        BudgetError: it does not fit the flash or the RAM.
        ExportError: it does not compile.
        MissingExtraError: there is no compiler for the core.
    """
    folder, cc = folder.resolve(), tool("arm-none-eabi-gcc")  # the compiler is started in it
    flags = [*_flags(core), f"-I{folder}", *(f"-D{d}" for d in defines)]
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model.o"
        _compiled([cc, *flags, "-c", str(folder / "model.c"), "-o", str(model)], folder)
        kernels = [str(folder / s) for s in report_of(folder)["sources"] if s != "model.c"]
        link = [
            "-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", f"-Wl,--defsym=FLASH_BYTES={flash_bytes}",
            f"-Wl,--defsym=RAM_BYTES={ram_bytes}", f"-Wl,--defsym=STACK_BYTES={STACK_BYTES}", "-T", str(folder / "link.ld"),
            "-Wl,--gc-sections",
        ]  # fmt: skip
        _compiled(
            [
                cc,
                *flags,
                *link,
                str(model),
                *kernels,
                str(folder / "startup.c"),
                *map(str, main),
                "-lm",
                "-o",
                str(out),
            ],
            folder,
        )
        weights = sum(size for name, size in _sections(model) if name.startswith(".rodata"))
    sections = dict(_sections(out))
    flash = sum(sections.get(n, 0) for n in (".text", ".rodata", ".ARM.exidx", ".data"))
    return Image(out, flash - weights, weights, sections.get(".data", 0) + sections.get(".bss", 0))


def kernel_sizes(core: Core) -> dict[str, int]:
    """Return {kernel: bytes of its code on a core, with the helpers of its file}. Raises as `build_core`."""
    found: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for source in sorted(_KERNELS.glob("*.c")):
            made = Path(scratch) / f"{source.stem}.o"
            _compiled([tool("arm-none-eabi-gcc"), *_flags(core), "-c", str(source), "-o", str(made)], Path(scratch))
            parts = {n.split(".", 2)[2]: size for n, size in _sections(made) if n.startswith((".text.", ".rodata."))}
            helpers = sum(size for n, size in parts.items() if not n.startswith("ps_"))
            found |= {n: size + helpers for n, size in parts.items() if n.startswith("ps_")}
    return found


def _flags(core: Core) -> list[str]:
    return [*core.flags, "-mthumb", *FLAGS, "-ffunction-sections", "-fdata-sections"]


def emulate(image: Path, core: Core, report: dict[str, Any], rows: Sequence[Sequence[NDArray[Any]]]) -> Emulated:
    """Run an image over rows of inputs on the emulated core. It can reach files of this machine: run none that you do not trust.

    Raises:
        EmulationError: it faults, overflows its stack or hangs.
        MissingExtraError: there is no emulator.
    """
    text, raw = emulated_text(image, core, packed(rows))
    said = {k: int(v) for k, v in re.findall(r"^(\w+)=(\d+)$", text, re.M)}
    if said.get("runs") != len(rows):
        raise EmulationError(
            f"{image.name} on {core.name}: must answer {len(rows)} rows; got {said.get('runs', 0)} ({text[-200:]!r})."
        )
    if said["stack"] >= STACK_BYTES:
        raise EmulationError(
            f"{image.name} on {core.name}: must keep its stack below {STACK_BYTES} bytes; it ran over."
        )
    mean, least, most = (round(said[f"ticks_{which}"] * core.instructions_per_tick) for which in ("mean", "min", "max"))
    return Emulated(unpacked(raw, ends_of(report), len(rows), image.name), mean, least, most, said["stack"])


def trace(folder: Path, core: Core, row: Sequence[NDArray[Any]]) -> list[int]:
    """Return the instructions of each call of model_invoke for one row, to one tick of the counter; raises as `build_core` and `emulate`."""
    with tempfile.TemporaryDirectory() as scratch:
        image = build_core(folder, core, Path(scratch) / "trace.elf", flash_bytes=core.flash_bytes, ram_bytes=core.ram_bytes,
                           defines=["MODEL_TRACE"])  # fmt: skip
        text, _ = emulated_text(image.path, core, packed([row]))
    return [round(int(n) * core.instructions_per_tick) for n in re.findall(r"^call_ticks=(\d+)$", text, re.M)]


def emulated_text(image: Path, core: Core, given: bytes) -> tuple[str, bytes]:
    """Return (what a program printed, what it wrote) on the emulated core; raises as `emulate`."""
    qemu = tool("qemu-system-arm")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.bin").write_bytes(given)
        command = [
            qemu, "-machine", core.machine, "-display", "none", "-monitor", "none", "-serial", "none", "-semihosting-config",
            "enable=on,target=native", "-icount", "shift=0", "-kernel", str(image.resolve()),
        ]  # fmt: skip
        done = _ran(command, _RUN_S, Path(folder), b"")
        text = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode:
            how = "a fault of the core" if done.returncode == _FAULT else f"exit code {done.returncode}"
            raise EmulationError(
                f"{image.name} on {core.name}: must run without a fault; got {how}: {_told(text.encode())}"
            )
        out = Path(folder) / "out.bin"
        return text, out.read_bytes() if out.exists() else b""


def _ran(command: list[str], seconds: float, folder: Path, given: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=given, capture_output=True, cwd=folder, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as err:
        raise EmulationError(f"{Path(command[0]).name}: must end within {seconds:g} s; it hung.") from err


def _compiled(command: list[str], folder: Path) -> None:
    done = _ran(command, _BUILD_S, folder, b"")
    if done.returncode == 0:
        return
    said = done.stderr.decode(errors="replace")
    over = re.search(r"region `(\w+)' overflowed[^\n]*", said)
    if over:
        kind = "flash" if over[1] == "FLASH" else "RAM"
        raise BudgetError(f"{folder}: must fit the device's {kind}; got {over[0]}.")
    raise ExportError(f"{folder}: must compile; got {_told(done.stderr)}")


def _sections(path: Path) -> list[tuple[str, int]]:
    done = _ran([tool("arm-none-eabi-size"), "-A", str(path)], _START_S, path.parent, b"")
    return [(m[1], int(m[2])) for m in re.finditer(r"^(\.\S+)\s+(\d+)", done.stdout.decode(), re.M)]


def _told(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    worst = [line for line in lines if "rror" in line]
    return (worst or lines or ["nothing was said"])[0][:300]
