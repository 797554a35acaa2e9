"""Mix pictures in pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from potstill.data.augment._base import AugmentSpec, Batch, Draw, registry


@registry.register
class MixupSpec(AugmentSpec):
    """Mix each picture with another of the split (Zhang et al. 2018, arXiv:1710.09412); the teacher sees the mixture.

    The share of the row itself is drawn from Beta(alpha, alpha) and is the larger one: lambda in [0.5, 1]. The partner
    is plain, not augmented.
    """

    kind: Literal["mixup"] = "mixup"
    alpha: float = Field(default=0.2, gt=0)
    """Of the Beta distribution; small is mild, 1 is uniform."""

    def apply(self, batch: Batch, draw: Draw) -> Batch:
        import torch
        from scipy.special import betaincinv

        if batch.mix_B is not None:
            raise ValueError("augment: mixup must be given once")
        u = draw.uniform(2)
        share = betaincinv(self.alpha, self.alpha, u[:, 0])
        mix_B = torch.from_numpy(np.maximum(share, 1 - share)).float()
        partner = draw.partners(u[:, 1])
        mix = mix_B[:, None, None, None]
        pixels = batch.inputs_BX * mix + partner.inputs_BX * (1 - mix)
        return replace(batch, inputs_BX=pixels, partner_labels_B=partner.labels_B, mix_B=mix_B)
