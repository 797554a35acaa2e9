"""The contract of a family that can be pruned: smaller, of the same outputs' shape, trainable, saved, loaded and exported."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.exporters import ExporterSpec
from potstill.models import ModelSpec
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_FELL = 0.95
"""Share of the parameters that may be left at most."""


def check_prunable(spec: ModelSpec, ratio: float = 0.5, exporter: ExporterSpec | None = None) -> None:
    """Check that a new model of a family is cut as it should be, on tiny data of its kind.

    Args:
        spec: as for `check_model`.
        ratio: pruning ratio, in (0, 1).
        exporter: writes the cut model too, and must give what it gives; None leaves that out.

    Raises:
        AssertionError: something does not hold; says what.
        PotstillError: nothing of it can be cut.
    """
    import torch

    from potstill.compress._settings import PruneSettings
    from potstill.compress.prune import plan_pruning, prune, recalibrate
    from potstill.models.tools.build import new_model
    from potstill.models.tools.layout import laid_out
    from potstill.models.tools.sizes import sizes_of

    claims, kind = claims_of("model", spec), spec.input.kind
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)
        new, module = (new_model(spec, tiny.io_for(kind, spec.gives[0]), tiny.stats_for(kind)) for _ in range(2))
    module.module.load_state_dict(new.module.state_dict())
    with torch.no_grad():
        read = new.preprocess(torch.from_numpy(tiny.inputs(kind)))
        new.module.train()(read)  # statistics that are not those of a new model
        before = new.module.eval()(read)
    settings = PruneSettings(ratio=ratio, round_to=2, scope="per-layer")
    plan = plan_pruning(new.module, (read,), settings, where=spec.kind)
    cut = module.module
    cut.load_state_dict(new.module.state_dict())
    prune(cut, plan, (read,), spec.kind)
    recalibrate(cut, [(read,)])
    cut, _ = laid_out(new.spec, cut.eval(), new.preprocess)
    left = sum(p.numel() for p in cut.parameters())
    claims.that(left == plan.after.params < _FELL * plan.before.params and plan.after.macs < plan.before.macs,
                "must lose parameters and MACs, as the plan says", plan=plan.as_dict(), left=left)  # fmt: skip
    with torch.no_grad():
        after = cut(read)
    claims.that(after.shape == before.shape, "must keep the shape of its outputs", shape=list(after.shape))
    claims.finite(after, "must give finite outputs")
    if exporter is not None:
        _check_exported(claims, cut, new, exporter)
    loaded = _check_saved(claims, cut, new, sizes_of(cut, new.module), read)
    _check_trains(claims, loaded, read)


def _check_saved(claims: Claims, cut: nn.Module, new: Any, sizes: Any, read: Tensor) -> nn.Module:
    import torch

    from potstill.models.tools.saved import load_model, save_model

    classes = [f"class {k}" for k in range(new.data_io.num_classes)]
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folders = [Path(name) / n for n in ("first", "again")]
        for folder in folders:
            folder.mkdir()
        save_model(folders[0], cut, new.spec, new.data_io, classes, sizes)
        loaded = load_model(folders[0])
        save_model(folders[1], loaded.module, loaded.spec, loaded.data_io, classes, loaded.sizes)
        for file in ("student.json", "student.safetensors"):
            same = (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
            claims.that(same, "must be saved to the same bytes again", file=file)
        for key, value in cut.state_dict().items():
            claims.equal(loaded.module.state_dict()[key], value, f"{key} must be loaded as it was saved")
        claims.equal(
            load_model(folders[1]).module(read), loaded.module(read), "must give the same bits once saved and loaded"
        )
        scale = max(1.0, float(cut(read).abs().max()))
        claims.close(loaded.module(read), cut(read), "must give the same once loaded", 0, 1e-3 * scale)
    return loaded.module


def _check_trains(claims: Claims, module: nn.Module, read: Tensor) -> None:
    import torch

    module.train().requires_grad_(True)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    out = module(read)
    torch.autograd.backward((out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum())
    torch.optim.SGD(module.parameters(), 0.1).step()
    idle = [name for name, p in module.named_parameters() if torch.equal(p.detach(), before[name])]
    claims.that(len(idle) < len(before) / 2, "must train", without_change=idle[:5])


def _check_exported(claims: Claims, cut: nn.Module, new: Any, exporter: ExporterSpec) -> None:
    from torch import nn

    from potstill.core.errors import ParityError
    from potstill.exporters.parity import compare

    whole = nn.Sequential(new.preprocess.inside, cut).eval()
    inputs = new.preprocess.outside_numpy(tiny.inputs(new.spec.input.kind, 8, 3))
    with tempfile.TemporaryDirectory() as folder:
        artifact = exporter.export(whole, inputs[:4], Path(folder))
        try:
            compare(whole, artifact, inputs, exporter.tolerance)
        except ParityError as err:
            claims.that(False, f"must be exported as it is: {err}")
