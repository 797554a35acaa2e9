"""The contract of a model family that is quantised: its integers give what the model that rounds gives. Shapes: X of one input."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.compress.quant_specs import CalibrationSpec
from potstill.exporters import ExporterSpec, Parity
from potstill.models import ModelSpec
from potstill.quant.spec import STATIC, Scheme
from potstill.testing import tiny
from potstill.testing._claims import claims_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from potstill.models.tools.build import NewModel
    from potstill.quant.fake import Fake


def trained(spec: ModelSpec, steps: int = 12) -> tuple[NewModel, Tensor]:
    """Return (a model after a few steps on tiny data, what it reads [8, *X])."""
    import torch

    from potstill.models.tools.build import new_model

    io = tiny.io_for(spec.input.kind, spec.gives[0])
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)
        new = new_model(spec, io, tiny.stats_for(spec.input.kind))
        x: Tensor = new.preprocess(torch.from_numpy(tiny.inputs(spec.input.kind)))
        goal = torch.randn(len(x), *new.io.outputs)
        optimizer = torch.optim.Adam(new.module.parameters(), 0.01)
        new.module.train()
        for _ in range(steps):
            optimizer.zero_grad()
            (new.module(x) - goal).square().mean().backward()
            optimizer.step()
    new.module.eval()
    return new, x


def rounding(module: nn.Module, x: Tensor, scheme: Scheme = "int8_static_per_channel", **more: Any) -> Fake:
    """Return the model that rounds, its ranges those of `x`."""
    from potstill.compress.quantize import prepared

    return prepared(module, x[:2], lambda: [x], scheme, CalibrationSpec(), **more)


def check_quantised(spec: ModelSpec, scheme: Scheme, exporter: ExporterSpec) -> Parity:
    """Check that a family is quantised near its float answers, and that the artifact gives what the model that rounds gives.

    Args:
        spec: of the family.
        scheme: that it takes.
        exporter: realises it.

    Returns:
        What was found.

    Raises:
        AssertionError: something does not hold; says what.
        PotstillError: the family does not take this scheme.
    """
    import torch
    from torch import nn

    from potstill.compress.quant_float import weight_bytes
    from potstill.compress.quantize import quantise
    from potstill.exporters.parity import compare_rounded

    claims = claims_of("model", spec)
    new, x = trained(spec)
    before = {k: v.clone() for k, v in new.module.state_dict().items()}
    made = quantise(new.module, x, scheme, CalibrationSpec())
    with torch.no_grad():
        ours, whole = made(x), new.module(x)
    for name, value in new.module.state_dict().items():
        claims.equal(value, before[name], f"{name} must stay as it is")
    if scheme != "int4_conv":  # four bits may cost anything
        far = float((ours - whole).abs().mean()) / max(float(whole.std()), 1e-6)
        claims.that(far < 0.2, "must answer near its float answers", mean_difference_in_standard_deviations=far)
    if scheme in STATIC:
        made.fake.train()(x).square().mean().backward()
        idle = [n for n, p in new.module.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())]
        claims.that(not idle, "every parameter must learn while it rounds", without_gradient=idle[:5])
        made.fake.eval()
    size = weight_bytes(new.module, made.spec)
    share = {"float16": 0.5}.get(scheme, 0.25)
    claims.that(size["kept"] <= size["float32"] * (share + 0.1), "must keep its weights in few bits", **size)
    with tempfile.TemporaryDirectory() as folder:
        artifact = exporter.export(nn.Sequential(nn.Identity(), new.module), x.numpy(), Path(folder), made.spec)
        output = made.spec.output
        claims.that(
            (output is not None) == (scheme in STATIC), "must answer in codes where values are integers", output=output
        )
        step = None if output is None else made.spec.values[output].scale
        return compare_rounded(new.module, made.fake, artifact, x.numpy(), step)
