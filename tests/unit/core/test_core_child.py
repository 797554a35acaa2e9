"""A model file in a process of its own: what goes wrong there is an error here that names the file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from potstill.core import child as child_module
from potstill.core.child import ChildSession
from potstill.core.errors import PotstillError

RUNTIME = """
import os, time
import numpy as np
from potstill.core.errors import PotstillError

class Session:
    input_dtype, input_shape, metadata, signature = np.float32, (None, 2), {"potstill": "told"}, {}
    def __call__(self, x):
        print("chatter on stdout")
        if x.max() > 99:
            os.abort()
        if x.max() > 50:
            raise ValueError("too large")
        if x.max() > 20:
            time.sleep(60)
        return x.astype(np.float32) * 2

def opened(path, threads):
    text = path.read_text()
    if text == "bad":
        raise PotstillError(f"{path}: must be good; got bad.")
    if text == "limited":
        import resource
        raise PotstillError(str(resource.getrlimit(resource.RLIMIT_DATA)[0]))
    if text == "crash":
        os.kill(os.getpid(), 11)
    return Session()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a_runtime_for_tests.py").write_text(RUNTIME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return tmp_path


def opened(folder: Path, text: str = "good") -> ChildSession:
    path = folder / "model.any"
    path.write_text(text)
    return ChildSession("a_runtime_for_tests", path)


def test_it_answers_as_the_model_does_and_times_itself(folder: Path) -> None:
    session = opened(folder)
    x = np.arange(6, dtype=np.float64).reshape(3, 2)
    assert session(x).tolist() == (2 * x).tolist() and session(x).dtype == np.float32
    assert session.input_shape == (None, 2) and session.metadata == {"potstill": "told"}
    times = session.times(x, 7)
    assert times.shape == (7,) and (times >= 0).all()


def test_a_fault_of_the_model_leaves_the_child_alive(folder: Path) -> None:
    session = opened(folder)
    with pytest.raises(PotstillError, match=r"model\.any: must take input \[1, 2\] float32; got too large"):
        session(np.full((1, 2), 60.0))
    assert session(np.ones((1, 2))).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize(("text", "words"), [("bad", "must be good; got bad"), ("crash", "signal SIGSEGV")])
def test_a_file_that_cannot_be_opened_is_named(folder: Path, text: str, words: str) -> None:
    with pytest.raises(PotstillError, match=words) as caught:
        opened(folder, text)
    assert "model.any" in str(caught.value)


def test_a_runtime_that_ends_or_hangs_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PotstillError, match="signal SIGABRT"):
        opened(folder)(np.full((1, 2), 100.0))
    session = opened(folder)
    monkeypatch.setattr(child_module, "_RUN_S", 0.2)
    with pytest.raises(PotstillError, match="hung"):
        session(np.full((1, 2), 30.0))


@pytest.mark.skipif(sys.platform != "linux", reason="machine: only Linux counts a process's data")
def test_a_child_has_no_more_memory_than_the_machine(folder: Path) -> None:
    with pytest.raises(PotstillError) as caught:
        opened(folder, "limited")
    assert 0 < int(str(caught.value)) <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
