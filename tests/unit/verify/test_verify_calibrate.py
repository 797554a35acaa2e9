"""This machine as a device: nets are timed in its runtimes, and the profile's latencies rest on its own rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.core.errors import DeviceError
from potstill.core.progress import Progress
from potstill.devices.calibration.nets import NETS, Layer, Net
from potstill.devices.catalogue import profile_of
from potstill.devices.cost import Cost
from potstill.devices.judge import Budget, Question, judge_all
from potstill.devices.latency import predict
from potstill.verify import calibrate

TEN = [
    Net(
        f"small-{i}",
        (8, 8, 1),
        (Layer("conv", 2 + 3 * i, (3, 3)), Layer("dw", 0, (3, 3)), Layer("pool"), Layer("fc", 2 + i)),
    )
    for i in range(10)
]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Let each file take 10 µs and a nanosecond a thousand weights of its file; return what was asked for."""
    asked: list[tuple[str, int]] = []

    class Session:
        def __init__(self, module: str, path: Path, threads: int) -> None:
            asked.append((path.name, threads))
            self.took = (1e-5 + 1e-9 * path.stat().st_size) / threads

        def times(self, inputs: Any, num: int) -> Any:
            return np.full(num, self.took)

        def close(self) -> None:
            pass

    monkeypatch.setattr(calibrate, "ChildSession", Session)
    return asked


def measured(out: Path, **options: Any) -> list[calibrate.Group]:
    return calibrate.measure_device(out, quick=False, progress=Progress("quiet"), nets=TEN, seconds=0.01, **options)


def test_a_profile_rests_on_its_own_rows(timed: list[tuple[str, int]], tmp_path: Path) -> None:
    groups = measured(tmp_path / "board.yaml")
    assert {(g.rows[0].runtime, g.rows[0].dtype) for g in groups} >= {
        ("ONNX Runtime", "float32"),
        ("ONNX Runtime", "int8"),
    }
    assert all(len(g.rows) == len(TEN) and g.fitted is not None for g in groups)
    profile = profile_of(str(tmp_path / "board.yaml"))
    assert profile.ram_bytes.status == profile.cores.status == "measured" and profile.boards.keys() == {"board"}
    entry = next(e for e in profile.latency if e.dtype == "float32" and e.threads == "1")
    assert Path(entry.rows) == tmp_path / "board.csv"
    with (tmp_path / "board.csv").open() as file:
        rows = [
            r
            for r in csv.DictReader(file)
            if r["runtime"] == entry.runtime and r["dtype"] == "float32" and r["threads"] == "1"
        ]
    assert len(rows) == len(TEN) and all(r["source"].startswith("measured on the device") for r in rows)
    cost = Cost("m", "float32", {"conv": 10**4, "dw": 10**3}, 5, 10**3, 500, 10, 2000, 1000)
    found = predict(entry, cost)
    assert found.fitted is not None and found.fitted.origin == "measured" and len(found.fitted.rows) == len(TEN)
    line = judge_all(cost, Question(profile, Budget(latency_ms=1e9)))[0].lines[0]
    assert "measured rows of" in line.reason or "measured models" in line.reason
    assert line.word in ("modelled", "unknown"), "a prediction is never called measured"


def test_the_least_of_the_passes_counts(timed: list[tuple[str, int]], tmp_path: Path) -> None:
    measured(tmp_path / "board.yaml")
    half = len(timed) // 2
    assert timed[:half] == timed[half:][::-1], "to and fro"
    assert len({threads for _, threads in timed}) == len({1, len(calibrate.os.sched_getaffinity(0))})


def test_a_real_net_is_timed_in_a_child(tmp_path: Path) -> None:
    net = next(n for n in NETS if n.name == "conv-16")
    calibrate.measure_device(tmp_path / "one.yaml", quick=True, progress=Progress("quiet"), nets=[net], seconds=0.01)
    profile = profile_of(str(tmp_path / "one.yaml"))
    assert not profile.latency, "one model carries no latency"
    with (tmp_path / "one.csv").open() as file:
        assert all(0 < float(row["latency_ms"]) < 1000 for row in csv.DictReader(file))


def test_what_is_there_is_kept(timed: list[tuple[str, int]], tmp_path: Path) -> None:
    (tmp_path / "board.csv").write_text("mine")
    with pytest.raises(DeviceError, match=r"board\.csv: must not be there yet"):
        measured(tmp_path / "board.yaml")
    with pytest.raises(DeviceError, match="must be named by small letters"):
        measured(tmp_path / "My Board.yaml")
    assert not timed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the columns none"), ("a,b\n1,2\n", "the columns a, b"), ("latency_ms", "the columns latency_ms"),
        ("row:nan", "latency_ms='nan'"), ("row:-1", "latency_ms='-1'"), ("row:x", "could not convert"), ("row:0", "latency_ms='0'"),
        (None, "No such file"), ("cut", "a last line that is cut"), ("short", "a row of another length, 'm0000'"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_named(
    text: str | None, words: str, timed: list[tuple[str, int]], tmp_path: Path
) -> None:
    measured(tmp_path / "board.yaml")
    table = tmp_path / "board.csv"
    if text is None:
        table.unlink()
    elif text == "cut":
        table.write_bytes(table.read_bytes()[:-9])
    elif text == "short":
        table.write_text(table.read_text().replace(",measured", "", 1))
    elif text.startswith("row:"):
        head, first, *_ = table.read_text().splitlines()
        cells = first.split(",")
        cells[16] = text.removeprefix("row:")
        table.write_text(f"{head}\n{','.join(cells)}\n")
    else:
        table.write_text(text)
    entry = profile_of(str(tmp_path / "board.yaml")).latency[0]
    with pytest.raises(DeviceError, match=rf"board\.csv: must be a table of latencies.*{words}"):
        predict(entry, Cost("m", "float32", {"conv": 10**6}, 10, 10**5, 10**4, 100, 10**4, 10**4))


def test_rows_lie_beside_their_profile(timed: list[tuple[str, int]], tmp_path: Path) -> None:
    measured(tmp_path / "board.yaml")
    path = tmp_path / "board.yaml"
    path.write_text(path.read_text().replace("rows: board.csv", "rows: ../board.csv"))
    with pytest.raises(
        DeviceError, match=r"latency\.rows: must be the name of a \.csv file beside the profile; got '\.\./board\.csv'"
    ):
        profile_of(str(path))
