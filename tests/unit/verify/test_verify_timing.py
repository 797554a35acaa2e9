"""Time by parts, over a long run, from a cold start; energy by counters: what they say, never how long it took."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from potstill.core import artifact
from potstill.core.child import answer_of
from potstill.core.errors import PotstillError
from potstill.core.progress import Progress
from potstill.core.sources import modules_used
from potstill.data.arrays import arrays
from potstill.data.dataset import Dataset, prepare
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.tools.build import new_model
from potstill.models.tools.saved import save_model
from potstill.stages._parts import data_io, gather
from potstill.testing import tiny
from potstill.verify import _timing_child as child
from potstill.verify import timing
from potstill.verify.energy import Rapl
from potstill.verify.latency import PARTS

ONNX = "potstill.core.onnx_writer"


def counters(folder: Path, *packages: int, most: int = 1000) -> Path:
    """Write a powercap folder as the kernel has it: packages, and what lies within the first one."""
    for i, value in enumerate(packages):
        for name, what in ((f"intel-rapl:{i}", f"package-{i}"), (f"intel-rapl:{i}:0", "core")):
            domain = folder / name
            domain.mkdir(parents=True, exist_ok=True)
            for file, text in (("name", what), ("energy_uj", value), ("max_energy_range_uj", most)):
                (domain / file).write_text(f"{text}\n")
    (folder / "intel-rapl").mkdir(exist_ok=True)
    return folder


def test_energy_is_of_whole_packages_and_a_counter_may_begin_anew(tmp_path: Path) -> None:
    meter = Rapl(counters(tmp_path, 100, 900))
    assert meter
    before = meter.read()
    counters(tmp_path, 150, 200)
    assert meter.joules(before, meter.read()) == pytest.approx((50 + 300) / 1e6), "cores are in their package"


def test_without_counters_or_leave_to_read_them_there_is_no_energy(tmp_path: Path) -> None:
    assert not Rapl(tmp_path / "none")
    counters(tmp_path, 100)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # cannot be read, whoever asks
    meter = Rapl(tmp_path)
    assert not meter and meter.joules(meter.read(), meter.read()) == 0
    taken = child.by_turns({"student": lambda: None}, 2, meter)["student"]
    assert taken.figures(meter)["energy_mj"] == {"value": None, "source": "unknown"}


def test_energy_of_a_sample_is_that_of_its_own_blocks(tmp_path: Path) -> None:
    meter, used = Rapl(counters(tmp_path, 0)), [0]

    def call() -> None:
        used[0] += 7
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text(str(used[0]))

    taken = child.by_turns({"student": call, "teacher": lambda: None}, 3, Rapl(tmp_path))
    assert taken["student"].figures(meter)["energy_mj"]["value"] == pytest.approx(7e-3)
    assert taken["teacher"].figures(meter)["energy_mj"]["value"] == 0


def way(**slow: float) -> child.Way:
    """Return a way that only waits, so many seconds in each part."""

    def part(name: str) -> Any:
        return lambda x: (time.sleep(slow.get(name, 0)), x)[1]

    return child.Way(part("read"), part("preprocess"), part("infer"), part("postprocess"), [3, 5])


def test_each_part_is_told_apart_and_rows_are_taken_in_turn() -> None:
    seen: list[int] = []
    student = way(infer=0.002)
    student.read = lambda row: seen.append(row) or np.zeros(1)  # type: ignore[func-returns-value]
    found = child.end_to_end({"student": student, "teacher": way(preprocess=0.004)}, 3, Rapl(Path("none")))
    parts = {name: {p: found[name]["parts"][p]["median"] for p in PARTS} for name in found}
    assert parts["student"]["infer"] >= 2 and parts["teacher"]["preprocess"] >= 4
    assert max(v for p, v in parts["student"].items() if p != "infer") < 1
    assert found["student"]["median"] == pytest.approx(parts["student"]["infer"], rel=0.5)
    assert 0.2 < found["student"]["ratio"]["value"] < 0.9 and "ratio" not in found["teacher"]
    assert found["student"]["cpu_per_wall"] < 0.5, "it slept"
    assert set(seen) == {3, 5} and seen[:4] == [3, 5, 3, 5]


def test_a_long_run_compares_its_end_with_its_beginning() -> None:
    slowing = way()
    began = time.perf_counter()
    slowing.infer = lambda x: (time.sleep(0.002 if time.perf_counter() < began + 0.95 else 0.006), x)[1]
    found = child.sustained(slowing, 2.0)
    assert found["window_s"] == 1 and len(found["per_second_ms"]) == 2 and found["calls"] > 100
    assert found["slower"]["value"] > 1.5 and found["slower"]["low"] is None, (
        "a second at each end is too few for an interval"
    )
    assert found["last_ms"] / found["first_ms"] == pytest.approx(found["slower"]["value"])


def mean_of_pixels(path: Path, shape: tuple[int, ...]) -> Path:
    """Write pixels [B, C, H, W] -> [B, C], the mean of each channel."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", *shape])
    gives = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", shape[0]])
    graph = helper.make_graph(nodes, "mean", [given], [gives])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


def test_from_the_row_to_the_answer_in_a_process_of_its_own(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("data", "student")}
    for folder in folders.values():
        folder.mkdir()
    prepare(arrays(*tiny.pictures(80)), folders["data"], Progress("quiet"))
    artifact.seal(folders["data"], {"name": "data"})
    dataset = Dataset.open(folders["data"])
    new = new_model(DsCnnSpec(width=4, depth=1, downsample=1), data_io(dataset), dataset.stats)
    save_model(folders["student"], new.module, new.spec, new.data_io, dataset.classes, new.sizes)
    example, _ = gather(dataset.splits["test"], np.arange(2))
    path = mean_of_pixels(folders["student"] / "student.onnx", example.shape[1:])
    given: dict[str, Any] = {
        "data": folders["data"], "output": "classes", "student": folders["student"], "runtime": ONNX, "path": path, "teacher": None,
        "rows": [0, 1, 2], "threads": 1, "thread_counts": [1, 2], "blocks": 5, "sustained_s": 0.0, "lock": tmp_path / "lock",
        "powercap": counters(tmp_path / "powercap", 5),
    }  # fmt: skip
    found = timing.end_to_end(**given)
    student = found["models"]["student"]
    assert set(student["parts"]) == set(PARTS) and "teacher" not in found["models"] and found["sustained"] is None
    assert student["energy_mj"] == {"value": 0.0, "source": "measured"}
    assert [t["threads"] for t in found["threads"]] == [1, 2]
    assert 0 < student["parts"]["infer"]["median"] < student["median"]
    cold = timing.cold_start(ONNX, path, example, 1, 2, tmp_path / "lock")
    assert cold["starts"] == 2 and cold["min_ms"] <= cold["total_ms"] <= cold["max_ms"]
    assert all(cold[part] > 0 for part in ("runtime_ms", "load_ms", "first_ms"))
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(PotstillError, match=r"bad\.onnx: must "):
        timing.cold_start(ONNX, tmp_path / "bad.onnx", example, 1, 1, tmp_path / "lock")


def test_a_process_that_hangs_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"m\.onnx: must run in a process of its own; got none within 1 s"):
        answer_of("timeit", ["-n", "1", "-r", "1", "import time; time.sleep(60)"], tmp_path / "m.onnx", 1.0)


def test_the_childs_source_is_part_of_the_verify_stages_key() -> None:
    assert {"potstill.verify._timing_child", "potstill.verify.energy"} <= set(modules_used(["potstill.stages.verify"]))
