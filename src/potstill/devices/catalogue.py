"""The devices that are known: those of profiles/, and the machine that this runs on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from potstill.core.errors import DeviceError, nearest
from potstill.devices import memory, rows
from potstill.devices.host import HOST, host
from potstill.devices.profile import DeviceProfile, read_profile
from potstill.mcu.estimate import CODE
from potstill.mcu.instructions import COSTS

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


def identity_of(name: str, digest: Callable[[Path], str]) -> dict[str, Any]:
    """Return what decides a verdict on a device, for hashing: its profile, and the published figures that models rest on."""
    profile = profile_of(name)
    tables = (COSTS, CODE) if any(entry.counted for entry in profile.runtimes) else ()
    published = [digest(file) for file in (rows.FILE, memory.FILE, *tables)]
    return {"device": profile.model_dump(mode="json"), "published": published}


def _known(value: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    if value.endswith((".yaml", ".yml")) and base is not None:
        value = str(Path(base) / value)
    try:
        profile_of(value)
    except DeviceError as err:
        raise ValueError(str(err).removeprefix("device: ")) from err
    return value


DeviceName = Annotated[str, AfterValidator(_known)]
"""The name of a profile, or a path to one in YAML, relative to the recipe's folder."""


@functools.cache
def _shipped(name: str) -> DeviceProfile:
    return read_profile(PROFILES / f"{name}.yaml")
