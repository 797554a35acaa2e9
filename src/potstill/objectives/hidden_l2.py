"""TinyBERT's loss on hidden states. Shapes: B rows, L tokens, D width."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from potstill.core.errors import ShapeError
from potstill.objectives._base import registry
from potstill.objectives._sequences import TokenFeatureSpec, check_tokens, mean_over_tokens
from potstill.taps import Shape

if TYPE_CHECKING:
    from torch import Tensor

    from potstill.taps.adapters import Joint


def hidden_l2(student_BLD: Tensor, teacher_BLD: Tensor, token_mask_BL: Tensor | None = None) -> Tensor:
    """Squared distance between hidden states, one value per example.

    Args:
        student_BLD: [B, L, D] float, through the adapter.
        teacher_BLD: the same shape; receives no gradient.
        token_mask_BL: [B, L] bool, False for padding; None for none.

    Returns:
        [B], >= 0, in squared units of the hidden states: the mean over channels and real tokens; 0 for a row without any.

    Raises:
        ShapeError: shapes differ, or the mask is of other tokens.

    Reference:
        Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, eq. 8. Departs: padding is left out; the embeddings' own term (eq. 9)
        is not part of it.
    """
    if student_BLD.ndim != 3 or student_BLD.shape != teacher_BLD.shape:
        raise ShapeError(
            f"hidden_l2: student and teacher must give hidden states [B, L, D] of one shape; got {list(student_BLD.shape)} "
            f"and {list(teacher_BLD.shape)}. An adapter joins widths: see potstill taps RECIPE."
        )
    check_tokens("hidden_l2", token_mask_BL, student_BLD.shape[0], student_BLD.shape[1])
    return mean_over_tokens((student_BLD - teacher_BLD.detach()).square().mean(dim=2), token_mask_BL)


@registry.register
class HiddenL2Spec(TokenFeatureSpec):
    """Squared distance between hidden states, the student's through a trained linear map, also where widths agree."""

    reference: ClassVar[str] = "Jiao et al. 2020, arXiv:1909.10351"
    kind: Literal["hidden-l2"] = "hidden-l2"

    def joint(self, student: Shape, teacher: Shape, where: str) -> Joint:
        from torch import nn

        from potstill.taps.adapters import Joint

        if not len(student) == len(teacher) == 2 or student[0] != teacher[0]:
            raise ShapeError(
                f"{where}: must be hidden states [L, D] of the same tokens; got {list(student)} of the student and "
                f"{list(teacher)} of the teacher. Use feature-l2, which resizes."
            )
        # Without bias, as eq. 8 has it; the authors' code has one.
        return Joint(
            nn.Linear(student[1], teacher[1], bias=False),
            nn.Identity(),
            f"linear map of {student[1]} to {teacher[1]} channels",
        )

    def pair_loss(self, student: Tensor, teacher: Tensor, token_mask_BL: Tensor | None = None) -> Tensor:
        return hidden_l2(student, teacher, token_mask_BL)
