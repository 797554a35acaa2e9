"""Does a model fit a device: a line for each of latency, RAM, flash and energy, what binds, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import Field

from potstill.core.errors import DeviceError, nearest
from potstill.core.spec import Spec
from potstill.core.units import human_bytes
from potstill.devices import memory
from potstill.devices.cost import INT8, Cost
from potstill.devices.energy import energy
from potstill.devices.latency import Latency, fitted, predict
from potstill.devices.profile import DeviceProfile, Figure, LatencyOf

Verdict = Literal["fits", "does not fit", "unknown"]
_STEPS = 24


class Budget(Spec):
    """What a model may take on a device; what is left out is not judged, save that it must fit the device's own memory."""

    latency_ms: float | None = Field(default=None, gt=0)
    """Milliseconds of one sample."""
    peak_memory_bytes: float | None = Field(default=None, gt=0)
    """RAM that the model and its runtime take."""
    flash_bytes: float | None = Field(default=None, gt=0)
    """Weights and code on a microcontroller, weights elsewhere."""
    energy_mj: float | None = Field(default=None, gt=0)
    """Millijoules of one sample."""


def budget_of(limits: Mapping[str, float | None]) -> Budget:
    """Return a budget. Raises DeviceError where a name is not a field of Budget, or a number not above 0."""
    for name, value in limits.items():
        if name not in Budget.model_fields:
            raise DeviceError(
                f"budget.{name}: is not a limit. {nearest(name, Budget.model_fields)}Allowed: {', '.join(Budget.model_fields)}."
            )
        if value is not None and not 0 < value < float("inf"):
            raise DeviceError(f"budget.{name}: must be above 0 and finite; got {value}.")
    return Budget(**limits)


@dataclass(frozen=True)
class Line:
    """One line of a verdict."""

    name: str
    """latency_ms, peak_memory_bytes, flash_bytes or energy_mj: a field of Budget."""
    verdict: Verdict | None
    """None where there is no limit."""
    word: Literal["modelled", "unknown"]
    """Where the figure comes from."""
    value: float | None
    low: float | None
    high: float | None
    """The interval; high is missing where only a least is known."""
    limit: float | None
    reason: str
    """What the figure rests on, or why there is none."""

    @property
    def margin(self) -> float | None:
        """Share of the limit that is left at the interval's upper end; negative where it is over."""
        worst = self.high if self.high is not None else self.low
        return None if worst is None or self.limit is None else 1 - worst / self.limit


@dataclass(frozen=True)
class Judgement:
    """A model on a device, under one of its runtimes."""

    device: str
    entry: LatencyOf | None
    """None where no latency of the device was ever published, so that no runtime is named."""
    cost: Cost
    latency: Latency
    lines: tuple[Line, ...]
    remedies: tuple[str, ...] = ()
    """What would make it fit, where something does not."""

    @property
    def runtime(self) -> str:
        """Runtime with version, dtype and threads, as a verdict must name it."""
        if self.entry is None:
            return "no runtime"
        threads = {"": "", "0": ""}.get(
            self.entry.threads, f", {self.entry.threads} thread{'s' * (self.entry.threads != '1')}"
        )
        return f"{self.entry.title}, {self.entry.dtype}{threads}"

    @property
    def verdict(self) -> Verdict:
        """`does not fit` where any line does not, `fits` where every line with a limit does, else unknown."""
        judged = [line.verdict for line in self.lines if line.verdict is not None]
        if "does not fit" in judged:
            return "does not fit"
        return "fits" if judged and all(v == "fits" for v in judged) and self.entry is not None else "unknown"

    @property
    def binding(self) -> Line | None:
        """The line with the smallest margin, None where no margin is known."""
        known = [line for line in self.lines if line.margin is not None]
        return min(known, key=lambda line: line.margin or 0.0, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        fit = self.latency.fitted
        bind = self.binding
        return {
            "device": self.device, "verdict": self.verdict, "runtime": self.entry.model_dump() if self.entry else None,
            "model": self.cost.name, "as": self.cost.dtype, "lines": [{**asdict(line), "margin": line.margin} for line in self.lines],
            "binding": bind.name if bind else None, "remedies": list(self.remedies), "at_most_ms": self.latency.at_most_ms,
            "fit": None if fit is None else {
                "form": fit.form.name, "formula_ms": fit.form.text(fit.coefficients), "models": len(fit.models), "rows": len(fit.rows),
                "error_mean": fit.mean, "error_p90": fit.p90, "factor": fit.factor, "sources": sources(fit.rows),
            },
        }  # fmt: skip


def judge(cost: Cost, profile: DeviceProfile, budget: Budget, entry: LatencyOf | None) -> Judgement:
    """Return the verdict on a model under one runtime of a device.

    Args:
        cost: of the model, in the dtype that the runtime would run.
        profile: of the device.
        budget: limits beside the device's own RAM and flash.
        entry: the runtime, one of `profile.latency`; None where there is none.
    """
    latency = Latency("unknown", "no latency of it is published") if entry is None else predict(entry, cost)
    lines = (_latency(latency, budget.latency_ms), _ram(cost, profile, budget, entry), _flash(cost, profile, budget, entry),
             _energy(profile, entry, latency, budget.energy_mj))  # fmt: skip
    return Judgement(profile.name, entry, cost, latency, tuple(line for line in lines if line is not None))


def judge_all(cost: Cost, profile: DeviceProfile, budget: Budget) -> list[Judgement]:
    """Return the verdicts under every runtime of a device that computes in the model's dtype, the best first: those that fit, those whose
    latency is known, the others. Remedies are looked for where nothing fits."""
    entries = [e for e in profile.latency if (e.dtype == INT8) == (cost.dtype == INT8)]
    found = [judge(cost, profile, budget, entry) for entry in entries] or [_no_runtime(cost, profile, budget)]
    order = {"fits": 0, "unknown": 1, "does not fit": 2}

    def rank(j: Judgement) -> tuple[float, ...]:
        known, inf = j.latency, float("inf")
        place = 3 if known.word == "unknown" and j.verdict != "fits" else order[j.verdict]
        return (place, inf if known.value_ms is None else known.value_ms, known.at_most_ms or inf, -_rows(known))

    found.sort(key=rank)
    if found[0].verdict != "fits":
        found = [replace(j, remedies=tuple(_remedies(j, profile, budget))) if j is found[0] else j for j in found]
    return found


def _rows(found: Latency) -> int:
    return 0 if found.fitted is None else len(found.fitted.rows)


def device_verdict(judgements: list[Judgement]) -> Verdict:
    """Return the verdict over all runtimes of a device: `does not fit` where it fits under none of those whose latency is known. Runtimes
    of which too little is published decide nothing, unless there is no other."""
    if any(j.verdict == "fits" for j in judgements):
        return "fits"
    known = [j for j in judgements if j.latency.word == "modelled"] or judgements
    return "unknown" if any(j.verdict == "unknown" for j in known) else "does not fit"


def sources(rows: Any) -> list[str]:
    """Return where rows come from, without what comes after the repository's name."""
    return list(dict.fromkeys(row.source.split(":")[0] for row in rows))


def _no_runtime(cost: Cost, profile: DeviceProfile, budget: Budget) -> Judgement:
    made = judge(cost, profile, budget, None)
    there = sorted({e.dtype for e in profile.latency})
    why = (
        f"no latency in {cost.dtype} is published, only in {', '.join(there)}"
        if there
        else "no latency of it is published"
    )
    if profile.kind == "host":
        why = "not modelled on this machine; measure it: potstill verify"
    lines = tuple(replace(line, reason=why) if line.name == "latency_ms" else line for line in made.lines)
    return replace(made, lines=lines, latency=Latency("unknown", why))


def _said(low: float | None, high: float | None, limit: float | None) -> Verdict | None:
    if limit is None:
        return None
    if high is not None and high <= limit:
        return "fits"
    return "does not fit" if low is not None and low > limit else "unknown"


def _latency(found: Latency, limit: float | None) -> Line:
    if found.word == "unknown":
        bound = (
            f"; at most {found.at_most_ms:.3g} ms, as {found.at_most_of} has more of everything"
            if found.at_most_ms
            else ""
        )
        verdict = _said(None, found.at_most_ms, limit)
        return Line("latency_ms", verdict, "unknown", None, None, found.at_most_ms, limit, found.reason + bound)
    fit = found.fitted
    assert fit is not None
    text = f"{fit.form.name}, {len(fit.rows)} {fit.origin} rows of {len(fit.models)} models, held out off by {100 * fit.mean:.0f} %"
    return Line(
        "latency_ms",
        _said(found.low_ms, found.high_ms, limit),
        "modelled",
        found.value_ms,
        found.low_ms,
        found.high_ms,
        limit,
        text,
    )


def _energy(profile: DeviceProfile, entry: LatencyOf | None, latency: Latency, limit: float | None) -> Line:
    if entry is None:
        return Line(
            "energy_mj",
            None if limit is None else "unknown",
            "unknown",
            None,
            None,
            None,
            limit,
            "the latency is unknown",
        )
    found = energy(profile, entry, latency)
    if found.low_mj is None or found.high_mj is None:
        return Line("energy_mj", None if limit is None else "unknown", "unknown", None, None, None, limit, found.reason)
    middle = (found.low_mj * found.high_mj) ** 0.5
    return Line(
        "energy_mj",
        _said(found.low_mj, found.high_mj, limit),
        "modelled",
        middle,
        found.low_mj,
        found.high_mj,
        limit,
        found.reason,
    )


def _ram(cost: Cost, profile: DeviceProfile, budget: Budget, entry: LatencyOf | None) -> Line:
    whole = profile.ram_contiguous_bytes or profile.ram_bytes
    least = (
        float(cost.peak_activation_bytes) if profile.small else float(cost.peak_activation_bytes + cost.weight_bytes)
    )
    limit = _limit(whole, budget.peak_memory_bytes)
    if not profile.small:
        return _ram_of_system(least, whole, budget.peak_memory_bytes, limit)
    found = memory.ram(cost, entry.runtime, entry.version) if entry else memory.Bytes(None, None, "no runtime is named")
    if found.low is not None and found.high is not None:
        middle = (found.low * found.high) ** 0.5
        return Line(
            "peak_memory_bytes",
            _said(found.low, found.high, limit),
            "modelled",
            middle,
            found.low,
            found.high,
            limit,
            found.reason,
        )
    sparing = least / memory.most_saved()
    beyond = limit is not None and sparing > limit
    why = f"{found.reason}; {human_bytes(least)} live at once" + (
        ", too much even for the most sparing runtime known" if beyond else ""
    )
    verdict: Verdict | None = None if limit is None else "does not fit" if beyond else "unknown"
    return Line(
        "peak_memory_bytes",
        verdict,
        "modelled" if beyond else "unknown",
        None,
        sparing if beyond else None,
        None,
        limit,
        why,
    )


def _ram_of_system(least: float, whole: Figure, asked: float | None, limit: float | None) -> Line:
    """Return the line of a device with an operating system, where only weights and live activations are known."""
    most = whole.high if asked is None or whole.high is None else min(asked, whole.high)
    most = asked if whole.high is None else most
    easy = asked is None and whole.low is not None and least <= memory.OS_SHARE * whole.low
    over = most is not None and least > most
    why = "weights and live activations; the runtime's own comes on top"
    if easy:
        why += f"; under {100 * memory.OS_SHARE:.0f} % of the RAM"
    verdict: Verdict | None = None if limit is None else "does not fit" if over else "fits" if easy else "unknown"
    return Line("peak_memory_bytes", verdict, "modelled", None, least, None, limit, why)


def _flash(cost: Cost, profile: DeviceProfile, budget: Budget, entry: LatencyOf | None) -> Line | None:
    if not profile.small:
        if budget.flash_bytes is None:
            return None
        size = float(cost.weight_bytes)
        return Line(
            "flash_bytes",
            _said(size, size, budget.flash_bytes),
            "modelled",
            size,
            size,
            size,
            budget.flash_bytes,
            "the weights",
        )
    found = (
        memory.flash(cost, entry.runtime, entry.version)
        if entry
        else memory.Bytes(cost.weight_bytes, None, "the weights; code comes on top")
    )
    there = profile.flash_bytes or Figure(status="unknown")
    limit, most = _limit(there, budget.flash_bytes), there.high if budget.flash_bytes is None else budget.flash_bytes
    verdict = _said(found.low, found.high, limit)
    if verdict == "does not fit" and most is not None and found.low is not None and found.low <= most:
        verdict = "unknown"  # a board of this name with more flash would do
    middle = None if found.low is None or found.high is None else (found.low * found.high) ** 0.5
    return Line("flash_bytes", verdict, "modelled", middle, found.low, found.high, limit, found.reason)


def _limit(there: Figure, asked: float | None) -> float | None:
    """Return the smaller of the budget's limit and the device's; of boards that differ, the smallest."""
    known = [v for v in (there.low, asked) if v is not None]
    return min(known, default=None)


def _remedies(found: Judgement, profile: DeviceProfile, budget: Budget) -> Iterator[str]:
    if found.cost.dtype != INT8:
        best = judge_all(found.cost.as_int8(), profile, budget)[0]
        if best.entry is not None:
            took = f", {best.latency.value_ms:.3g} ms modelled" if best.latency.value_ms is not None else ""
            then = f" ({'; '.join(best.remedies)})" if best.remedies else ""
            yield f"as int8 under {best.runtime}: {best.verdict}{took}{then}"
    slow = next((line for line in found.lines if line.name == "latency_ms"), None)
    if (
        slow is not None
        and slow.word == "modelled"
        and slow.limit is not None
        and slow.verdict != "fits"
        and found.entry is not None
    ):
        yield _fewer_macs(found.cost, found.entry, slow.limit)
    for line in found.lines:
        if (
            line.name != "latency_ms"
            and line.verdict == "does not fit"
            and line.limit is not None
            and line.low is not None
        ):
            yield f"{line.name.rsplit('_', 1)[0].replace('_', ' ')}: {100 * (1 - line.limit / line.low):.0f} % less"


def _fewer_macs(cost: Cost, entry: LatencyOf, limit: float) -> str:
    """Return how many MACs must go until the interval lies under the limit, layers staying as they are."""
    fit = fitted(entry)
    assert not isinstance(fit, str)

    def high(share: float) -> float:
        return (fit.value(cost.with_macs(share).counts()) or 0.0) * fit.factor

    low, share = 0.0, 1.0
    if high(0.0) > limit:
        return "no cut of MACs alone: its layers take longer than that"
    for _ in range(_STEPS):
        middle = (low + share) / 2
        low, share = (middle, share) if high(middle) <= limit else (low, middle)
    return f"{100 * (1 - low):.0f} % fewer MACs, of each layer alike ({cost.macs * low / 1e6:.3g} M instead of {cost.macs / 1e6:.3g} M)"
