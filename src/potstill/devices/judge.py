"""Does a model fit a device: a line for each limit, what binds, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from potstill.core.units import human_bytes
from potstill.devices import generated, memory
from potstill.devices.cost import INT8, Cost
from potstill.devices.energy import energy
from potstill.devices.latency import Latency, fitted, predict
from potstill.devices.lines import Budget, Line, Verdict, binding, interval, unknown
from potstill.devices.profile import DeviceProfile, Figure, LatencyOf

_STEPS = 24
_ORDER = {"fits": 0, "unknown": 1, "does not fit": 2}


@dataclass(frozen=True)
class Judgement:
    """A model on a device, under one of its runtimes."""

    device: str
    entry: LatencyOf | None
    """None where no latency of the device was ever published, so that no runtime is named."""
    cost: Cost | None
    """None where it is not known."""
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
        """`does not fit` where any line does not, `fits` where every line with a limit does, else unknown. Without a runtime and without a
        measured latency nothing fits."""
        judged = [line.verdict for line in self.lines if line.verdict is not None]
        if "does not fit" in judged:
            return "does not fit"
        ran = self.entry is not None or any(
            line.name == "latency_ms" and line.word == "measured" for line in self.lines
        )
        return "fits" if judged and all(v == "fits" for v in judged) and ran else "unknown"

    def line(self, name: str) -> Line | None:
        """Return the line of a limit."""
        return next((line for line in self.lines if line.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        fit, bind = self.latency.fitted, binding(self.lines)
        return {
            "device": self.device, "verdict": self.verdict, "runtime": self.entry.model_dump() if self.entry else None,
            "model": self.cost.name if self.cost else None, "as": self.cost.dtype if self.cost else None,
            "lines": [line.as_dict() for line in self.lines],
            "binding": bind.name if bind else None, "remedies": list(self.remedies), "at_most_ms": self.latency.at_most_ms,
            "fit": None if fit is None else {
                "form": fit.form.name, "formula_ms": fit.form.text(fit.coefficients), "models": len(fit.models), "rows": len(fit.rows),
                "error_mean": fit.mean, "error_p90": fit.p90, "factor": fit.factor, "sources": sources(fit.rows),
            },
        }  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What a model is judged by."""

    profile: DeviceProfile
    budget: Budget = field(default_factory=Budget)
    """Limits beside the device's own RAM and flash."""
    runtimes: tuple[str, ...] | None = None
    """What the names of runtimes begin with that take the file; None: any takes it."""
    known: Mapping[str, Line] = field(default_factory=dict)
    """Lines that were measured, by name: these stand, whatever is modelled."""

    def of_another(self) -> Question:
        """Return the question for another model than the measured one, whose accuracy nobody knows."""
        return replace(self, known={}, budget=self.budget.model_copy(update={"accuracy_drop": None}))

    def entries(self, dtype: str) -> list[LatencyOf]:
        """Return the profile's runtimes that take the file and compute in the model's dtype."""
        return [e for e in self.takers() if (e.dtype == INT8) == (dtype == INT8)]

    def takers(self) -> list[LatencyOf]:
        """Return the profile's runtimes that take the file."""
        return [e for e in self.profile.runtimes if self.runtimes is None or e.runtime.startswith(self.runtimes)]


def judge(
    cost: Cost | None, asked: Question, entry: LatencyOf | None, why: str = "no latency of it is published"
) -> Judgement:
    """Return the verdict on a model under one runtime of a device.

    Args:
        cost: of the model, in the dtype that the runtime would run; None where it is not known.
        asked: device and limits.
        entry: the runtime, one of the profile's; None where there is none.
        why: the latency is unknown, where there is none or the cost is not known.
    """
    latency = Latency("unknown", why) if entry is None or cost is None else _predicted(entry, cost, asked.profile)
    budget, profile = asked.budget, asked.profile
    modelled = [_latency(latency, budget.latency_ms)]
    if cost is None:
        limit = ram_limit(profile, budget)
        modelled += [
            unknown("peak_memory_bytes", limit, why),
            unknown("flash_bytes", flash_limit(profile, budget), why),
        ]
    else:
        modelled += [_ram(cost, asked, entry), _flash(cost, asked, entry)]
    modelled += [_energy(profile, entry, latency, budget.energy_mj),
                 unknown("accuracy_drop", budget.accuracy_drop, "a file alone does not say it")]  # fmt: skip
    lines = (asked.known.get(line.name, line) for line in modelled)
    return Judgement(profile.name, entry, cost, latency, tuple(line for line in lines if _is_said(line, profile)))


def _predicted(entry: LatencyOf, cost: Cost, profile: DeviceProfile) -> Latency:
    return generated.latency(cost, profile) if entry.counted else predict(entry, cost)


def judge_all(cost: Cost, asked: Question) -> list[Judgement]:
    """Return the verdicts under every runtime of a device that takes the file and computes in the model's dtype, the best first: those
    that fit, those whose latency is known, the others. Remedies are looked for where nothing fits."""
    found = [judge(cost, asked, entry) for entry in asked.entries(cost.dtype)]
    found = sorted(found, key=_rank) or [judge(cost, asked, None, _no_runtime(cost, asked))]
    if found[0].verdict != "fits":
        found[0] = replace(found[0], remedies=tuple(_remedies(found[0], asked)))
    return found


def device_verdict(judgements: Sequence[Judgement]) -> Verdict:
    """Return the verdict over all runtimes of a device: `does not fit` where it fits under none of those whose latency is known. Runtimes
    of which too little is published decide nothing, unless there is no other."""
    if any(j.verdict == "fits" for j in judgements):
        return "fits"
    known = [j for j in judgements if j.latency.word == "modelled"] or judgements
    return "unknown" if any(j.verdict == "unknown" for j in known) else "does not fit"


def sources(rows: Any) -> list[str]:
    """Return where rows come from, without what comes after the repository's name."""
    return list(dict.fromkeys(row.source.split(":")[0] for row in rows))


def _rank(j: Judgement) -> tuple[float, ...]:
    known, inf = j.latency, float("inf")
    unheard = known.word == "unknown" and j.verdict != "fits"
    rows = 0 if known.fitted is None else len(known.fitted.rows)
    return (3 if unheard else _ORDER[j.verdict], _ORDER[j.verdict], inf if known.value_ms is None else known.value_ms,
            known.at_most_ms or inf, -rows)  # fmt: skip


def _no_runtime(cost: Cost, asked: Question) -> str:
    if asked.profile.kind == "host":
        return "not modelled on this machine; measure it: potstill verify"
    if not asked.profile.runtimes:
        return "no latency of it is published"
    of = "" if asked.runtimes is None else " of a runtime that takes such a file"
    there = sorted({e.dtype for e in asked.takers()})
    return (
        f"no latency in {cost.dtype} is published{of}, only in {', '.join(there)}"
        if there
        else f"no latency is published{of}"
    )


def _is_said(line: Line, profile: DeviceProfile) -> bool:
    """Return whether a line belongs into a verdict: flash of what has a file system, and accuracy, only where they are limited."""
    return (
        line.limit is not None
        or line.name not in ("flash_bytes", "accuracy_drop")
        or (line.name == "flash_bytes" and profile.small)
    )


def _latency(found: Latency, limit: float | None) -> Line:
    if found.word == "unknown":
        more = (
            f"; at most {found.at_most_ms:.3g} ms, as {found.at_most_of} has more of everything"
            if found.at_most_ms
            else ""
        )
        return unknown("latency_ms", limit, found.reason + more, found.at_most_ms)
    fit, text = found.fitted, found.reason
    if fit is not None:
        text = f"{fit.form.name}, {fit.basis}, held out off by {100 * fit.mean:.0f} %"
    return interval("latency_ms", found.low_ms, found.high_ms, limit, text, value=found.value_ms)


def _energy(profile: DeviceProfile, entry: LatencyOf | None, latency: Latency, limit: float | None) -> Line:
    if entry is None:
        return unknown("energy_mj", limit, "the latency is unknown")
    found = energy(profile, entry, latency)
    if found.low_mj is None or found.high_mj is None:
        return unknown("energy_mj", limit, found.reason)
    return interval("energy_mj", found.low_mj, found.high_mj, limit, found.reason)


def _ram(cost: Cost, asked: Question, entry: LatencyOf | None) -> Line:
    profile, given = asked.profile, asked.budget.peak_memory_bytes
    whole = profile.ram_contiguous_bytes or profile.ram_bytes
    limit, least = _limit(whole, given), float(cost.peak_activation_bytes)
    if not profile.small:
        return _ram_of_system(least + cost.weight_bytes, whole, given, limit)
    if entry is None:
        found = memory.Bytes(None, None, "no runtime is named")
    else:
        found = generated.ram(cost) if entry.counted else memory.ram(cost, entry.runtime, entry.version)
    if found.low is not None and found.high is not None:
        return interval("peak_memory_bytes", found.low, found.high, limit, found.reason)
    sparing, why = least / memory.most_saved(), f"{found.reason}; {human_bytes(least)} live at once"
    if limit is None or sparing <= limit:
        return unknown("peak_memory_bytes", limit, why)
    return interval(
        "peak_memory_bytes", sparing, None, limit, f"{why}, too much even for the most sparing runtime known"
    )


def _ram_of_system(least: float, whole: Figure, given: float | None, limit: float | None) -> Line:
    """Return the line of a device with an operating system, where only weights and live activations are known."""
    most = min((v for v in (given, whole.high) if v is not None), default=None)
    easy = given is None and whole.low is not None and least <= memory.OS_SHARE * whole.low
    why = "weights and live activations; the runtime's own comes on top"
    if easy:
        why += f"; under {100 * memory.OS_SHARE:.0f} % of the RAM"
    verdict: Verdict | None = None if limit is None else "fits" if easy else "unknown"
    if limit is not None and most is not None and least > most:
        verdict = "does not fit"
    return Line("peak_memory_bytes", verdict, "modelled", None, least, None, limit, why)


def _flash(cost: Cost, asked: Question, entry: LatencyOf | None) -> Line:
    profile, size = asked.profile, float(cost.weight_bytes)
    limit = flash_limit(profile, asked.budget)
    if not profile.small:
        return interval("flash_bytes", size, size, limit, "the weights")
    if entry is None:
        found = memory.Bytes(size, None, "the weights; code comes on top")
    else:
        found = generated.flash(cost) if entry.counted else memory.flash(cost, entry.runtime, entry.version)
    if found.low is None:
        return unknown("flash_bytes", limit, found.reason)
    line = interval("flash_bytes", found.low, found.high, limit, found.reason)
    there = profile.flash_bytes or Figure(status="unknown")
    most = min((v for v in (there.high, asked.budget.flash_bytes) if v is not None), default=None)
    if line.verdict == "does not fit" and most is not None and found.low <= most:
        return replace(line, verdict="unknown")  # a board of this name with more flash would do
    return line


def ram_limit(profile: DeviceProfile, budget: Budget) -> float | None:
    """Return the bytes of RAM that a model may take, None where no limit is known."""
    return _limit(profile.ram_contiguous_bytes or profile.ram_bytes, budget.peak_memory_bytes)


def flash_limit(profile: DeviceProfile, budget: Budget) -> float | None:
    """Return the bytes of flash that a model may take, None where no limit is known."""
    there = profile.flash_bytes if profile.small else None
    return _limit(there or Figure(status="unknown"), budget.flash_bytes)


def _limit(there: Figure, asked: float | None) -> float | None:
    """Return the smaller of the budget's limit and the device's; of boards that differ, the smallest."""
    known = [v for v in (there.low, asked) if v is not None]
    return min(known, default=None)


def _remedies(found: Judgement, asked: Question) -> Iterator[str]:
    cost = found.cost
    if cost is None:
        return
    if cost.dtype != INT8:
        best = judge_all(cost.as_int8(), asked.of_another())[0]
        if best.entry is not None and (best.verdict != "unknown" or best.latency.value_ms is not None):
            took = f", {best.latency.value_ms:.3g} ms modelled" if best.latency.value_ms is not None else ""
            then = f" ({'; '.join(best.remedies)})" if best.remedies else ""
            yield f"as int8 under {best.runtime}: {best.verdict}{took}{then}"
    slow = found.line("latency_ms")
    if (
        slow
        and slow.word == "modelled"
        and slow.limit is not None
        and slow.verdict != "fits"
        and found.entry is not None
    ):
        yield _fewer_macs(cost, found.entry, slow.limit, asked.profile)
    for line in found.lines:
        plain = line.name != "accuracy_drop" and (line.name != "latency_ms" or line.word == "measured")
        if plain and line.verdict == "does not fit" and line.limit is not None and line.low is not None:
            yield f"{line.name.rsplit('_', 1)[0].replace('_', ' ')}: {100 * (1 - line.limit / line.low):.0f} % less"


def _fewer_macs(cost: Cost, entry: LatencyOf, limit: float, profile: DeviceProfile) -> str:
    """Return how many MACs must go until the interval lies under the limit, layers staying as they are."""

    def high(share: float) -> float:
        if entry.counted:
            return generated.latency(cost.with_macs(share), profile).high_ms or 0.0
        fit = fitted(entry)
        assert not isinstance(fit, str)
        return (fit.value(cost.with_macs(share).counts()) or 0.0) * fit.factor

    low, share = 0.0, 1.0
    if high(0.0) > limit:
        return "no cut of MACs alone: its layers take longer than that"
    for _ in range(_STEPS):
        middle = (low + share) / 2
        low, share = (middle, share) if high(middle) <= limit else (low, middle)
    return f"{100 * (1 - low):.0f} % fewer MACs, of each layer alike ({cost.macs * low / 1e6:.3g} M instead of {cost.macs / 1e6:.3g} M)"
