"""`ps.quantize`: a module of one's own, without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import potstill as ps
from potstill.core.errors import ExportError, PotstillError, ShapeError
from potstill.quant.spec import read
from potstill.testing.modules import shortcut


def test_a_module_is_quantised_called_and_exported(tmp_path: Path) -> None:
    module, x = shortcut()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    made = ps.quantize(module, x.numpy(), method="percentile", percentile=99.9)
    answers = made(x)
    assert 0 < float((answers - module(x)).abs().max()) < 0.2
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    artifact = made.export(tmp_path / "out")
    assert read(tmp_path / "out") == made.spec
    assert np.abs(artifact(x.numpy()) - answers.numpy()).max() < 1e-5


@pytest.mark.parametrize("scheme", ["float16", "int8_dynamic", "int4_conv"])
def test_other_schemes_answer_near_the_module(scheme: Any) -> None:
    module, x = shortcut()
    made = ps.quantize(module, x, scheme)
    assert made.spec.scheme == scheme
    assert float((made(x) - module(x)).abs().max()) < (1.5 if scheme == "int4_conv" else 0.2)


def test_what_cannot_be_says_what_to_do() -> None:
    module, x = shortcut()
    with pytest.raises(ShapeError, match="at least 2 rows"):
        ps.quantize(module, x[:1])
    with pytest.raises(PotstillError, match="Nearest: 'second'"):
        ps.quantize(module, x, float_layers=["secondd"])
    with pytest.raises(ExportError, match="int8_dynamic"):
        ps.quantize(torch.nn.Sequential(torch.nn.GRU(4, 3, batch_first=True), _First()), torch.randn(3, 5, 4))


class _First(torch.nn.Module):
    def forward(self, found: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return found[0][:, -1]
