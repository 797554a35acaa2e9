"""A model ready to train: built for the data, with start weights loaded and its input resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from potstill.models._base import ModelIO, ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from potstill.models.tools.preprocess import Preprocess


@dataclass(frozen=True)
class NewModel:
    """A module with its preprocessing. `io` is at the model's own input size."""

    module: nn.Module
    preprocess: Preprocess
    io: ModelIO
    mean: tuple[float, ...]
    std: tuple[float, ...]


def new_model(spec: ModelSpec, io: ModelIO, data_mean: Sequence[float], data_std: Sequence[float]) -> NewModel:
    """Return a new model for data of shape `io`; the caller seeds torch's generator first.

    Args:
        spec: the family and its numbers; `weights` are loaded if given.
        io: of the data, at its own size.
        data_mean: per channel, of pixels in [0, 1].
        data_std: likewise.

    Raises:
        ShapeError: the input is too small for the model, or the weights do not fit.
    """
    from potstill.models.tools.preprocess import Preprocess, laid_out, resolve_input
    from potstill.models.tools.saved import load_weights

    size, mean, std = resolve_input(spec.input, tuple(data_mean), tuple(data_std), (io.height, io.width))
    io = replace(io, height=size[0], width=size[1])
    module = spec.build(io)
    if spec.weights is not None:
        load_weights(module, spec.weights, f"{spec.kind}.weights")
    return NewModel(*laid_out(spec, module, Preprocess(size, mean, std)), io, mean, std)
