"""The devices that are known: those of profiles/, and the machine that this runs on."""

from __future__ import annotations

import functools
from pathlib import Path

from potstill.core.errors import DeviceError, nearest
from potstill.devices.host import HOST, host
from potstill.devices.profile import DeviceProfile, read_profile

PROFILES = Path(__file__).parent / "profiles"


def names() -> list[str]:
    """Return the names of all profiles, sorted, `host` last."""
    return [*sorted(p.stem for p in PROFILES.glob("*.yaml")), HOST]


def profile_of(name: str) -> DeviceProfile:
    """Return a profile by its name, or from a path to a YAML file of one's own.

    Raises:
        DeviceError: there is none, or the file says what a profile may not.
    """
    if name == HOST:
        return host()
    if name in names():
        return _shipped(name)
    if name.endswith((".yaml", ".yml")):
        return read_profile(Path(name))
    raise DeviceError(
        f"device: must be one of the profiles, or a .yaml file; got {name!r}. {nearest(name, names())}List them: potstill devices"
    )


@functools.cache
def _shipped(name: str) -> DeviceProfile:
    return read_profile(PROFILES / f"{name}.yaml")
