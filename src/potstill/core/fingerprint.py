"""The numerics fingerprint: within one, potstill promises bit-identical results; across two, it does not."""

from __future__ import annotations

import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

NUMERIC_PACKAGES = ("torch", "numpy", "onnxruntime", "safetensors")
_OTHER_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn"}
"""Import name -> name of the package, where we know that they differ: asking for all takes half a second."""


def package_versions(names: tuple[str, ...] = NUMERIC_PACKAGES) -> dict[str, str]:
    """Return installed versions, "absent" where a package is missing."""
    out = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in names:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "absent"
    return out


@functools.cache
def version_of(module: str) -> str:
    """Return the installed version of the package that a top-level module is of, "unknown" where none is recorded."""
    try:
        return version(_OTHER_NAMES.get(module, module))
    except PackageNotFoundError:
        owners = sorted(set(packages_distributions().get(module, [])))
        return ", ".join(f"{owner} {version(owner)}" for owner in owners) or "unknown"


def instruction_set() -> str:
    """Return the CPU's vector extensions that decide which kernels run, e.g. "x86_64 avx2 avx512f fma"."""
    flags: set[str] = set()
    try:
        with open("/proc/cpuinfo") as handle:
            for line in handle:
                if line.startswith(("flags", "Features")):
                    flags = set(line.split(":", 1)[1].split())
                    break
    except OSError:
        pass
    wanted = ("amx_int8", "asimd", "avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512f", "fma", "sve")
    return " ".join([platform.machine(), *(f for f in wanted if f in flags)])


def fingerprint(threads: int, device: str = "cpu", dtype: str = "float32", world_size: int = 1) -> dict[str, Any]:
    """Return the numerics fingerprint of work done in this process with these settings."""
    return {
        "packages": package_versions(),
        "instruction_set": instruction_set(),
        "threads": threads,
        "device": device,
        "dtype": dtype,
        "world_size": world_size,
    }


def machine() -> str:
    """Return the processor that measured figures belong to, such as "a processor, 2 cores"."""
    found = environment()
    return f"{found['cpu']}, {found['cores']} cores"


def environment() -> dict[str, Any]:
    """Return facts about the machine for the report: no user name, host name or path."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as handle:
            names = [line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "instruction_set": instruction_set(),
        "packages": package_versions((*NUMERIC_PACKAGES, "potstill", "onnx", "pydantic")),
    }
