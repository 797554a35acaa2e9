"""Adapters build themselves from two shapes. Loads torch. Shapes: B rows, C channels, H, W pixels, L tokens, D width,
S tokens that are looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from potstill.core.errors import ShapeError
from potstill.taps.places import Shape
from potstill.taps.spec import Joins

_KINDS = {1: "a vector", 2: "tokens", 3: "a picture"}


@dataclass(frozen=True)
class Joint:
    """What brings the outputs of a pair to one shape. Only the student's side may hold parameters."""

    student: nn.Module
    teacher: nn.Module
    says: str
    """What was built, for reports; empty where nothing was."""


class Average(nn.Module):
    """Mean over positions."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] or [B, L, D] -> [B, C] or [B, D]."""
        return x.mean(dim=(2, 3)) if x.ndim == 4 else x.mean(dim=1)


class AsPicture(nn.Module):
    """Tokens back in their square; a class token, which stands before them, is dropped.

    Args:
        side: height and width in tokens; L is its square, or that and one.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x_BLD: Tensor) -> Tensor:
        """[B, L, D] -> [B, D, side, side]."""
        grid = x_BLD[:, -self.side * self.side :].transpose(1, 2)
        return grid.reshape(grid.shape[0], grid.shape[1], self.side, self.side)


class Resize(nn.Module):
    """Average pooling along each dimension that shrinks, linear interpolation along each that grows, as fixed matrices:
    PyTorch's own pooling to a size has no deterministic backward pass on a GPU.

    Args:
        before: sizes of the last dimensions.
        after: as many.
    """

    def __init__(self, before: Shape, after: Shape) -> None:
        super().__init__()
        for i, (a, b) in enumerate(zip(before, after, strict=True)):
            rows = torch.eye(a)[None]
            moved = F.adaptive_avg_pool1d(rows, b) if b <= a else F.interpolate(rows, b, mode="linear")
            self.register_buffer(f"along{i}", moved[0], persistent=False)
        self.num = len(before)

    def forward(self, x: Tensor) -> Tensor:
        """[..., before] -> [..., after]."""
        for i in range(self.num):
            dim = x.ndim - self.num + i
            x = (x.movedim(dim, -1) @ getattr(self, f"along{i}")).movedim(-1, dim)
        return x


class TokensResize(nn.Module):
    """`Resize` along the tokens."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.resize = Resize((before,), (after,))

    def forward(self, x_BLD: Tensor) -> Tensor:
        """[B, L, D] -> [B, L', D]."""
        out: Tensor = self.resize(x_BLD.transpose(1, 2)).transpose(1, 2)
        return out


class HeadMeans(nn.Module):
    """Means of attention heads, by a fixed matrix.

    Args:
        groups: the heads, from 0, of each mean.
        heads: how many there are.
    """

    def __init__(self, groups: Sequence[Sequence[int]], heads: int) -> None:
        super().__init__()
        shares = torch.zeros(len(groups), heads)
        for row, group in zip(shares, groups, strict=True):
            for head in group:
                row[head] += 1 / len(group)
        self.register_buffer("shares", shares, persistent=False)
        self.shares: Tensor

    def forward(self, x_BALS: Tensor) -> Tensor:
        """[B, heads, L, S] -> [B, means, L, S]."""
        return torch.einsum("ga,bals->bgls", self.shares.to(x_BALS), x_BALS)


class HeadsTogether(nn.Module):
    """The channels of all heads side by side."""

    def forward(self, x_BALD: Tensor) -> Tensor:
        """[B, heads, L, D] -> [B, L, heads * D]."""
        return x_BALD.transpose(1, 2).flatten(2)


def join(student: Shape, teacher: Shape, joins: Joins, where: str) -> Joint:
    """Return what joins two outputs; draws initial weights from torch's global generator, so the caller seeds it.

    Kinds first, without parameters: beside a vector, the other is averaged over its positions; beside a picture, and
    between tokens of two lengths where both are squares (or squares and a class token, which is dropped), tokens
    become pictures. Then the student's side: positions by average pooling or interpolation; with `joins` "all", channels
    by a 1×1 convolution (pictures) or a linear map.

    Args:
        student: of one row.
        teacher: of one row.
        joins: what must be alike afterwards.
        where: names the objective and the pair in errors.

    Raises:
        ShapeError: nothing joins them; says both shapes and what could.
    """
    if joins == "nothing" or (student == teacher and joins == "all"):
        return Joint(nn.Identity(), nn.Identity(), "")
    if not {len(student), len(teacher)} <= set(_KINDS):
        raise _impossible(student, teacher, where, "only vectors [D], tokens [L, D] and pictures [C, H, W] are joined")
    if joins == "space" and 1 in (len(student), len(teacher)):
        raise _impossible(student, teacher, where, "a vector has no positions to compare: tap tokens or a picture")
    parts: list[list[nn.Module]] = [[], []]
    says: list[str] = []
    shapes = [student, teacher]
    kinds = {len(student), len(teacher)}
    squares = kinds == {2} and student[0] != teacher[0] and _side(student) and _side(teacher)
    for i, (who, shape) in enumerate((("student", student), ("teacher", teacher))):
        if 1 in kinds and len(shape) > 1:
            parts[i].append(Average())
            shapes[i] = shape[:1] if len(shape) == 3 else shape[1:]
            says.append(f"the {who}'s mean over positions")
        elif len(shape) == 2 and (3 in kinds or squares):
            side = _side(shape)
            if not side:
                raise _impossible(student, teacher, where, f"{shape[0]} tokens are no square, nor one and a class token: "
                                  "tap tokens in both models, or a vector")  # fmt: skip
            parts[i].append(AsPicture(side))
            shapes[i] = (shape[1], side, side)
            says.append(f"the {who}'s tokens as {side}×{side}" + ", class token dropped" * (shape[0] > side * side))
    built, said = _same_kind(shapes[0], shapes[1], joins)
    student_side, teacher_side = (_one(p) for p in ([*parts[0], *built], parts[1]))
    return Joint(student_side, teacher_side, "; ".join(says + said))


def _same_kind(a: Shape, b: Shape, joins: Joins) -> tuple[list[nn.Module], list[str]]:
    """Return the modules, and their names, that bring shape `a` to `b` of the same kind."""
    built: list[nn.Module] = []
    says: list[str] = []
    if len(a) == 3 and a[1:] != b[1:]:
        built.append(Resize(a[1:], b[1:]))
        says.append(f"{a[1]}×{a[2]} to {b[1]}×{b[2]} pixels")
    if len(a) == 2 and a[0] != b[0]:
        built.append(TokensResize(a[0], b[0]))
        says.append(f"{a[0]} to {b[0]} tokens")
    wide = (a[0], b[0]) if len(a) == 3 else (a[-1], b[-1])
    if joins == "all" and wide[0] != wide[1]:
        change: nn.Module = nn.Conv2d(*wide, 1) if len(a) == 3 else nn.Linear(*wide)
        grows = math.prod(a) < math.prod((wide[0], *b[1:]) if len(a) == 3 else (*b[:-1], wide[0]))
        built = (
            [change, *built] if grows else [*built, change]
        )  # the change of channels where there are fewer positions
        says.append(f"{'1×1 convolution' if len(a) == 3 else 'linear map'} of {wide[0]} to {wide[1]} channels")
    return built, says


def _side(shape: Shape) -> int:
    """Return the side of the square that L tokens, or L - 1 after a class token, fill; 0 for none."""
    if len(shape) != 2:
        return 0
    for num in (shape[0], shape[0] - 1):
        if num > 0 and math.isqrt(num) ** 2 == num:
            return math.isqrt(num)
    return 0


def _one(parts: list[nn.Module]) -> nn.Module:
    return nn.Identity() if not parts else parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _impossible(student: Shape, teacher: Shape, where: str, why: str) -> ShapeError:
    a, b = (f"{list(shape)} ({_KINDS.get(len(shape), f'{len(shape)} dimensions')})" for shape in (student, teacher))
    return ShapeError(f"{where}: must be outputs that can be joined; got {a} of the student and {b} of the teacher, a row "
                      f"each. {why[0].upper()}{why[1:]}. See potstill taps RECIPE.")  # fmt: skip
