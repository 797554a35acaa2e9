"""Families that read series. Shapes: B rows, V variables, T steps, H horizon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats
from potstill.exporters.onnx import OnnxSpec
from potstill.models import ModelIO, ModelSpec
from potstill.models.ds_cnn_1d import DsCnn1dSpec
from potstill.models.forecast_linear import ForecastLinearSpec
from potstill.models.forecast_mlp import ForecastMlpSpec
from potstill.models.gru import GruSpec
from potstill.models.inputs import SeriesInput
from potstill.models.patch_transformer import PatchTransformerSpec
from potstill.models.tcn import TcnSpec

V, T, H = 3, 40, 6
CLASSES, VALUES = ModelIO((5,), (V, T), "series"), ModelIO((H, V), (V, T), "series")
ANY: list[ModelSpec] = [
    DsCnn1dSpec(width=4, dropout=0.1), DsCnn1dSpec(width=4, depth=3, stem_stride=4, widen=False), TcnSpec(width=4, depth=3),
    TcnSpec(width=4, depth=2, stem_stride=3, pool="last", dropout=0.1), GruSpec(hidden=8), GruSpec(hidden=8, layers=2,
    bidirectional=True, stem=4),
]  # fmt: skip
FORECASTERS: list[ModelSpec] = [
    PatchTransformerSpec(patch=8, stride=4, dim=8, depth=1, heads=2, hidden=8), ForecastLinearSpec(),
    ForecastLinearSpec(parts="trend-and-rest", average=5), ForecastMlpSpec(hidden=8),
]  # fmt: skip


def built(spec: ModelSpec, io: ModelIO) -> nn.Module:
    torch.manual_seed(0)
    return spec.build(io)


def drawn(rows: int = 4, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, V, T)).astype(np.float32))


@pytest.mark.parametrize("io", [CLASSES, VALUES], ids=["classes", "values"])
@pytest.mark.parametrize("spec", [*ANY, *FORECASTERS], ids=lambda s: s.kind)
def test_a_family_gives_what_is_asked_for_and_every_parameter_learns(spec: ModelSpec, io: ModelIO) -> None:
    if spec in FORECASTERS and io is CLASSES:
        with pytest.raises(ShapeError, match=r"must forecast each variable that it sees, \[H, 3\]; got outputs \[5\]"):
            built(spec, io)
        return
    module = built(spec, io)
    out = module(drawn())
    assert out.shape == (4, *io.outputs) and torch.isfinite(out).all()
    (out * torch.randn(out.shape)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    again = built(spec, io).state_dict()
    assert all(torch.equal(v, again[k]) for k, v in built(spec, io).state_dict().items())


@pytest.mark.parametrize(("spec", "io"), [(ANY[1], CLASSES), (ANY[3], VALUES), (ANY[5], CLASSES), *((f, VALUES) for f in FORECASTERS)],
                         ids=lambda v: getattr(v, "kind", None))  # fmt: skip
def test_it_exports_with_any_batch(spec: ModelSpec, io: ModelIO, tmp_path: Path) -> None:
    module = built(spec, io).eval()
    artifact = OnnxSpec().export(module, drawn(3).numpy(), tmp_path)
    for rows in (1, 2, 7):
        x = drawn(rows, 1)
        with torch.inference_mode():
            np.testing.assert_allclose(artifact(x.numpy()), module(x).numpy(), atol=1e-5)


def test_a_causal_network_sees_no_later_step() -> None:
    module = built(TcnSpec(width=4, depth=3, pool="last"), CLASSES).eval()
    blocks = nn.Sequential(*list(module)[:-2])  # type: ignore[call-overload]
    x = drawn()
    later = x.clone()
    later[:, :, 25:] += 1
    a, b = blocks(x), blocks(later)
    assert torch.equal(a[:, :, :25], b[:, :, :25]) and not torch.equal(a[:, :, 25:], b[:, :, 25:])


def _nlinear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    out = np.empty((len(x), H, V))
    for b in range(len(x)):
        for v in range(V):
            last = x[b, v, -1]
            for h in range(H):
                out[b, h, v] = last + bias[h] + sum(weight[h, t] * (x[b, v, t] - last) for t in range(T))
    return out


def test_the_linear_forecast_is_that_of_the_paper() -> None:
    module = built(ForecastLinearSpec(), VALUES)
    linear = module.one
    assert isinstance(linear, nn.Linear)
    nn.init.normal_(linear.weight)
    x = drawn()
    expected = _nlinear(x.numpy().astype(np.float64), linear.weight.detach().numpy(), linear.bias.detach().numpy())
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-3, atol=1e-4)


def test_trend_and_rest_are_split_by_a_moving_average() -> None:
    module = built(ForecastLinearSpec(parts="trend-and-rest", average=5), VALUES)
    parts = module.one
    for name, linear in parts.named_children():
        nn.init.constant_(linear.bias, 0)
        if name == "rest":
            nn.init.constant_(linear.weight, 0)
        else:  # every step ahead is the trend's last value
            nn.init.constant_(linear.weight, 0)
            with torch.no_grad():
                linear.weight[:, -1] = 1
    x = drawn()
    expected = (x[:, :, -3:].sum(dim=2) + 2 * x[:, :, -1]) / 5  # the end is repeated
    for h in range(H):
        np.testing.assert_allclose(module(x)[:, h].detach().numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "spec", [PatchTransformerSpec(patch=8, stride=4), ForecastMlpSpec(), ForecastLinearSpec()], ids=lambda s: s.kind
)
def test_a_forecast_follows_the_level_of_its_window(spec: ModelSpec) -> None:
    module = built(spec, VALUES).eval()
    x = drawn()
    np.testing.assert_allclose(module(x + 7).detach().numpy(), module(x).detach().numpy() + 7, atol=1e-3)
    if spec.kind != "forecast-linear":
        np.testing.assert_allclose(module(5 * x).detach().numpy(), 5 * module(x).detach().numpy(), atol=1e-3)


def test_what_cannot_be_built_is_refused() -> None:
    for spec, text in (
        (DsCnn1dSpec(kernel=4), "needs an odd kernel"), (DsCnn1dSpec(stem_stride=16), "at least 64 steps"),
        (TcnSpec(stem_stride=50), "needs at least stem_stride=50 steps; got 40"), (GruSpec(stem=4, stem_stride=50), "got 40"),
        (PatchTransformerSpec(patch=41), "needs at least patch=41 steps; got 40"),
        (ForecastLinearSpec(parts="trend-and-rest", average=4), "average must be odd; got 4"),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=text):
            built(spec, VALUES)
    with pytest.raises(ShapeError, match=r"Leave data.targets out, or use a model that mixes variables"):
        built(ForecastMlpSpec(), ModelIO((H, 1), (V, T), "series"))


def test_a_window_is_normalised_by_itself_where_that_is_asked_for() -> None:
    stats = DataStats((0.5, -1.0, 2.0), (2.0, 1.0, 3.0))
    spec = SeriesInput(by_window=(0, 2)).resolved(CLASSES, stats)
    x = drawn().numpy().astype(np.float64) * 4 + 9
    expected = np.empty_like(x)
    for b, v in np.ndindex(4, V):
        one = x[b, v]
        own = (one - one.mean()) / np.sqrt(one.var() + (0.1 * stats.std[v]) ** 2)
        expected[b, v] = own if v in (0, 2) else (one - stats.mean[v]) / stats.std[v]
    found = spec.preprocess(CLASSES)(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    every = SeriesInput(by_window="all").resolved(CLASSES, stats)
    assert every.by_window == (0, 1, 2)
    level = every.preprocess(CLASSES)(torch.from_numpy((x + 100).astype(np.float32)))
    np.testing.assert_allclose(
        level.numpy(), every.preprocess(CLASSES)(torch.from_numpy(x.astype(np.float32))).numpy(), atol=1e-4
    )
    for bad in ((3,), (0, 0)):
        with pytest.raises(ShapeError, match=r"input.by_window: must be variables in 0..2, each once"):
            SeriesInput(by_window=bad).resolved(CLASSES, stats)
