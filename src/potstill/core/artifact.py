"""A finished artifact: a folder whose `artifact.json` names every file's digest. Only whole ones are ever visible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.core import atomic
from potstill.core.errors import DamagedError
from potstill.core.hashing import digest_file, digest_json

MANIFEST = "artifact.json"
_RECORDS = ("log.jsonl", "fit.json")
"""Files that tell of time spent: part of the artifact, not of what it is."""


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `artifact.json` with `manifest` and the digest of every other file in `folder`; what a killed writer left
    half-done beside them is removed first."""
    atomic.sweep(folder)
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        files[path.relative_to(folder).as_posix()] = {"sha256": digest_file(path), "bytes": path.stat().st_size}
    body = {**manifest, "files": files}
    atomic.write_json(folder / MANIFEST, {**body, "checksum": digest_json(body)})


def manifest(folder: Path) -> dict[str, Any]:
    """Return `artifact.json`, its own checksum checked. Raises DamagedError when it is missing or damaged."""
    path = folder / MANIFEST
    try:
        value = atomic.read_json(path)
        body = {k: v for k, v in value.items() if k != "checksum"}
        if value["checksum"] != digest_json(body) or path.read_bytes() != atomic.json_bytes(value):
            raise ValueError("a checksum that does not match")
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise _damaged(folder, f"{MANIFEST}: {err}") from err
    except Exception as err:
        raise _damaged(folder, str(err)) from err
    return body


def damage(folder: Path) -> list[str]:
    """Return the files of an artifact that are missing or whose bytes changed; reads everything."""
    bad = []
    for name, entry in manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["bytes"] or digest_file(path) != entry["sha256"]:
            bad.append(name)
    return bad


def verify(folder: Path) -> None:
    """Read every file. Raises DamagedError naming those that are damaged and the command that makes them anew."""
    bad = damage(folder)
    if bad:
        raise _damaged(folder, ", ".join(bad[:5]), store=manifest(folder).get("stage") in ("label", "features"))


def making(folder: Path) -> int:
    """Return a number that is another one once an artifact was made again or repaired; 0 where there is none."""
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def content_digest(folder: Path) -> str:
    """Return one digest over what an artifact holds, records of time left out."""
    files = manifest(folder)["files"]
    return digest_json({name: entry for name, entry in files.items() if Path(name).name not in _RECORDS})


def _damaged(folder: Path, what: str, store: bool = False) -> DamagedError:
    mend = f"Mend it, then run again: potstill labels repair {folder}"
    if not store:
        mend = "Remove what is damaged, then run again: potstill cache gc --damaged"
    return DamagedError(
        f"{folder}: artifact must be as it was written; got damage in {what}. Training on it would change the student "
        f"silently. {mend}"
    )
