"""The machine that this runs on, as a profile: measured now."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from potstill.devices.profile import DeviceProfile, Fact, Figure

HOST = "host"
_NOTE = "latency is not modelled here: potstill verify measures it"


def host() -> DeviceProfile:
    """Return the profile of this machine; what cannot be read is unknown."""
    named, cores = _cpu_name(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ram = _ram_bytes()
    unknown = Figure(status="unknown")
    return DeviceProfile(
        name=HOST,
        title=f"this machine ({platform.machine()}, {platform.system()})",
        kind="host",
        cores=Fact(text=f"{cores} × {named}", status="measured", note=_NOTE),
        clock_mhz=unknown,
        ram_bytes=unknown if ram is None else Figure(low=ram, high=ram, status="measured"),
        memory_bandwidth_mb_s=unknown,
        power_idle_w=unknown,
        supply=Fact(status="unknown"),
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(found, "") or platform.processor() or platform.machine()


def _ram_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
