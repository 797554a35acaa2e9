"""What a run is made of: each stage is a pure function of (its Spec, input artifacts) -> a folder.

One stage a file. `steps` are the stages that a recipe lists in its order: distill and prune today; quantize sits beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.stages._base import RunOptions, StageContext, StageSpec, StepJob, StepSpec, registry, steps

registry.discover(__name__)

if TYPE_CHECKING:
    from typing import TypeAlias

    AnyStep: TypeAlias = StepSpec
else:
    AnyStep = steps.union()

__all__ = ["AnyStep", "RunOptions", "StageContext", "StageSpec", "StepJob", "StepSpec", "registry", "steps"]
