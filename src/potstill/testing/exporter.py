"""The contract of an exporter. Shapes: B rows, C channels, H, W pixels, K classes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.core.child import ChildSession
from potstill.core.errors import ExportError, ParityError
from potstill.exporters import ExporterSpec, registry
from potstill.exporters.parity import compare
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

if TYPE_CHECKING:
    from torch import nn


def check_exporter(spec: ExporterSpec) -> None:
    """Check that an artifact is callable like its module at batch 1, 2, 7 and more, and that the module is left alone.

    Args:
        spec: of a format that takes convolutions, BatchNorm, dropout (in eval mode) and views.

    Raises:
        AssertionError: something does not hold; says what.
    """
    import torch

    from potstill.testing.modules import MODULES, Restless

    check_spec(spec, registry, "exporter")
    claims = claims_of("exporter", spec)
    claims.that(spec.tolerance > 0, "tolerance must be positive", tolerance=spec.tolerance)
    if spec.integers:
        _check_integers(claims, spec)
        return
    for cls in MODULES:
        torch.manual_seed(0)
        module = cls()
        if cls is Restless:
            with torch.no_grad():
                module(torch.rand(16, 1, 8, 8) * 3 + 1)  # statistics that are not 0 and 1
        _check_module(claims, spec, module.eval(), repeat=cls is Restless)


def _check_module(claims: Claims, spec: ExporterSpec, module: nn.Module, *, repeat: bool) -> None:
    name = type(module).__name__
    pixels = np.random.default_rng(0).random((20, 1, 8, 8), dtype=np.float32)
    kept = {k: v.clone() for k, v in module.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "first"
        out.mkdir()
        artifact = spec.export(module, pixels[:4], out)
        claims.that(out in artifact.path.parents and artifact.path.exists(), "must write into the folder it is given", path=artifact.path)  # fmt: skip
        outside = [p.name for p in Path(folder).iterdir() if p != out]
        claims.that(not outside, "must write nowhere else", found=outside)
        claims.that(not module.training, f"must leave {name} in eval mode")
        for key, value in module.state_dict().items():
            claims.equal(value, kept[key], f"must leave {key} of {name} as it was")
        again_opened = (
            [] if isinstance(artifact, ChildSession) else [spec.load(artifact.path)]
        )  # it was opened so before
        for opened in (artifact, *again_opened):
            try:
                parity = compare(module, opened, pixels, spec.tolerance)
            except ParityError as err:
                raise AssertionError(f"{claims.what}: must give what {name} gives: {err}") from err
            claims.that(parity.batches == [1, 2, 7, 20], "must take every batch size", batches=parity.batches)
        found = artifact(pixels[:3])
        claims.that(found.dtype == np.float32 and found.shape == (3, 10), "must give float32 [B, K]", dtype=found.dtype)
        if repeat:
            second = Path(folder) / "second"
            second.mkdir()
            again = spec.export(module, pixels[4:7], second)
            claims.that(
                again.path.read_bytes() == artifact.path.read_bytes(), "must give the same bytes for the same module"
            )


def _check_integers(claims: Claims, spec: ExporterSpec) -> None:
    """Check a format that takes quantised students alone."""
    from torch import nn

    from potstill.compress.quant_specs import CalibrationSpec
    from potstill.compress.quantize import quantise
    from potstill.exporters.parity import compare_rounded
    from potstill.testing.modules import shortcut

    module, x = shortcut()
    made, pixels = quantise(module, x, "int8_static_per_channel", CalibrationSpec()), x.numpy()
    whole = nn.Sequential(nn.Identity(), made.module)
    with tempfile.TemporaryDirectory() as folder:
        out, again, none = (Path(folder) / name for name in ("first", "second", "none"))
        for each in (out, again, none):
            each.mkdir()
        artifact = spec.export(whole, pixels[:4], out, made.spec)
        claims.that(
            out in artifact.path.parents and artifact.path.is_file(),
            "must write into the folder it is given",
            path=artifact.path,
        )
        assert made.spec.output is not None
        compare_rounded(made.module, made.fake, artifact, pixels, made.spec.values[made.spec.output].scale)
        found = artifact(pixels[:3])
        claims.that(found.dtype == np.float32 and found.shape == (3, 10), "must give float32 [B, K]", dtype=found.dtype)
        second = spec.export(whole, pixels[:4], again, made.spec)
        for part in spec.parts(artifact.path):
            same = part.read_bytes() == (second.path.parent / part.name).read_bytes()
            claims.that(same, "must give the same bytes for the same module", file=part.name)
        try:
            spec.export(made.module, pixels[:4], none)
        except ExportError:
            claims.that(not any(none.iterdir()), "must leave nothing of what it refuses", found=sorted(none.iterdir()))
        else:
            claims.that(False, "must refuse a student in float32")
