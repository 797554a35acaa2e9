"""What a model family is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from potstill.core.spec import InputPath, Registry, Spec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelIO:
    """What a model is built for: the data decides it."""

    num_classes: int
    channels: int
    height: int
    """Pixels, after the model's own input size has been applied."""
    width: int


class InputSpec(Spec):
    """How pixels in [0, 1] are brought to a model; each model states its own."""

    size: int | None = Field(default=None, ge=1)
    """Height and width in pixels that the model reads; None keeps the data's. Bilinear, antialiased."""
    mean: tuple[float, ...] | None = None
    """Per channel, subtracted; None takes the training split's own mean."""
    std: tuple[float, ...] | None = None
    """Per channel, divided by; None takes the training split's own standard deviation."""


class ModelSpec(Spec, ABC):
    """A family with its width and depth as numbers."""

    channels_last: ClassVar[bool] = False
    """Trains with channels last in memory, where convolutions run up to 1.8 times as fast on a CPU. Only for families
    whose forward has no `view` over channels; a user's own module may have one."""
    kind: str
    input: InputSpec = Field(default_factory=InputSpec)
    """Size and normalisation that this model reads."""
    weights: InputPath | None = None
    """Safetensors file to start from; names and shapes must match."""

    @abstractmethod
    def build(self, io: ModelIO) -> nn.Module:
        """Return a freshly initialised module, [B, C, H, W] float32 -> raw logits [B, K]. Uses torch's global
        generator, so the caller seeds it."""

    def for_mcu(self) -> bool:
        """Return whether every operator of this family exists in TFLite Micro."""
        return False


registry: Registry[ModelSpec] = Registry("models")
