"""potstill distils a big model into one that fits your device, and proves that it fits.

    import potstill as ps

    data = ps.arrays(x_train, y_train, x_test, y_test)
    run = ps.distill(data, teacher=my_teacher, student=MyStudent, epochs=30, out="runs/mine")
    print(run.verdict)

Names are loaded on first use: importing this loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.api import (
        Comparison,
        QuantizedModel,
        Result,
        compare,
        distill,
        fit,
        plan_pruning,
        prune,
        quantize,
    )
    from potstill.data.arrays import arrays
    from potstill.exporters.translator import Translator
    from potstill.labels.store import LabelStore
    from potstill.objectives.hard_label import hard_label
    from potstill.objectives.logit_mse import logit_mse
    from potstill.objectives.soft_label import soft_label
    from potstill.pipeline.check import LabelledData, open_labels

_WHERE = {
    "Comparison": "potstill.api",
    "LabelStore": "potstill.labels.store",
    "LabelledData": "potstill.pipeline.check",
    "QuantizedModel": "potstill.api",
    "Result": "potstill.api",
    "Translator": "potstill.exporters.translator",
    "arrays": "potstill.data.arrays",
    "compare": "potstill.api",
    "distill": "potstill.api",
    "fit": "potstill.api",
    "hard_label": "potstill.objectives.hard_label",
    "logit_mse": "potstill.objectives.logit_mse",
    "soft_label": "potstill.objectives.soft_label",
    "open_labels": "potstill.pipeline.check",
    "plan_pruning": "potstill.api",
    "prune": "potstill.api",
    "quantize": "potstill.api",
}

__all__ = [
    "Comparison",
    "LabelStore",
    "LabelledData",
    "QuantizedModel",
    "Result",
    "Translator",
    "arrays",
    "compare",
    "distill",
    "fit",
    "hard_label",
    "logit_mse",
    "open_labels",
    "plan_pruning",
    "prune",
    "quantize",
    "soft_label",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'potstill' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
