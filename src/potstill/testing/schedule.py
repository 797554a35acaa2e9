"""The contract of a schedule."""

from __future__ import annotations

import math

from potstill.schedules import ScheduleSpec, lowest, registry
from potstill.testing._claims import claims_of
from potstill.testing.spec import check_spec

_PLACES = 10_000


def check_schedule(spec: ScheduleSpec) -> None:
    """Check that a schedule is a pure function that starts and ends where its fields say.

    Fields named `start`, `end` and `value` are the first value, the last and the last; `values` has both.

    Args:
        spec: valid.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "schedule")
    claims = claims_of("schedule", spec)
    places = [i / _PLACES for i in range(_PLACES + 1)]
    values = [spec.at(p) for p in places]
    bad = next((v for v in values if type(v) is not float or not math.isfinite(v)), None)
    claims.that(bad is None, "must give a finite float everywhere in [0, 1]", value=bad)
    claims.that([spec.at(p) for p in reversed(places)] == values[::-1], "must be a pure function of progress")
    ends = {"start": (0, getattr(spec, "start", None)), "end": (-1, getattr(spec, "end", None))}
    ends["value"] = (-1, getattr(spec, "value", None))
    several = getattr(spec, "values", None)
    if several:
        ends |= {"values[0]": (0, several[0]), "values[-1]": (-1, several[-1])}
    for name, (at, stated) in ends.items():
        if stated is not None:
            claims.that(values[at] == stated, f"must be exactly `{name}` at its end of training", value=values[at])
    levels = spec.levels()
    if levels is not None:
        claims.that(set(values) <= set(levels), "must take no value that levels() leaves out", levels=levels)
        claims.that(set(levels) <= set(values), "must take every value of levels()", levels=levels, values=set(values))
    least = lowest(spec)
    claims.that(least >= min(values) - 1e-9 and least <= max(values), "must have its lowest value found", lowest=least)
