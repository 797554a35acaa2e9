"""Quantising a module: the ranges, then the numbers. Loads torch. Shapes: B rows, X the shape of one input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.compress.quant_calibrate import calibrate
from potstill.compress.quant_float import half
from potstill.compress.quant_specs import CalibrationSpec
from potstill.quant.fake import Fake
from potstill.quant.graph import trace
from potstill.quant.plan import make_plan
from potstill.quant.real import faked
from potstill.quant.spec import STATIC, QuantSpec, Scheme


@dataclass(frozen=True)
class Quantised:
    """A module, the numbers it is quantised with, and what it then computes."""

    module: nn.Module
    """In float32."""
    fake: nn.Module
    """Computes in float32 what a runtime computes in integers."""
    spec: QuantSpec

    def __call__(self, inputs_BX: Tensor) -> Tensor:
        """Return [B, *Y], as the quantised model answers."""
        with torch.no_grad():
            out: Tensor = self.fake(inputs_BX)
        return out


def prepared(
    module: nn.Module, example_BX: Tensor, batches: Callable[[], Iterable[Tensor]], scheme: Scheme,
    calibration: CalibrationSpec, float_layers: Sequence[str] = (), watched: int = 0,
) -> Fake:  # fmt: skip
    """Return a calibrated model that rounds, whose parameters are the module's own, in eval mode.

    Args:
        module: [B, *X] -> [B, *Y]; left in eval mode.
        example_BX: at least 2 rows, as the module reads them.
        batches: () -> batches of rows to find ranges on, the same each time.
        scheme: one of integers.
        calibration: how ranges are found.
        float_layers: paths of modules that stay in float32.
        watched: training steps during which ranges follow the values.
    """
    traced = trace(module, example_BX)
    fake = Fake(traced, make_plan(traced, scheme, float_layers), watched=watched)
    if scheme in STATIC:
        calibrate(fake, batches, calibration)
    return fake.eval()


def quantise(
    module: nn.Module, inputs_NX: Tensor, scheme: Scheme, calibration: CalibrationSpec, float_layers: Sequence[str] = ()
) -> Quantised:
    """Return a module quantised after training (PTQ).

    Args:
        module: trained; left as it is, in eval mode.
        inputs_NX: rows as the module reads them, at least 2; the first `calibration.rows` are looked at.
        scheme: what is rounded.
        calibration: how ranges are found.
        float_layers: paths of modules that stay in float32.
    """
    module.eval()
    if scheme == "float16":
        spec = half(module)
        return Quantised(module, faked(module, spec, inputs_NX[:2]), spec)
    rows = inputs_NX[: calibration.rows]
    fake = prepared(module, inputs_NX[:2], lambda: torch.split(rows, 64), scheme, calibration, float_layers)
    return Quantised(module, fake, fake.numbers())
