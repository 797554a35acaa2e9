"""TimeDistill's distribution over periods. Shapes: B rows, H horizon, V variables, F frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.objectives._base import LossInputs, registry
from potstill.objectives._checks import kl_divergence, positive_temperature
from potstill.objectives._values import ValueSpec, same_values

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST = 4
"""The least horizon with two periods to weigh against one another."""


def spectrum(student_BHV: Tensor, teacher_BHV: Tensor, temperature: float = 0.5) -> Tensor:
    """KL divergence between distributions over periods, one value per example.

    Each variable's distribution is the softmax of the amplitudes of its Fourier transform over time, divided by T, the mean
    (frequency 0) left out. It sees neither the level nor the phase: a term beside one on the values.

    Args:
        student_BHV: [B, H, V] float, H >= 4.
        teacher_BHV: the same shape; receives no gradient.
        temperature: T in (0, inf), units of amplitude, which grows with the horizon.

    Returns:
        [B], nats, >= 0 but for rounding: the sum over frequencies, the mean over variables.

    Raises:
        ShapeError: shapes differ, or the horizon is below 4.
        ValueError: temperature is out of bounds.

    Reference:
        Ni et al. 2025 (TimeDistill), arXiv:2502.15016, the multi-period term on predictions. Departs: the authors' code
        averages over frequencies and adds 1e-8 to the student's probabilities.
    """
    import torch

    same_values("spectrum", student_BHV, teacher_BHV, least=SHORTEST)
    positive_temperature("spectrum", temperature)
    log_q, log_p = (
        torch.log_softmax(torch.fft.rfft(values, dim=1)[:, 1:].abs() / temperature, dim=1)
        for values in (student_BHV, teacher_BHV.detach())
    )
    return kl_divergence(log_p, log_q, dim=1).mean(dim=1)


@registry.register
class SpectrumSpec(ValueSpec):
    """KL divergence from the teacher's distribution over periods, from the amplitudes of its values' Fourier transform."""

    reference: ClassVar[str] = "Ni et al. 2025, arXiv:2502.15016"
    kind: Literal["spectrum"] = "spectrum"
    temperature: float = Field(default=0.5, gt=0)
    """T > 0, in units of amplitude; the authors' 0.5 is for standardised data."""

    def loss(self, x: LossInputs) -> Tensor:
        return spectrum(x.values_BHV, self.of_teacher(x), self.temperature)
