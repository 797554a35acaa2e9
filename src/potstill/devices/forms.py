"""Forms of a model of latency: which counts it adds up, as data. Every coefficient is non-negative and fitted; within a term the
weights are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COUNTS = ("macs", "conv", "pw", "dw", "fc", "layers", "activations", "params")
"""What a row or a model counts: multiply-accumulates of one sample in all and by class (conv; pw, 1×1 convolutions; dw, depthwise; fc,
fully connected), operators, elements of all their outputs, parameters."""

_MILLION = 1e-6
EDGE_TPU_CACHE_MB = 8.0
"""Weights that the Edge TPU keeps on chip; the rest is sent for each sample."""


@dataclass(frozen=True)
class Term:
    """One summand of a form; in units that leave its coefficient near the milliseconds it stands for."""

    name: str
    weights: Mapping[str, float]
    """Count -> what one of it adds; empty: 1, whatever the model."""
    over: float = 0.0
    """Taken off before the coefficient; what is left is at least 0."""

    def value(self, counts: Mapping[str, float | None]) -> float | None:
        """Return the term's value for a model, None where a count is not known."""
        total = 0.0 if self.weights else 1.0
        for name, weight in self.weights.items():
            count = counts.get(name)
            if count is None:
                return None
            total += weight * count
        return max(0.0, total - self.over)


@dataclass(frozen=True)
class Form:
    """A sum of terms, each times a fitted coefficient."""

    name: str
    terms: tuple[Term, ...]
    least_models: int
    """Distinct models that a fit needs: three more than coefficients, so that with one held out the rest still has two more. Two more
    where the terms' weights bring what was found on other devices."""

    def values(self, counts: Mapping[str, float | None]) -> list[float] | None:
        """Return the terms' values, None where one is not known."""
        found = [term.value(counts) for term in self.terms]
        return None if None in found else [v for v in found if v is not None]

    def text(self, coefficients: tuple[float, ...]) -> str:
        """Return such as "5.22 + 0.000456·MMAC" (ms)."""
        return " + ".join(f"{c:.4g}" + (f"·{t.name}" if t.weights else "") for c, t in zip(coefficients, self.terms, strict=True))  # fmt: skip


_overhead = Term("1", {})
_macs = Term("MMAC", {"macs": _MILLION})
_dense = Term("dense MMAC", {"conv": _MILLION, "pw": _MILLION, "fc": _MILLION})
_conv, _pw = Term("conv MMAC", {"conv": _MILLION}), Term("pointwise MMAC", {"pw": _MILLION})
_dw, _fc = Term("depthwise MMAC", {"dw": _MILLION}), Term("fc MMAC", {"fc": _MILLION})
_layers = Term("100 layers", {"layers": 0.01})
_activations = Term("activation Melem", {"activations": _MILLION})
_weighted = Term(
    "MMAC (depthwise ×6, fc ×1.5)", {"conv": _MILLION, "pw": _MILLION, "dw": 6 * _MILLION, "fc": 1.5 * _MILLION}
)
_sent = Term("weight MB over 8", {"params": _MILLION}, over=EDGE_TPU_CACHE_MB)

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("macs", (_macs,), 4),
        Form("weighted-macs", (_weighted,), 3),
        Form("overhead+macs", (_overhead, _macs), 5),
        Form("dense+depthwise", (_dense, _dw), 5),
        Form("layers+macs", (_layers, _dense, _dw), 6),
        Form("by-class", (_layers, _conv, _pw, _dw, _activations, _fc), 9),
        Form("edge-tpu", (_overhead, _sent), 5),
    )
}
"""By name. The weights of `weighted-macs` are the costs of a depthwise and of a fully connected MAC beside a dense one on
microcontrollers, found on other devices than the ones that are fitted."""

MOST_ERROR = 0.5
"""Mean leave-one-model-out error beyond which a fit predicts nothing."""
REACH = 2.0
"""How many times fewer or more MACs, and more parameters, than any model of its rows a model may have for a prediction."""
UNSEEN_SHARE = 0.05
"""Share of MACs in classes that no row has (products of two activations, recurrent cells) up to which a prediction is made."""
