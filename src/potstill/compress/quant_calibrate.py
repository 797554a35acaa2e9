"""Ranges of values from rows: least and largest, a percentile, or the least squared error. Loads torch. Shapes: N bins."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from potstill.compress.quant_specs import CalibrationSpec
from potstill.core.errors import DataError
from potstill.quant import rounding
from potstill.quant.fake import Fake

BINS = 2048
"""Of the histogram between the least and the largest value."""


@torch.no_grad()
def calibrate(fake: Fake, batches: Callable[[], Iterable[Tensor]], spec: CalibrationSpec) -> None:
    """Set every range of a model.

    Args:
        fake: its float values are looked at; in eval mode after.
        batches: () -> batches as the model reads them, the same each time.
        spec: how.

    Raises:
        DataError: there is no batch, or a value is not finite.
    """
    spans = _spans(fake, batches)
    if spec.method != "min-max":
        counts = _histograms(fake, batches, spans)
        for site, (low, high) in spans.items():
            if spec.method == "percentile":
                spans[site] = by_percentile(counts[site], low, high, spec.percentile)
            else:
                spans[site] = by_error(counts[site], low, high)
    for site, (low, high) in spans.items():
        fake.range_of(site).set(low, high)


def _watch(fake: Fake, batches: Callable[[], Iterable[Tensor]], listen: Callable[[str, Tensor], None]) -> int:
    fake.eval()
    fake.listener, num = listen, 0
    try:
        for batch in batches():
            fake(batch)
            num += 1
    finally:
        fake.listener = None
    return num


def _spans(fake: Fake, batches: Callable[[], Iterable[Tensor]]) -> dict[str, tuple[float, float]]:
    spans: dict[str, tuple[float, float]] = {}

    def listen(site: str, x: Tensor) -> None:
        low, high = (float(v) for v in torch.aminmax(x))
        if not (low > -float("inf") and high < float("inf")):
            raise DataError(
                f"calibration: values must be finite; got {low} to {high} at {site!r}. Check the student's weights."
            )
        before = spans.get(site, (low, high))
        spans[site] = (min(low, before[0]), max(high, before[1]))

    if not _watch(fake, batches, listen):
        raise DataError("calibration: must have at least one batch; got none.")
    return spans


def _histograms(
    fake: Fake, batches: Callable[[], Iterable[Tensor]], spans: dict[str, tuple[float, float]]
) -> dict[str, Tensor]:
    counts = {site: torch.zeros(BINS, dtype=torch.float64) for site in spans}

    def listen(site: str, x: Tensor) -> None:
        low, high = spans[site]
        if high > low:
            counts[site] += torch.histc(x.flatten(), BINS, low, high).double()

    _watch(fake, batches, listen)
    return counts


def by_percentile(counts_N: Tensor, low: float, high: float, percentile: float) -> tuple[float, float]:
    """Return the range that leaves out half of 100 - percentile percent of the values at either end.

    Args:
        counts_N: values in each of N equal bins from low to high.
        low: least value.
        high: largest.
        percentile: in (50, 100].
    """
    share = counts_N.cumsum(0) / counts_N.sum().clamp(min=1)
    out = (100 - percentile) / 200
    if out == 0 or high <= low or not bool(counts_N.any()):
        return low, high
    width = (high - low) / len(counts_N)
    ends = []
    for wanted in (out, 1 - out):
        bin_ = int(torch.searchsorted(share, torch.tensor(wanted, dtype=torch.float64)))
        before = float(share[bin_ - 1]) if bin_ else 0.0
        ends.append(low + width * (bin_ + (wanted - before) / max(float(share[bin_]) - before, 1e-12)))
    return max(low, ends[0]), min(high, ends[1])


def by_error(counts_N: Tensor, low: float, high: float) -> tuple[float, float]:
    """Return the range, among 1 to 100 % of the full one, whose codes stand for the values with the least mean squared error."""
    if high <= low or not bool(counts_N.any()):
        return low, high
    centres = low + (torch.arange(len(counts_N), dtype=torch.float64) + 0.5) * ((high - low) / len(counts_N))
    best, found = float("inf"), (low, high)
    for percent in range(100, 0, -1):
        near = (low * percent / 100, high * percent / 100)
        scale, zero = rounding.range_params(torch.tensor(near[0]), torch.tensor(near[1]))
        codes = (torch.round(centres / scale) + zero).clamp(rounding.LOW, rounding.HIGH)
        error = float((((codes - zero) * scale - centres).square() * counts_N).sum())
        if error < best:
            best, found = error, near
    return found
