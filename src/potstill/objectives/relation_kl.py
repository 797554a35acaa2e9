"""MiniLMv2: relations among queries, keys and values. Shapes: B rows, L tokens, D width, R relation heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import ShapeError
from potstill.objectives._base import registry
from potstill.objectives._sequences import TokenFeatureSpec, check_tokens, kl_of_scores
from potstill.taps import Shape, Taps, TapSort

if TYPE_CHECKING:
    from torch import Tensor

    from potstill.taps.adapters import Joint


def relation_kl(
    student_BLD: Tensor, teacher_BLD: Tensor, relation_heads: int, token_mask_BL: Tensor | None = None
) -> Tensor:
    """KL divergence between relations of tokens, one value per example.

    The D channels are cut into R heads; in each, a token's relation to the others is the softmax of its scaled products with
    them, whatever the width.

    Args:
        student_BLD: [B, L, D] float, the queries of all attention heads side by side; or the keys, or the values.
        teacher_BLD: [B, L, D'] of the same sort and tokens; receives no gradient.
        relation_heads: R >= 1, divides D and D'.
        token_mask_BL: [B, L] bool, False for padding, which has no relations; None for none.

    Returns:
        [B], nats, >= 0 but for rounding: the mean over relation heads and real tokens; 0 for a row without any.

    Raises:
        ShapeError: rows or tokens differ, R does not divide a width, or the mask is of other tokens.

    Reference:
        Wang et al. 2021 (MiniLMv2), arXiv:2012.15828, one of the three terms of its loss; the objective adds them up with
        weight 1. Departs: no.
    """
    if not student_BLD.ndim == teacher_BLD.ndim == 3 or student_BLD.shape[:2] != teacher_BLD.shape[:2]:
        raise ShapeError(
            f"relation_kl: student and teacher must give vectors [B, L, D] of the same tokens; got {list(student_BLD.shape)} "
            f"and {list(teacher_BLD.shape)}. Only the widths may differ."
        )
    _check_heads("relation_kl", relation_heads, student_BLD.shape[2], teacher_BLD.shape[2])
    check_tokens("relation_kl", token_mask_BL, student_BLD.shape[0], student_BLD.shape[1])
    ours, theirs = (_scores(v, relation_heads) for v in (student_BLD, teacher_BLD.detach()))
    return kl_of_scores(ours, theirs, token_mask_BL)


def _scores(vectors_BLD: Tensor, heads: int) -> Tensor:
    """Return [B, R, L, L], products of tokens in each head over the root of its width."""
    width = vectors_BLD.shape[2] // heads
    split = vectors_BLD.reshape(*vectors_BLD.shape[:2], heads, width).transpose(1, 2)
    scores: Tensor = split @ split.transpose(2, 3) * width**-0.5
    return scores


def _check_heads(where: str, heads: int, ours: int, theirs: int) -> None:
    if heads < 1 or ours % heads or theirs % heads:
        raise ShapeError(
            f"{where}: relation_heads must divide both widths; got relation_heads={heads}, {ours} channels of the student and "
            f"{theirs} of the teacher. Set another number."
        )


@registry.register
class RelationKlSpec(TokenFeatureSpec):
    """KL divergence between relations of queries, of keys and of values; no adapter, whatever the widths and heads."""

    reference: ClassVar[str] = "Wang et al. 2021, arXiv:2012.15828"
    tap_sort: ClassVar[TapSort] = "qkv"
    kind: Literal["relation-kl"] = "relation-kl"
    relation_heads: int = Field(default=4, ge=1)
    """Heads that the channels are cut into, in both models; must divide both widths. The paper's are 16 channels of the
    teacher wide, 48 of them for BERT base."""
    taps: Taps = Field(default="last")
    """Where it compares: last (queries, keys and values of each model's last block, as the paper does with base teachers),
    auto (of all blocks, paired evenly), or a list of pairs {student: ..., teacher: ...} of names or patterns, one for each
    of queries, keys and values; see `potstill taps`."""

    def joint(self, student: Shape, teacher: Shape, where: str) -> Joint:
        from torch import nn

        from potstill.taps.adapters import HeadsTogether, Joint

        lengths, widths, sides = [], [], []
        for shape in (student, teacher):
            if len(shape) not in (2, 3):
                raise ShapeError(f"{where}: must be vectors [L, D] or [heads, L, D]; got {list(shape)}.")
            lengths.append(shape[-2])
            widths.append(shape[-1] * (shape[0] if len(shape) == 3 else 1))
            sides.append(HeadsTogether() if len(shape) == 3 else nn.Identity())
        if lengths[0] != lengths[1]:
            raise ShapeError(
                f"{where}: must be of the same tokens; got {list(student)} of the student and {list(teacher)} of the teacher. "
                "Other tokens have other relations: use models that cut their input alike."
            )
        _check_heads(where, self.relation_heads, widths[0], widths[1])
        return Joint(sides[0], sides[1], "")

    def pair_loss(self, student: Tensor, teacher: Tensor, token_mask_BL: Tensor | None = None) -> Tensor:
        return relation_kl(student, teacher, self.relation_heads, token_mask_BL)
