"""The contract of a stage, and of a step of a recipe, as far as it holds without running one."""

from __future__ import annotations

from potstill.stages import StageSpec, StepJob, StepSpec, registry, steps
from potstill.testing._claims import claims_of
from potstill.testing.spec import check_spec


def check_stage(spec: StageSpec) -> None:
    """Check that a stage says what it reads and gives, and asks for no more than it says.

    Args:
        spec: valid.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "stage")
    claims = claims_of("stage", spec)
    claims.that(type(spec.provides) is str and spec.provides, "provides must be a name", provides=spec.provides)
    declared = [name.rstrip("?") for name in spec.requires]
    claims.that(len(set(declared)) == len(declared), "requires must name each input once", requires=spec.requires)
    needed = {name.partition(":")[0] for name in spec.inputs_needed()}
    claims.that(needed <= set(declared), "must need no input that requires leaves out", needs=spec.inputs_needed())  # fmt: skip
    must = {name for name in spec.requires if not name.endswith("?")}
    claims.that(must <= needed, "must need every input that requires says is always there")
    given = {cls.provides for _, cls in registry.items()}
    claims.that(set(spec.stands_for) <= set(declared), "stands_for must name inputs only", stands_for=spec.stands_for)
    claims.that(
        {spec.stands_for.get(name, name) for name in declared} <= given,
        "must require what some stage provides",
        requires=declared,
        provided=sorted(given),
    )


def check_step(spec: StepSpec) -> None:
    """Check that a step becomes one stage for each arm and seed, the same each time.

    Args:
        spec: valid.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, steps, "step")
    claims = claims_of("step", spec)
    plain = spec.stage(_job(0, None))
    for control in (None, "hard-label", "label-smoothing", "hard-pseudo-label"):
        for seed in (0, 1):
            stage, again = spec.stage(_job(seed, control)), spec.stage(_job(seed, control))
            claims.that(stage == again, "must give the same stage for the same arm and seed", control=control)
            check_stage(stage)
            left = "student" if spec.teaches() is None else "teacher"
            claims.that(stage.provides == left, f"must leave a {left}", provides=stage.provides)
            for name in ("training", "student", "augment"):
                ours, theirs = (getattr(s, name, None) for s in (plain, stage))
                claims.that(
                    ours == theirs, f"must give a control the student's own {name}", control=control, found=theirs
                )
    for path, message in spec.faults(_job(0, None)):
        claims.that(
            type(path) is tuple and message, "a fault must have a path and a message", path=path, message=message
        )


def _job(seed: int, control: str | None) -> StepJob:
    from potstill.labels.spec import LabelsSpec
    from potstill.models.ds_cnn import DsCnnSpec
    from potstill.tasks.image_classification import ImageClassificationSpec
    from potstill.teachers.train import TrainedTeacherSpec

    student = DsCnnSpec(width=4, depth=2)
    return StepJob(
        task=ImageClassificationSpec(), student=student, teacher=TrainedTeacherSpec(model=student), labels=LabelsSpec(),
        augment=(), seed=seed, augment_seed=0, control=control,
    )  # fmt: skip
