"""What a model family is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from potstill.core.outputs import TaskOutput
from potstill.core.spec import InputPath, Registry, Spec
from potstill.models._io import ModelIO
from potstill.models.inputs import ImageInput, InputSpec, PlanarInput

if TYPE_CHECKING:
    from typing import TypeAlias

    from torch import nn

    OwnInput: TypeAlias = InputSpec
else:
    OwnInput = PlanarInput  # families of other samples say their own


class ModelSpec(Spec, ABC):
    """A family with its width and depth as numbers."""

    channels_last: ClassVar[bool] = False
    """Trains with channels last in memory, where convolutions run up to 1.8 times as fast on a CPU. Only for families
    whose forward has no `view` over channels; a user's own module may have one."""
    gives: ClassVar[tuple[TaskOutput, ...]] = ("classes",)
    """What a model of this family can give; a recipe of another task is refused."""
    kind: str
    input: OwnInput = Field(default_factory=ImageInput)
    """How samples are brought to this model; its kind says which samples it reads. Sound comes as its spectrogram, a picture of
    one channel."""
    weights: InputPath | None = None
    """Safetensors file to start from; names and shapes must match."""
    backbone: InputPath | None = None
    """Safetensors file of a model for other classes to start from: its last layer is left out, and drawn anew here."""

    @abstractmethod
    def build(self, io: ModelIO) -> nn.Module:
        """Return a freshly initialised module, [B, *io.shape] -> [B, *io.outputs], raw logits or values. Uses torch's global
        generator, so the caller seeds it."""

    def for_mcu(self) -> bool:
        """Return whether every operator of this family exists in TFLite Micro."""
        return False


registry: Registry[ModelSpec] = Registry("models")
