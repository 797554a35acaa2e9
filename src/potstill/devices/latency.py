"""Latency of a model on a device, from a form fitted to rows, published or measured on it; "unknown" with a reason where these do not
carry it.

Fitted by non-negative least squares of relative errors. Every error is of models that were held out: a model with all its rows. An
interval is the value times and over the factor within which nine of ten held-out models lay (the largest of fewer than ten).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.units import human_count
from potstill.devices.forms import FORMS, MOST_ERROR, REACH, UNSEEN_SHARE, Form
from potstill.devices.rows import FILE, MEASURED, Row, groups

if TYPE_CHECKING:
    from potstill.devices.cost import Cost
    from potstill.devices.profile import LatencyOf

Word = Literal["modelled", "unknown"]
_QUANTILE = 0.9


@dataclass(frozen=True)
class Fitted:
    """A form fitted to rows, with the errors of models held out."""

    form: Form
    coefficients: tuple[float, ...]
    rows: tuple[Row, ...]
    errors: tuple[tuple[str, float], ...]
    """(model, predicted over published) of every row, its model held out."""

    @property
    def models(self) -> tuple[str, ...]:
        """The distinct models of the rows."""
        return tuple(dict.fromkeys(row.model for row in self.rows))

    @functools.cached_property
    def relative(self) -> tuple[float, ...]:
        """|predicted / published - 1| of every row, its model held out."""
        return tuple(abs(ratio - 1) for _, ratio in self.errors)

    @property
    def mean(self) -> float:
        """Mean of `relative`."""
        return float(np.mean(self.relative))

    @property
    def p90(self) -> float:
        """90th percentile of `relative`, linear between rows."""
        return float(np.quantile(self.relative, _QUANTILE))

    @property
    def factor(self) -> float:
        """At least 1: nine of ten held-out predictions were within this factor; of fewer than ten, all. Infinite where one was 0."""
        logs = [abs(math.log(ratio)) if ratio > 0 else math.inf for _, ratio in self.errors]
        return math.exp(float(np.quantile(logs, _QUANTILE, method="higher")))

    @property
    def origin(self) -> str:
        """`measured` where the rows are one's own, else `published`."""
        return "measured" if all(row.source.startswith(MEASURED) for row in self.rows) else "published"

    @property
    def basis(self) -> str:
        """What it rests on, such as "50 rows of 25 models", or "16 measured rows of 16 models"."""
        rows = "measured rows" if self.origin == "measured" else "rows"
        return f"{len(self.rows)} {rows} of {len(self.models)} models"

    def value(self, counts: Mapping[str, float | None]) -> float | None:
        """Return milliseconds, None where a count is not known."""
        values = self.form.values(counts)
        return None if values is None else float(np.dot(values, self.coefficients))


def fit(rows: Sequence[Row], form: Form) -> Fitted:
    """Fit a form to rows, and to the rows without each of their models.

    Args:
        rows: of one group, none of them to be skipped; of two models at least.
        form: whose counts every row has.
    """
    values = np.array([_known(row, form) for row in rows])
    times = np.array([row.latency_ms for row in rows])
    errors: list[tuple[str, float]] = []
    for model in dict.fromkeys(row.model for row in rows):
        held = np.array([row.model == model for row in rows])
        made = _solve(values[~held], times[~held])
        errors += [(model, float(ratio)) for ratio in values[held] @ made / times[held]]
    return Fitted(form, tuple(map(float, _solve(values, times))), tuple(rows), tuple(errors))


def _known(row: Row, form: Form) -> list[float]:
    values = form.values(row.counts)
    assert values is not None, f"{row.id} has not what {form.name} counts"
    return values


def _solve(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import nnls

    found: NDArray[np.float64] = nnls(values / times[:, None], np.ones(len(times)))[0]
    return found


@dataclass(frozen=True)
class Latency:
    """A latency, or why there is none."""

    word: Word
    reason: str = ""
    """Why it is unknown, or what it rests on beside a fit."""
    value_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    """The interval."""
    fitted: Fitted | None = field(default=None, repr=False)
    """What it rests on; there too where the model lies out of its reach."""
    at_most_ms: float | None = None
    """Of the unknown: what a published model took here that has at least as much of everything; that is more than this one should."""
    at_most_of: str = ""
    """That model."""


@functools.lru_cache(maxsize=512)
def fitted(entry: LatencyOf) -> Fitted | str:
    """Return the fit behind an entry of a profile, or why there is none: too few models, or errors that predict nothing."""
    form = FORMS[entry.form]
    there = groups(Path(entry.rows) if entry.rows else FILE).get(
        (entry.board, entry.runtime, entry.version, entry.dtype, entry.threads), ()
    )
    used = [row for row in there if not row.skip and form.values(row.counts) is not None]
    models = len({row.model for row in used})
    if models < form.least_models:
        skipped = "; ".join(sorted({row.skip for row in there if row.skip}))
        left = f" ({len(there) - len(used)} of {len(there)} rows are no calibration: {skipped})" if skipped else ""
        return f"{models} {'measured' if entry.rows else 'published'} model{'s' * (models != 1)}, {form.least_models} are needed{left}"
    made = fit(used, form)
    if made.mean > MOST_ERROR:
        return f"held-out models were off by {100 * made.mean:.0f} % in the mean, over {100 * MOST_ERROR:.0f} %"
    if not math.isfinite(made.factor):
        return "a held-out model was said to take no time"
    return made


def predict(entry: LatencyOf, cost: Cost) -> Latency:
    """Return the latency of a model, by an entry of a profile; dtype and runtime are the entry's."""
    found = fitted(entry)
    if isinstance(found, str):
        return Latency("unknown", found)
    counts = cost.counts()
    reason = _out_of_reach(found, cost)
    value = found.value(counts)
    if reason or value is None or value <= 0:
        bound = _dominating(found, cost)
        at_most, of = (bound.latency_ms, bound.model) if bound else (None, "")
        return Latency(
            "unknown", reason or "the form gives nothing for it", fitted=found, at_most_ms=at_most, at_most_of=of
        )
    return Latency("modelled", "", value, value / found.factor, value * found.factor, found)


def _out_of_reach(found: Fitted, cost: Cost) -> str:
    """Return why a model is too unlike those of the rows, empty if it is not."""
    if cost.macs == 0:
        return "it has no multiply-accumulates that are counted"
    unseen = sum(cost.macs_by_class.get(name, 0) for name in ("attention", "recurrent")) / cost.macs
    if unseen > UNSEEN_SHARE:
        return f"{100 * unseen:.0f} % of its MACs are of attention or recurrent cells, which no {found.origin} model here has"
    macs = [row.counts["macs"] or 0.0 for row in found.rows]
    if not min(macs) / REACH <= cost.macs <= max(macs) * REACH:
        return f"it has {human_count(cost.macs)} MACs, the {found.origin} models {human_count(min(macs))} to {human_count(max(macs))}"
    params = max((row.counts["params"] or 0.0) for row in found.rows)
    if params and cost.params > params * REACH:
        return f"it has {human_count(cost.params)} parameters, the {found.origin} models at most {human_count(params)}"
    return ""


def _dominating(found: Fitted, cost: Cost) -> Row | None:
    """Return the fastest row whose model has at least as much of every count, classes among them; None without one."""
    if cost.macs != sum(cost.macs_by_class.get(name, 0) for name in ("conv", "pw", "dw", "fc")):
        return None
    mine = cost.counts()

    needed = ("conv", "pw", "dw", "fc", "params", "layers", "activations")

    def has_all(row: Row) -> bool:
        pairs = [(row.counts[name], mine[name]) for name in needed]
        return all(there is not None and here is not None and there >= here for there, here in pairs)

    return min((row for row in found.rows if has_all(row)), key=lambda row: row.latency_ms, default=None)
