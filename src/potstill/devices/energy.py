"""Energy of one inference: power times time, each with its band; unknown where the power during inference is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.devices.latency import Latency
from potstill.devices.profile import DeviceProfile, LatencyOf, Power


@dataclass(frozen=True)
class Energy:
    """Millijoules as modelled, or why there are none."""

    low_mj: float | None
    high_mj: float | None
    reason: str
    """Why it is unknown, or whose power it is."""


def energy(profile: DeviceProfile, entry: LatencyOf, latency: Latency) -> Energy:
    """Return the energy of one inference. What idles meanwhile is in it, since power is that of a whole board or microcontroller."""
    if latency.low_ms is None or latency.high_ms is None:
        return Energy(None, None, "the latency is unknown")
    fits = [p for p in profile.power_active if p.status == "verified" and (not p.boards or entry.board in p.boards)
            and (not p.runtimes or entry.runtime in p.runtimes)]  # fmt: skip
    found = _band([p for p in fits if p.during == "inference"]) or _band([p for p in fits if p.during == "load"])
    if found is None:
        said = "power during inference is not known"
        return Energy(None, None, said + ("" if not fits else f" ({fits[0].what}, is no measurement)"))
    low, high, power = found
    if power.during == "load":
        if profile.power_idle_w.low is None:
            return Energy(None, None, "power during inference is not known, nor when idle")
        low = profile.power_idle_w.low
    return Energy(low * latency.low_ms, high * latency.high_ms, f"{low:.3g} to {high:.3g} W: {power.what}" + (
        ", from idle" if power.during == "load" else ""))  # fmt: skip


def _band(powers: Sequence[Power]) -> tuple[float, float, Power] | None:
    known = [(p.low, p.high, p) for p in powers if p.low is not None and p.high is not None]
    if not known:
        return None
    return min(k[0] for k in known), max(k[1] for k in known), known[0][2]
