"""Files that are either whole or absent: write beside, fsync, rename. And a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError


def fsync_dir(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically and durably. Raises PotstillError when the disk is full or read-only."""
    with replacing(path) as tmp:
        tmp.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically and durably; NaN and Inf are refused."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return what `write_json` writes; what it wrote and `json.loads` read gives the same bytes again."""
    return (json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises PotstillError naming the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise PotstillError(f"{path}: must be a readable JSON file; got {err}.") from err


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on a clean exit it is fsynced and renamed over `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(fd)
    except OSError as err:
        raise _unwritable(path, "must be writable", err) from err
    tmp = Path(name)
    try:
        yield tmp
        with open(tmp, "rb+") as handle:
            os.fsync(handle.fileno())
        os.chmod(tmp, 0o644)
        os.replace(tmp, path)
        fsync_dir(path.parent)
    except OSError as err:
        raise _unwritable(path, "could not be written", err) from err
    finally:
        tmp.unlink(missing_ok=True)


def _unwritable(path: Path, what: str, err: OSError) -> PotstillError:
    return PotstillError(
        f"{path}: {what}; got {err.strerror or err}. Nothing was lost: free space or choose another folder, then run the "
        "same command again."
    )


def is_partial(path: Path) -> bool:
    """Return whether a file is what a killed `replacing` left."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def sweep(folder: Path) -> None:
    """Remove what killed `replacing` left below `folder`; call it only where nobody else can be writing."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def fsync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`."""
    for root, _, names in os.walk(folder):
        for name in names:
            fd = os.open(Path(root) / name, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        fsync_dir(Path(root))


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None, *, remove: bool = False) -> Iterator[None]:
    """Hold an exclusive advisory lock on `path`; the kernel drops it if the process dies.

    Args:
        path: of the lock's own file.
        waiting: called where another process holds it.
        remove: leave no lock file behind on a clean exit.

    Raises:
        PotstillError: the file cannot be made.
    """
    fd = _open_lock(path)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting()
                fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_file(fd, path):
                break
            os.close(fd)  # whoever held it removed the file: others lock another one by now
            fd = _open_lock(path)
        yield
        if remove:
            path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as err:
        raise _unwritable(path, "must be writable", err) from err


def _is_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
