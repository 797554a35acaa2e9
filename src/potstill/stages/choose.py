"""Keep the finished student or the finished control: the better of the two on the validation rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from potstill.core import atomic
from potstill.core.artifact import manifest
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import set_threads
from potstill.tasks import AnyTask

_OF_THE_RACE = ("race",)
"""Facts that stay with the student's own training."""


@registry.register
class ChooseStage(StageSpec):
    """Data, a student and its hard-label control of the same seed -> one of the two, byte for byte."""

    requires: ClassVar[tuple[str, ...]] = ("data", "student", "control")
    stands_for: ClassVar[dict[str, str]] = {"control": "student"}
    provides: ClassVar[str] = "student"
    kind: Literal["choose"] = "choose"
    task: AnyTask
    """Gives the headline metric."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset

        set_threads(context.options.threads)
        validation = Dataset.open(context.inputs["data"]).splits["validation"]
        scores = {arm: self._score(context.inputs[arm], validation) for arm in ("student", "control")}
        # Level is not enough: without a gain that can be seen, the simpler training is kept.
        chosen = "student" if scores["student"] > scores["control"] else "control"
        for name in ("student.safetensors", "student.json"):
            atomic.write_bytes(context.work / name, (context.inputs[chosen] / name).read_bytes())
        facts = manifest(context.inputs[chosen])["facts"]
        rows = int((np.asarray(validation.labels) >= 0).sum())
        why = (
            f"{self.task.headline} {scores['student']:.4f} of the student against {scores['control']:.4f} of the control on "
            f"{rows} validation rows{'' if chosen == 'student' else '; a student that is not better is not kept'}"
        )
        choice = {"chosen": chosen, "why": why, **scores, "validation_rows": rows}
        return {**{k: v for k, v in facts.items() if k not in _OF_THE_RACE}, "choice": choice}

    def _score(self, folder: Path, validation: Any) -> float:
        from potstill.models.tools.saved import load_model
        from potstill.train.loop import predict

        model = load_model(folder)
        outputs = predict(model.module, model.preprocess, validation)
        return float(self.task.correct(outputs, np.asarray(validation.labels)).mean())
