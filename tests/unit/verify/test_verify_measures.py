"""Accuracy over a split, latency by turns, memory in a child: what they say, never how long it took."""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from potstill.core import atomic
from potstill.core.errors import PotstillError
from potstill.core.progress import Progress
from potstill.core.sources import modules_used
from potstill.verify.accuracy import run_split
from potstill.verify.latency import interleaved, ratio
from potstill.verify.memory import peak_memory


def dense(path: Path, width: int) -> Path:
    """Write pixels [B, 1, 2, 2] -> logits [B, 4] through a hidden layer of `width`; 32 * width bytes of weights."""
    rng = np.random.default_rng(0)
    weights = [("a", rng.random((4, width))), ("b", rng.random((width, 4)))]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "a"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "b"], ["logits"]),
        ],
        "dense",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@pytest.mark.parametrize("num", [1, 127, 128, 129, 300])
def test_split_is_run_in_order_and_whole(num: int) -> None:
    seen: list[np.ndarray] = []

    def inputs(rows: np.ndarray) -> np.ndarray:
        seen.append(rows)
        return np.stack([rows, rows * 2], axis=1)

    outputs = run_split(lambda x: x.astype(np.float64) + 0.5, num, inputs, Progress("quiet"))
    assert np.concatenate(seen).tolist() == list(range(num))
    assert outputs.dtype == np.float32
    assert np.array_equal(outputs, np.stack([np.arange(num), np.arange(num) * 2], axis=1) + np.float32(0.5))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "measure.lock"


def test_slow_is_slower_than_fast(lock: Path) -> None:
    found = interleaved({"student": lambda: None, "teacher": lambda: time.sleep(0.002)}, blocks=6, lock=lock, warmup=2)
    assert set(found) == {"student", "teacher"} and "ratio" not in found["teacher"]
    for name in ("student", "teacher"):
        assert 0 <= found[name]["min"] <= found[name]["median"] <= found[name]["p95"]
    assert found["teacher"]["min"] >= 2.0, "figures are milliseconds"
    assert found["teacher"]["median"] > 10 * found["student"]["median"]
    took = found["teacher"]["interval"]
    assert 2.0 <= took["low"] <= took["value"] <= took["high"] < 10
    ratio = found["student"]["ratio"]
    assert 0 < ratio["low"] <= ratio["value"] <= ratio["high"] < 0.1


def test_blocks_take_turns_and_their_order_turns_around(lock: Path) -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: (order.append(name), time.sleep(0.001))) for name in ("a", "b")}
    found = interleaved(calls, blocks=6, lock=lock, warmup=3)
    assert not any("ratio" in f for f in found.values())
    runs = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    # Warm-up a, b; then blocks ab ba ab ba ab ba, of which equal neighbours run together.
    assert runs == ["a", "b", "a", "b", "a", "b", "a", "b", "a"]
    assert sum(found[n]["calls"] for n in found) < len(order), "warm-up calls do not count"
    assert found["a"]["calls"] % 6 == 0


def test_collector_rests_while_the_clock_runs_and_comes_back(lock: Path) -> None:
    states: list[bool] = []
    assert gc.isenabled()
    interleaved({"a": lambda: states.append(gc.isenabled())}, blocks=5, lock=lock, warmup=1)
    assert not states[-1] and gc.isenabled()

    def fail() -> None:
        if not gc.isenabled():
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interleaved({"a": fail}, blocks=5, lock=lock, warmup=1)
    assert gc.isenabled()
    with atomic.locked(lock):  # given back too
        pass


def _hold(path: Path, held: Callable[[], None], release: Callable[[], None]) -> None:
    with atomic.locked(path):
        held()
        release()


def test_another_process_that_measures_is_waited_for(lock: Path) -> None:
    context = multiprocessing.get_context("fork")
    held, release, called = context.Event(), context.Event(), []
    other = context.Process(target=_hold, args=(lock, held.set, release.wait))
    other.start()
    try:
        assert held.wait(10)
        import threading

        mine = threading.Thread(
            target=interleaved, args=({"a": lambda: called.append(1)},), kwargs={"blocks": 5, "lock": lock}
        )
        mine.start()
        mine.join(0.3)
        assert mine.is_alive() and not called
        release.set()
        mine.join(30)
        assert called
    finally:
        release.set()
        other.join(10)


def test_ratio_is_of_paired_blocks() -> None:
    """A machine that slows to a tenth in half of the blocks slows both: the ratio does not see it."""
    speed = np.array([1.0, 10.0] * 10)
    exact = ratio((2.0 * speed).tolist(), (8.0 * speed).tolist())
    assert (exact["value"], exact["low"], exact["high"]) == pytest.approx((0.25, 0.25, 0.25))
    noise = np.random.default_rng(0).normal(1, 0.1, 20)
    found = ratio((2.0 * speed * noise).tolist(), (8.0 * speed).tolist())
    assert found["low"] < found["value"] < found["high"]
    assert found == ratio((2.0 * speed * noise).tolist(), (8.0 * speed).tolist()), "the bootstrap's seed is fixed"


ONNX = "potstill.core.onnx_writer"
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="machine: is not Linux")


@linux
def test_memory_grows_with_the_model_by_at_least_its_weights(tmp_path: Path) -> None:
    example = np.zeros((1, 1, 2, 2), np.float32)
    small, large = (peak_memory(ONNX, dense(tmp_path / f"{w}.onnx", w), example, 1) for w in (4, 1_000_000))
    for found in (small, large):
        assert found["source"] == "measured"
        assert found["value"] >= 0 and found["baseline"] > 5_000_000
    assert large["value"] - small["value"] >= 32_000_000
    assert abs(large["baseline"] - small["baseline"]) < 8_000_000, "the model is no part of the baseline"


@linux
def test_memory_does_not_inherit_the_parents(tmp_path: Path) -> None:
    """ru_maxrss would: this process holds more than the child ever does."""
    ballast = np.ones(60_000_000)  # 480 MB
    found = peak_memory(ONNX, dense(tmp_path / "m.onnx", 4), np.zeros((1, 1, 2, 2), np.float32), 1)
    assert found["baseline"] + found["value"] < ballast.nbytes / 2


@linux
def test_child_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys, potstill.verify._child as c; sys.argv = ['', *sys.argv[1:]]; c.main(); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, ONNX, str(dense(tmp_path / "m.onnx", 4)), "1", "[1, 1, 2, 2]"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, torch_loaded = done.stdout.splitlines()
    assert '"torch": false' in said
    assert torch_loaded == "False"


@linux
def test_a_file_that_does_not_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(PotstillError, match=r"bad\.onnx"):
        peak_memory(ONNX, tmp_path / "bad.onnx", np.zeros((1, 1, 2, 2), np.float32), 1)


def test_the_childs_source_is_part_of_the_verify_stages_key() -> None:
    assert "potstill.verify._child" in modules_used(["potstill.stages.verify"])
