"""The next smaller student of a family that a device would take. Loads torch."""

from __future__ import annotations

from potstill.core.samples import DataStats
from potstill.devices.cost import Cost
from potstill.devices.judge import Question, device_verdict, judge_all
from potstill.models import ModelIO, ModelSpec

_FACTORS = (0.75, 0.5, 0.35, 0.25, 0.125)
"""Of the widths, tried in this order."""


def smaller_student(spec: ModelSpec, io: ModelIO, stats: DataStats, asked: Question, cost: Cost) -> str | None:
    """Return the first narrower student of a family that fits, in words; None where the family has no width, or none of those tried
    fits. Its counts are those of `cost`, by the shares that the untrained models' profiles give.

    Args:
        spec: the student.
        io: of the data.
        stats: of the data.
        asked: what it is judged by.
        cost: of the student as it is exported.
    """
    import torch

    from potstill.models.tools.build import new_model
    from potstill.models.tools.profile import Profile, profile
    from potstill.models.tools.scaled import scaled

    def profiled(model: ModelSpec) -> Profile:
        with torch.random.fork_rng(devices=[]):
            new = new_model(model.model_copy(update={"weights": None, "backbone": None}), io, stats)
        return profile(new.module, new.io)

    now = profiled(spec)
    for factor in _FACTORS:
        model = scaled(spec, factor)
        if model is None or model == spec:
            continue
        then = profiled(model)
        thin = cost.scaled(
            then.macs / max(now.macs, 1), then.params / max(now.params, 1),
            then.peak_activation_bytes / max(now.peak_activation_bytes, 1),
        )  # fmt: skip
        if device_verdict(judge_all(thin, asked)) == "fits":
            sizes = ", ".join(f"{k}: {v:g}" for k, v in dict(model).items() if v != getattr(spec, k))
            return (f"a smaller {spec.kind} ({sizes}; {then.macs / 1e6:.3g} M MACs instead of {now.macs / 1e6:.3g} M) would fit as modelled; "
                    "its accuracy is not known until it is trained")  # fmt: skip
    return None
