"""Attention matched to the teacher's, row by row. Shapes: B rows, A heads, L tokens that look, S tokens that are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.objectives._base import registry
from potstill.objectives._checks import positive_temperature
from potstill.objectives._sequences import TokenFeatureSpec, check_tokens, kl_of_scores
from potstill.taps import Shape, TapSort

if TYPE_CHECKING:
    from torch import Tensor

    from potstill.taps.adapters import Joint

PROBABILITY_FLOOR = 1e-12
"""Below it a probability counts as this much: its logarithm stays finite."""


def attention_kl(
    student_BALS: Tensor, teacher_BALS: Tensor, temperature: float = 1.0, token_mask_BL: Tensor | None = None
) -> Tensor:
    """KL divergence from the teacher's attention to the student's, one value per example, times T².

    Args:
        student_BALS: [B, A, L, S] float, probabilities over S; rows of another sum are brought to 1.
        teacher_BALS: likewise, of the same heads; receives no gradient.
        temperature: T in (0, inf), dimensionless; probabilities are raised to 1 / T and brought to sum 1, as if the scores
            had been divided by it. 1 leaves them as they are.
        token_mask_BL: [B, L] bool, False for padding, which is neither looked at nor looks; None for none. Needs S = L.

    Returns:
        [B], nats times T², >= 0 but for rounding: the mean over heads and real tokens; 0 for a row without any.

    Raises:
        ShapeError: shapes differ, or the mask is of other tokens.
        ValueError: temperature is out of bounds.

    Reference:
        Wang et al. 2020 (MiniLM), arXiv:2002.10957, self-attention distribution transfer. Departs: the paper has T = 1 and the
        last layer alone (`taps: last`).
    """
    if student_BALS.ndim != 4 or student_BALS.shape != teacher_BALS.shape:
        raise ShapeError(
            f"attention_kl: student and teacher must give attention [B, heads, L, L] of one shape; got "
            f"{list(student_BALS.shape)} and {list(teacher_BALS.shape)}. Heads are joined by `heads`."
        )
    positive_temperature("attention_kl", temperature)
    for size in student_BALS.shape[2:]:
        check_tokens("attention_kl", token_mask_BL, student_BALS.shape[0], size)
    scores = [p.clamp(min=PROBABILITY_FLOOR).log() / temperature for p in (student_BALS, teacher_BALS.detach())]
    return kl_of_scores(scores[0], scores[1], token_mask_BL) * temperature**2


@registry.register
class AttentionKlSpec(TokenFeatureSpec):
    """KL divergence between attention probabilities of token blocks; heads are averaged where counts differ, no training."""

    reference: ClassVar[str] = "Wang et al. 2020, arXiv:2002.10957"
    tap_sort: ClassVar[TapSort] = "attention"
    kind: Literal["attention-kl"] = "attention-kl"
    temperature: float = Field(default=1.0, gt=0)
    """T > 0, dimensionless; both models' probabilities are raised to 1 / T. The paper has 1."""
    heads: Literal["group", "average"] | tuple[Annotated[tuple[int, ...], Field(min_length=1)], ...] = "group"
    """How heads are joined where counts differ: group (the model with more of them, a multiple, averages neighbours),
    average (each model's mean over heads), or a list with the teacher's heads, from 0, for each head of the student; their
    mean is what it is matched to."""

    def joint(self, student: Shape, teacher: Shape, where: str) -> Joint:
        from torch import nn

        from potstill.taps.adapters import HeadMeans, Joint

        if not len(student) == len(teacher) == 3 or student[1:] != teacher[1:]:
            raise ShapeError(
                f"{where}: must be attention [heads, L, L] of the same tokens; got {list(student)} of the student and "
                f"{list(teacher)} of the teacher. Other tokens cannot be matched: use relations between rows, or models that "
                "cut their input alike."
            )
        groups = self._groups(student[0], teacher[0], where)
        sides = [HeadMeans(g, n) if g else nn.Identity() for g, n in zip(groups, (student[0], teacher[0]), strict=True)]
        names = [f"the {who}'s {n} heads as {len(g)} means"
                 for who, n, g in zip(("student", "teacher"), (student[0], teacher[0]), groups, strict=True) if g]  # fmt: skip
        return Joint(sides[0], sides[1], "; ".join(names))

    def _groups(self, ours: int, theirs: int, where: str) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Return the heads whose means are compared, of student and teacher; () for all as they are."""
        if self.heads == "average":
            return (tuple(range(ours)),), (tuple(range(theirs)),)
        if self.heads == "group":
            few, many = sorted((ours, theirs))
            if many % few:
                raise ShapeError(
                    f"{where}: heads must be a multiple of the other model's to be grouped; got {ours} of the student and "
                    f"{theirs} of the teacher. Set heads: average, or a list with the teacher's heads for each of {ours}."
                )
            size = many // few
            even = tuple(tuple(range(i, i + size)) for i in range(0, many, size)) if size > 1 else ()
            return (even, ()) if ours > theirs else ((), even)
        wrong = sorted({head for group in self.heads for head in group if not 0 <= head < theirs})
        if len(self.heads) != ours or wrong:
            raise ShapeError(
                f"{where}: heads must list the teacher's, 0 to {theirs - 1}, for each of the student's {ours}; got "
                f"{len(self.heads)} groups" + (f" with {wrong}" if wrong else "") + "."
            )
        return (), self.heads

    def pair_loss(self, student: Tensor, teacher: Tensor, token_mask_BL: Tensor | None = None) -> Tensor:
        return attention_kl(student, teacher, self.temperature, token_mask_BL)
