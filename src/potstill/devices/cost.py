"""What a model costs, whatever it runs on: counts of one sample, and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from potstill.mcu.estimate import Estimate, estimate_of

CLASSES = ("conv", "pw", "dw", "fc", "attention", "recurrent")
"""Classes of multiply-accumulates: convolutions, those of 1×1, depthwise, products with weights, products of two activations, recurrent
cells."""
INT8 = "int8"


@dataclass(frozen=True)
class Cost:
    """Counts of one sample through a model."""

    name: str
    dtype: str
    """Of the weights: float32, float16 or int8."""
    macs_by_class: Mapping[str, int]
    """Class -> multiply-accumulates; elementwise work is left out. A convolution in one dimension counts like one in two."""
    layers: int
    """As `graph.cost_of` counts them."""
    activation_elements: int
    """Of the outputs of all layers."""
    params: int
    vector_params: int
    """Of biases and scales, among `params`."""
    weight_bytes: int
    """As the file has them."""
    peak_activation_bytes: int
    """Live at once, of the file's dtype; without a runtime's own buffers."""
    generated: Estimate | str = "C is generated from a .tflite file of int8"
    """What it takes as generated C, or why that is not known."""

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return sum(self.macs_by_class.values())

    def counts(self) -> dict[str, float | None]:
        """Return what forms of latency add up."""
        by_class = {name: float(self.macs_by_class.get(name, 0)) for name in ("conv", "pw", "dw")}
        rest = sum(self.macs_by_class.get(name, 0) for name in ("fc", "attention", "recurrent"))
        return {"macs": float(self.macs), **by_class, "fc": float(rest), "layers": float(self.layers),
                "activations": float(self.activation_elements), "params": float(self.params)}  # fmt: skip

    def as_int8(self) -> Cost:
        """Return the same model in 8-bit integers: a byte a weight, four of each bias or scale, a byte an activation."""
        if self.dtype == INT8:
            return self
        width = 2 if self.dtype == "float16" else 4
        return replace(
            self, dtype=INT8, weight_bytes=self.params + 3 * self.vector_params,
            peak_activation_bytes=self.peak_activation_bytes // width,
        )  # fmt: skip

    def with_macs(self, share: float) -> Cost:
        """Return a thinner model: `share` of the MACs, activations shrunk by its root, layers as they are."""
        return replace(
            self, macs_by_class={k: int(v * share) for k, v in self.macs_by_class.items()},
            activation_elements=int(self.activation_elements * share**0.5), generated=self._generated(share, 1.0, share**0.5),
        )  # fmt: skip

    def scaled(self, macs: float, params: float, activations: float) -> Cost:
        """Return a model of the same layers with these shares of each; what lies in them is shared out alike."""
        return replace(
            self.with_macs(macs), activation_elements=int(self.activation_elements * activations), params=int(self.params * params),
            vector_params=int(self.vector_params * params), weight_bytes=int(self.weight_bytes * params),
            peak_activation_bytes=int(self.peak_activation_bytes * activations), generated=self._generated(macs, params, activations),
        )  # fmt: skip

    def _generated(self, macs: float, params: float, activations: float) -> Estimate | str:
        made = self.generated
        return made if isinstance(made, str) else made.scaled(macs, params, activations)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        made = self.generated
        return {**asdict(self), "macs_by_class": dict(self.macs_by_class), "macs": self.macs,
                "generated": made if isinstance(made, str) else made.as_dict()}  # fmt: skip


def cost_from(found: Mapping[str, Any]) -> Cost:
    """Return the cost that `as_dict` gave."""
    made = found["generated"]
    return Cost(**{k: v for k, v in found.items() if k not in ("macs", "generated")},
                generated=made if isinstance(made, str) else estimate_of(made))  # fmt: skip
