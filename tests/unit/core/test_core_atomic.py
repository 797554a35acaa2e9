"""Files are whole or absent, whatever happens to the process or the disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from potstill.core import atomic
from potstill.core.errors import PotstillError


def child(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip


def test_killed_between_writing_and_renaming_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_json(path, {"n": 1})
    writer = child(
        """
        import os, signal, sys
        from pathlib import Path
        from potstill.core import atomic
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        atomic.write_json(Path(sys.argv[1]), {"n": 2})
        """,
        path,
    )
    assert writer.wait(timeout=60) == -signal.SIGKILL
    assert atomic.read_json(path) == {"n": 1}
    left = [p for p in tmp_path.iterdir() if p != path]
    assert len(left) == 1 and json.loads(left[0].read_bytes()) == {"n": 2}, "it was written, not renamed"
    atomic.write_json(path, {"n": 3})
    assert atomic.read_json(path) == {"n": 3}


def test_what_was_flushed_is_renamed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    atomic.write_bytes(tmp_path / "a", b"x")
    assert order == ["fsync", "rename", "fsync"], "the content before its name, the folder after"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_while_writing_leaves_the_old_file_and_no_litter(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a"
    atomic.write_bytes(path, b"old")
    with pytest.raises(failure), atomic.replacing(path) as tmp:
        tmp.write_bytes(b"half of the n")
        raise failure
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk's: the write fails half-way."""
    path = tmp_path / "a"
    atomic.write_bytes(path, b"old")
    handler, limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(
            PotstillError, match=r"could not be written; got File too large.*run the same command again"
        ):
            atomic.write_bytes(path, b"n" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PotstillError, match="file/a: must be writable"):
        atomic.write_bytes(tmp_path / "file" / "a", b"")


def test_what_is_no_json_is_refused_both_ways(tmp_path: Path) -> None:
    for value in (float("nan"), [float("inf")]):
        with pytest.raises(ValueError):
            atomic.write_json(tmp_path / "a", value)
    assert not list(tmp_path.iterdir())
    for content in (b"", b"{", b"\xff\xfe"):
        (tmp_path / "b").write_bytes(content)
        with pytest.raises(PotstillError, match="b: must be a readable JSON file"):
            atomic.read_json(tmp_path / "b")


def test_a_lock_is_one_process_alone_and_dies_with_it(tmp_path: Path) -> None:
    holder = child(
        """
        import sys
        from pathlib import Path
        from potstill.core import atomic
        with atomic.locked(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
        """,
        tmp_path / "x.lock",
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    entered = threading.Event()

    def enter() -> None:
        with atomic.locked(tmp_path / "x.lock"):
            entered.set()

    waiting = threading.Thread(target=enter, daemon=True)
    waiting.start()
    assert not entered.wait(0.2), "two hold it at once"
    holder.kill()
    assert entered.wait(30), "a dead process still holds it"
    waiting.join()
    holder.communicate()
