"""How a recipe says which places of student and teacher are compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from potstill.core.spec import Spec


def _name(value: Any) -> Any:
    """A module of an nn.Sequential is named by a number, which YAML reads as one."""
    return str(value) if type(value) is int else value


PlaceName = Annotated[str, BeforeValidator(_name), Field(min_length=1)]


class TapPair(Spec):
    """A place in the student and the place in the teacher that it is compared with."""

    student: PlaceName = Field(examples=["2"])
    """Module path in the student, as `potstill taps` lists them; `*` and `?` match within one part of a path."""
    teacher: PlaceName = Field(examples=["layer1"])
    """Likewise in the teacher. Where both are patterns, what they match is paired in the order in which it runs."""


Taps = Literal["auto", "last"] | Annotated[tuple[TapPair, ...], Field(min_length=1)]
"""auto: the ends of stages, paired; last: the last of these alone; or pairs by name."""

TapSort = Literal["stages", "attention", "qkv"]
"""The places that `auto` and `last` mean: the ends of stages; the attention probabilities [heads, L, L] of token blocks; or
their queries, keys and values."""

Joins = Literal["all", "space", "nothing"]
"""What an objective needs to be alike in a pair: everything; all but channels; nothing."""
