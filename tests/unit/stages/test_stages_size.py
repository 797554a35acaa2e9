"""Sizes that keep to a latency: the widest model, the smallest pruning ratio, and what is timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.compress._settings import PruneBudget, PruneSettings
from potstill.core import artifact
from potstill.core.errors import BudgetError
from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.dataset import prepare
from potstill.exporters.onnx import OnnxSpec
from potstill.models import ModelSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.resnet import ResNetSpec
from potstill.models.tools import scaled
from potstill.stages import RunOptions, StageContext
from potstill.stages.size import SizeStage, Timed, _Clock


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 1), dtype=np.uint8)
    source = arrays(pixels, np.arange(60) % 3)
    prepare(source, folder, Progress("quiet"))
    artifact.seal(folder, {"name": "data"})
    return folder


def stage(model: ModelSpec, limit: float, **more: Any) -> SizeStage:
    return SizeStage(
        model=model, reference=DsCnnSpec(width=4, depth=2), latency_ms=limit, exporter=OnnxSpec(), blocks=5,
        machine="here", **more,
    )  # fmt: skip


def run(spec: SizeStage, data: Path, work: Path) -> dict[str, Any]:
    return spec.run(StageContext("size/x", {"data": data}, work, RunOptions(cache=work)))


@pytest.fixture
def by_params(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a thousand parameters take a millisecond, give or take a tenth."""

    def latency(self: _Clock, new: Any, module: Any = None) -> Timed:
        self.found["x"] = None
        ms = sum(p.numel() for p in (new.module if module is None else module).parameters()) / 1000
        return Timed(ms, 0.9 * ms, 1.1 * ms)

    monkeypatch.setattr(_Clock, "latency", latency)


@pytest.mark.usefixtures("by_params")
def test_the_upper_end_of_the_interval_keeps_to_the_limit(data: Path, tmp_path: Path) -> None:
    chosen = run(stage(DsCnnSpec(width=4, depth=2), 3.0), data, tmp_path)["chosen"]
    assert chosen["numbers"]["width"] > 4 and 2.4 < chosen["latency_ms"]["high"] <= 3.0


@pytest.mark.usefixtures("by_params")
def test_the_smallest_ratio_that_keeps_to_the_limit(data: Path, tmp_path: Path) -> None:
    model = ResNetSpec(depth=8, width=8)
    budget = PruneBudget(device="host", latency_ms=10.0)
    cut = PruneSettings(budget=budget, round_to=1, scope="per-layer")
    chosen = run(stage(model, 10.0, cut=cut), data, tmp_path)["chosen"]
    assert 0 < chosen["ratio"] < 1 and 9.0 < chosen["latency_ms"]["high"] <= 10.0


@pytest.mark.usefixtures("by_params")
def test_what_is_too_slow_at_its_narrowest_says_so(data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BudgetError, match=r"the narrowest has .* It must take at most 0.001 ms; the recipe's own student"
    ):
        run(stage(DsCnnSpec(width=4, depth=2), 0.001), data, tmp_path)
    cut = PruneSettings(budget=PruneBudget(device="host", latency_ms=0.001))
    with pytest.raises(
        BudgetError, match=r"must fit once all is cut that can be; got 'host', .* ms, measured untrained"
    ):
        run(stage(ResNetSpec(depth=8, width=16), 0.001, cut=cut), data, tmp_path)


@pytest.mark.parametrize("scheme", [None, "int8_static_per_channel"])
def test_what_is_timed_is_the_exported_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: Any
) -> None:
    given = []
    export = OnnxSpec.export

    def seen(self: OnnxSpec, module: Any, example: Any, out: Path, quant: Any = None) -> Any:
        given.append(None if quant is None else quant.scheme)
        return export(self, module, example, out, quant)

    monkeypatch.setattr(OnnxSpec, "export", seen)
    monkeypatch.setattr(scaled, "_WIDEST", 1.5)
    model = DsCnnSpec(width=6, depth=2)
    found = run(stage(model, 1e4, scheme=scheme), data, tmp_path)
    assert given[0] is None, "the reference is in float32"
    assert set(given[1:]) == {scheme} and found["tried"] == len(given) - 1, "each size is exported once"
    took = found["chosen"]["latency_ms"]
    assert 0 < took["low"] <= took["value"] <= took["high"] and found["reference_ms"] > 0
    assert (tmp_path / "locks" / "measure.lock").exists(), "nothing else of ours is timed meanwhile"
