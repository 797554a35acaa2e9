"""Which places of student and teacher are compared: the ends of their stages, or what the user names. Loads no torch.

Shapes: C channels, H, W pixels, L tokens, D token width; no batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from potstill.core.errors import RecipeError, nearest
from potstill.taps.places import Place
from potstill.taps.spec import TapPair, Taps, TapSort

_WILD = ("*", "?", "[")

QKV = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"), ("q", "k", "v"))
"""Names of the modules whose outputs are queries, keys and values: ours and BERT's, LLaMA's, DistilBERT's, T5's."""


P = TypeVar("P")


@dataclass(frozen=True)
class Pair:
    """Two places that are compared."""

    student: Place
    teacher: Place

    @property
    def name(self) -> str:
        """Of the pair, in logs and dicts."""
        return f"{self.student.name}:{self.teacher.name}"


def stage_ends(places: Sequence[Place]) -> list[Place]:
    """Return the ends of a model's stages, first to last: what `auto` pairs. A rule of thumb that looks at shapes only.

    Of a model with token blocks [L, D] (modules in a list that hold others), each outermost block. Else, for each size
    H×W above 1×1, the last output [C, H, W] of that size that is not inside the block which leaves the size, since a
    block's inner outputs (MobileNetV2's wide ones, say) are not what it passes on.
    """
    usable = [p for p in places if not (p.overwritten or p.attention or p.index)]
    return _token_blocks(usable) or list(_ends_of_sizes(usable, "").values())


def _token_blocks(usable: Sequence[Place]) -> list[Place]:
    blocks = [p for p in usable if len(p.shape) == 2 and p.block and p.listed and not p.index]
    return [p for p in blocks if not any(p.name.startswith(f"{other.name}.") for other in blocks)]


def attention_groups(places: Sequence[Place], sort: TapSort) -> list[tuple[Place, ...]]:
    """Return what `auto` pairs inside attention, first block to last: (probabilities,), or (queries, keys, values).

    Of each outermost token block the first, since dropout and modules around give the same map again, and a decoder's
    second attention looks elsewhere; of a model without token blocks all.

    Args:
        places: of one model.
        sort: "attention", or "qkv": modules beside one another that are called as in `QKV`.
    """
    usable = [p for p in places if not p.overwritten]
    if sort == "attention":
        found: list[tuple[Place, ...]] = [(p,) for p in usable if p.attention]
    else:
        named = {p.name: p for p in usable}
        found = [
            tuple(named[f"{head}{dot}{part}"] for part in three)
            for head, dot, last in (p.name.rpartition(".") for p in usable)
            for three in QKV
            if last == three[0] and all(f"{head}{dot}{part}" in named for part in three)
        ]
    blocks = _token_blocks(usable)
    first = [next((g for g in found if g[0].name.startswith(f"{block.name}.")), None) for block in blocks]
    return [g for g in first if g is not None] or found


def _ends_of_sizes(places: Sequence[Place], parent: str) -> dict[tuple[int, ...], Place]:
    """Return (H, W) -> end below a module, by the order in which its parts finish."""
    ends: dict[tuple[int, ...], Place] = {}
    for top, below in _children(places, parent):
        here = {p.name: p for p in below}.get(top)
        size = here.shape[1:] if here is not None and len(here.shape) == 3 else None
        inside = _ends_of_sizes([p for p in below if p.name != top], top)
        for other, place in inside.items():
            if other != size and (other not in ends or (place.block and place.listed)):
                ends[other] = place
        if here is not None and size is not None and size != (1, 1):
            ends[size] = here
    return ends


def _children(places: Sequence[Place], parent: str) -> Iterator[tuple[str, list[Place]]]:
    """Yield (path of a direct child, the places at and below it), in the order in which the child finishes."""
    start = len(parent) + 1 if parent else 0
    groups: dict[str, list[Place]] = {}
    for place in places:
        child = place.name[:start] + place.name[start:].split(".")[0]
        groups.setdefault(child, []).append(place)
    order = {p.name: i for i, p in enumerate(places)}
    yield from sorted(groups.items(), key=lambda item: max(order[p.name] for p in item[1]))


def auto_pairs(student: Sequence[Place], teacher: Sequence[Place]) -> list[Pair]:
    """Return the paired ends of stages, first to last; empty where a model has none.

    Sizes that both have are paired with one another. Where none agrees, it goes by order, last with last, then
    backwards. Where one has token blocks, the longer list is thinned evenly, its last kept (the uniform map of Jiao et
    al. 2020, arXiv:1909.10351): by order alone, a short student would meet the teacher's end only.
    """
    ours, theirs = stage_ends(student), stage_ends(teacher)
    pictures = all(len(p.shape) == 3 for p in [*ours, *theirs])
    if pictures:
        sizes = {p.shape[1:]: p for p in theirs}
        same = [Pair(p, sizes[p.shape[1:]]) for p in ours if p.shape[1:] in sizes]
        if same:
            return same
    count = min(len(ours), len(theirs))
    if not pictures:
        ours, theirs = _spread(ours, count), _spread(theirs, count)
    return [Pair(a, b) for a, b in zip(ours[len(ours) - count :], theirs[len(theirs) - count :], strict=True)]


def _spread(ends: Sequence[P], count: int) -> list[P]:
    """Return `count` of them, evenly, the last among them."""
    return [ends[-(-len(ends) * (i + 1) // count) - 1] for i in range(count)]


def resolve(
    taps: Taps, student: Sequence[Place], teacher: Sequence[Place], where: str, sort: TapSort = "stages"
) -> list[Pair]:
    """Return the pairs that a recipe's `taps` mean.

    Args:
        taps: as in the recipe.
        student: its places.
        teacher: its places.
        where: names the objective in errors.
        sort: what `auto` and `last` mean.

    Raises:
        RecipeError: a name or pattern matches nothing, patterns match unequally many, or no stage has an end.
    """
    if isinstance(taps, str) and sort != "stages":
        return _inside(taps, sort, student, teacher, where)
    if isinstance(taps, str):
        ends = stage_ends(student), stage_ends(teacher)
        if not all(ends):
            raise RecipeError([
                f"{where}.taps: {taps!r} needs outputs [channels, height, width] or token blocks in both models; the "
                f"{'teacher' if ends[0] else 'student'} has none. Name the pairs: taps: [{{student: PLACE, teacher: PLACE}}]; "
                "see potstill taps RECIPE"
            ])  # fmt: skip
        return auto_pairs(student, teacher) if taps == "auto" else [Pair(ends[0][-1], ends[1][-1])]
    return [pair for i, given in enumerate(taps) for pair in _named(given, student, teacher, f"{where}.taps[{i}]")]


def _inside(taps: str, sort: TapSort, student: Sequence[Place], teacher: Sequence[Place], where: str) -> list[Pair]:
    """Pair what is inside attention: the longer list thinned evenly, its last kept, or the last blocks alone."""
    ours, theirs = attention_groups(student, sort), attention_groups(teacher, sort)
    if not (ours and theirs):
        what = "attention probabilities [heads, L, L]" if sort == "attention" else "modules named query, key and value"
        raise RecipeError([
            f"{where}.taps: {taps!r} needs {what} in both models; the {'teacher' if ours else 'student'} has none (fused "
            "kernels show none). Name the pairs: taps: [{student: PLACE, teacher: PLACE}]; see potstill taps RECIPE"
        ])  # fmt: skip
    count = min(len(ours), len(theirs)) if taps == "auto" else 1
    groups = zip(_spread(ours, count), _spread(theirs, count), strict=True)
    return [Pair(a, b) for group in groups for a, b in zip(*group, strict=True)]


def _named(given: TapPair, student: Sequence[Place], teacher: Sequence[Place], where: str) -> list[Pair]:
    ours = _matching(given.student, student, f"{where}.student", "student")
    theirs = _matching(given.teacher, teacher, f"{where}.teacher", "teacher")
    if len(ours) != len(theirs):
        raise RecipeError([
            f"{where}: patterns must match as many places in both models; got {[p.name for p in ours]} and "
            f"{[p.name for p in theirs]}. Which belong together is not said. Narrow them, or name each pair"
        ])  # fmt: skip
    return [Pair(a, b) for a, b in zip(ours, theirs, strict=True)]


def _matching(pattern: str, places: Sequence[Place], where: str, model: str) -> list[Place]:
    found = [p for p in places if _matches(pattern, p.name)]
    listing = "List them: potstill taps RECIPE"
    if not found:
        wanted = "match a module" if any(c in pattern for c in _WILD) else "name a module"
        raise RecipeError([
            f"{where}: must {wanted} of the {model} that gives a tensor; got {pattern!r}. "
            f"{nearest(pattern, [p.name for p in places])}{listing}"
        ])  # fmt: skip
    spoiled = [p.name for p in found if p.overwritten]
    if spoiled:
        raise RecipeError([
            f"{where}: must keep its output; got {spoiled[0]!r}, over which a later module of the {model} writes in place. "
            f"What is captured would not be what it gave. Tap that module, or set inplace=False. {listing}"
        ])  # fmt: skip
    return found


def _matches(pattern: str, name: str) -> bool:
    """Part by part: a star does not reach over a dot, so that `blocks.*` means the blocks and nothing inside them; nor does it
    mean a module's further tensors, which `#1` asks for."""
    pattern, _, index = pattern.partition("#")
    name, _, found = name.partition("#")
    asked, parts = pattern.split("."), name.split(".")
    if index != found:
        return False
    return len(asked) == len(parts) and all(fnmatchcase(p, a) for p, a in zip(parts, asked, strict=True))
