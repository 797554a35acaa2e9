"""The numbers of a quantised model, the same for every runtime: `quant.json` beside the weights. NumPy and torch stay out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from potstill.core import atomic
from potstill.core.errors import StoreError
from potstill.core.spec import Spec

NAME = "quant.json"
_SCHEMA = 1

Scheme = Literal["float16", "int8_dynamic", "int8_static_per_channel", "int4_conv"]
STATIC = ("int8_static_per_channel", "int4_conv")
"""Schemes whose values between the layers are integers of known ranges."""


class ValueRange(Spec):
    """How the values at one place of the graph become 8-bit codes: round(x / scale) + zero_point, in [-128, 127]."""

    scale: float = Field(gt=0)
    """Step from one code to the next, a float32."""
    zero_point: int = Field(ge=-128, le=127)
    """Code of zero."""


class Weights(Spec):
    """How one tensor of weights is kept: round(w / scale) of its own channel; BatchNorm after the layer is folded in before."""

    bits: Literal[4, 8, 16]
    """16: float16, without scales."""
    axis: int | None = None
    """Dimension of the channels; None: one scale for the whole tensor."""
    scales: tuple[float, ...] = ()
    """Steps, float32 > 0, one a channel; codes lie in [-127, 127], of 4 bits in [-7, 7]."""


class QuantSpec(Spec):
    """A quantised model: scheme, ranges of values by the names of their places, scales of weights by the names of parameters."""

    scheme: Scheme
    """float16: weights kept as float16; int8_dynamic: weights in 8 bits, matrix products in integers whose ranges are those of the
    batch at hand; int8_static_per_channel: weights and values in 8 bits; int4_conv: the same with weights of convolutions in 4."""
    values: dict[str, ValueRange] = Field(default_factory=dict)
    """By place: path of the module, "/", its operator; in the order in which they are computed."""
    weights: dict[str, Weights] = Field(default_factory=dict)
    """By parameter, as the module names it."""
    float_layers: tuple[str, ...] = ()
    """Paths of modules that stay in float32."""
    output: str | None = None
    """Place whose codes the model answers in; None where it answers in float."""

    def write(self, folder: Path) -> None:
        """Write `quant.json`; the same numbers give the same bytes."""
        atomic.write_json(folder / NAME, {"schema": _SCHEMA, **self.model_dump(mode="json")})


def read(folder: Path) -> QuantSpec | None:
    """Return what `quant.json` in a model's folder says, None where there is none: the model is in float32.

    Raises:
        StoreError: it is damaged, or of another schema.
    """
    path = folder / NAME
    if not path.exists():
        return None
    found: Any = atomic.read_json(path)
    try:
        if found.pop("schema") != _SCHEMA:
            raise ValueError("another schema")
        return QuantSpec.model_validate(found)
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as err:
        raise StoreError(
            f"{path}: must hold the numbers of a quantised model, schema {_SCHEMA}; got {err}. Make it again."
        ) from err
