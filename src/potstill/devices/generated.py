"""Latency and memory of generated C on a core whose instructions are modelled: an estimate from the graph, with its bounds."""

from __future__ import annotations

from potstill.core.units import human_bytes, human_count
from potstill.devices.cost import Cost
from potstill.devices.latency import Latency
from potstill.devices.memory import Bytes
from potstill.devices.profile import DeviceProfile
from potstill.mcu.build import STACK_BYTES
from potstill.mcu.cycles import cycles
from potstill.mcu.instructions import MOST_OFF


def latency(cost: Cost, profile: DeviceProfile) -> Latency:
    """Return milliseconds of one inference: instructions as modelled, give or take their largest error, times an interval of cycles an
    instruction, over the clock."""
    made, clock = cost.generated, profile.clock_mhz
    if isinstance(made, str):
        return Latency("unknown", made)
    if made.unfitted:
        return Latency("unknown", f"the instructions of {', '.join(made.unfitted)} are not modelled")
    if clock.low is None or clock.high is None:
        return Latency("unknown", "the device's clock is not known")
    span, why = cycles(profile.core, made.instructions, dense=made.dense)
    if span is None:
        return Latency("unknown", why)
    low, high = span[0] * (1 - MOST_OFF) / clock.high / 1e3, span[1] * (1 + MOST_OFF) / clock.low / 1e3
    mhz = f"{clock.low:g}" if clock.low == clock.high else f"{clock.low:g} to {clock.high:g}"
    text = f"{human_count(made.instructions)} instructions, modelled to {100 * MOST_OFF:.0f} %, at {mhz} MHz; {why}"
    return Latency("modelled", text, (low * high) ** 0.5, low, high)


def ram(cost: Cost) -> Bytes:
    """Return the arena as planned, and that with the stack that a build reserves."""
    made = cost.generated
    if isinstance(made, str):
        return Bytes(None, None, made)
    return Bytes(*made.ram_bytes, f"the arena as planned; up to {human_bytes(STACK_BYTES)} of stack")


def flash(cost: Cost) -> Bytes:
    """Return constants and kernels, and these with the most that calls, start-up code and the program that feeds the model take."""
    made = cost.generated
    if isinstance(made, str):
        return Bytes(None, None, made)
    low, high = made.flash_bytes
    text = (f"{human_bytes(made.constant_bytes)} of constants, {human_bytes(made.kernel_bytes)} of kernels as gcc -O2 makes them, at most "
            f"{human_bytes(high - low)} of calls and start-up code")  # fmt: skip
    return Bytes(low, high, text)
