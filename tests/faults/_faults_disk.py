"""Disks that are full or read-only, mounted where only this process sees them: they are gone when it ends."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from forks import Server

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18


def private_mounts() -> None:
    """Let this process mount what no other process sees. Raises OSError where the machine does not let it."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount(None, Path("/"), None, _RECURSIVE | _PRIVATE)


def small_disk(folder: Path, size: int, *, again: bool = False) -> None:
    """Mount a disk of `size` bytes at `folder`, or change the size of the one there."""
    _mount("tmpfs", folder, "tmpfs", _REMOUNT if again else 0, f"size={max(4096, size)}")


def read_only(folder: Path, on: bool = True) -> None:
    """Make what is in `folder` read-only, for root too; or writable again."""
    if on:
        _mount(str(folder), folder, None, _BIND)
    _mount(None, folder, None, _REMOUNT | _BIND | (_READ_ONLY if on else 0))


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [None if s is None else s.encode() for s in (source, str(target), kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target}: {os.strerror(number)}")


def can_mount(folder: str) -> str | None:
    """Return None where this process may mount, else why not. Call it in a child: it changes the process."""
    try:
        private_mounts()
        small_disk(Path(folder), 1 << 20)
        (Path(folder) / "x").write_bytes(b"x")
        read_only(Path(folder))
        try:
            (Path(folder) / "x").write_bytes(b"y")
        except OSError:
            return None
        return "a read-only mount can be written"
    except OSError as err:
        return str(err)


class CannotMount(Exception):
    """This machine lets no process mount a disk of its own."""


def needs_mounts(server: Server, folder: Path) -> None:
    """Raise CannotMount where children cannot mount, tried on an empty folder in `folder`."""
    place = folder / "mount"
    place.mkdir(exist_ok=True)
    why = server.must("_faults_disk:can_mount", folder=str(place))
    if why is not None:
        raise CannotMount(why)
