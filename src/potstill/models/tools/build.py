"""A model ready to train: built for the data, with start weights loaded and its input resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from potstill.core.samples import DataStats
from potstill.models._base import ModelSpec
from potstill.models._io import ModelIO

if TYPE_CHECKING:
    from torch import nn

    from potstill.models.inputs.preprocess import Preprocess
    from potstill.models.tools.sizes import Sizes


@dataclass(frozen=True)
class NewModel:
    """A module with its preprocessing."""

    module: nn.Module
    preprocess: Preprocess
    spec: ModelSpec
    """Its input resolved: no number left to the data."""
    data_io: ModelIO
    """Of the data."""
    sizes: Sizes = field(default_factory=dict)
    """Of the layers that were pruned."""

    @property
    def io(self) -> ModelIO:
        """What the module itself takes and gives."""
        found: ModelIO = self.spec.input.seen(self.data_io)
        return found


def new_model(spec: ModelSpec, io: ModelIO, stats: DataStats) -> NewModel:
    """Return a new model for data of shape `io`; the caller seeds torch's generator first.

    Args:
        spec: the family and its numbers; `weights` are loaded if given.
        io: of the data.
        stats: of the data's training split.

    Raises:
        ShapeError: the data is of another kind, the input too small for the model, or the weights do not fit.
    """
    from potstill.models.tools.layout import laid_out
    from potstill.models.tools.saved import load_weights

    spec.input.must_read(io, spec.kind)
    spec = spec.model_copy(update={"input": spec.input.resolved(io, stats)})
    module = spec.build(spec.input.seen(io))
    if spec.weights is not None:
        load_weights(module, spec.weights, f"{spec.kind}.weights")
    elif spec.backbone is not None:
        load_weights(module, spec.backbone, f"{spec.kind}.backbone", but_the_head=True)
    return NewModel(*laid_out(spec, module, spec.input.preprocess(io)), spec, io)
