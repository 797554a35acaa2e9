"""Keep the student's weights and values in few bits: after training, or while it is trained a little further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.compress.quant_specs import CalibrationSpec, SensitivitySpec
from potstill.core import rng
from potstill.core.artifact import manifest
from potstill.core.errors import PotstillError
from potstill.core.outputs import TaskOutput
from potstill.labels.spec import LabelsSpec
from potstill.labels.suits import codec_faults
from potstill.objectives import AnyObjective, ObjectiveSpec
from potstill.objectives import registry as objective_kinds
from potstill.quant.spec import STATIC, Scheme
from potstill.schedules.training import TrainSpec
from potstill.stages._base import StageContext, StageSpec, StepJob, StepSpec, registry, steps
from potstill.stages._controls import objectives_of
from potstill.stages._parts import MICRO_BATCH, gather, labelled_rows, set_threads
from potstill.stages._student import StudentStage
from potstill.stages._teaching import labels_of, reads_teacher, said_live
from potstill.tasks import Truth
from potstill.teachers import AnyTeacher

FROZEN_AFTER = 0.7
"""Share of the training's steps after which ranges stay as they are."""


@registry.register
class QuantizeStage(StudentStage):
    """Data, a student and perhaps labels -> the student with the numbers it is quantised with, its weights trained further or not."""

    requires: ClassVar[tuple[str, ...]] = ("data", "student", "labels?", "teacher?")
    kind: Literal["quantize"] = "quantize"
    training: TrainSpec = Field(default_factory=TrainSpec)
    """Of a training that rounds; without objectives there is none."""
    scheme: Scheme = Field(examples=["int8_static_per_channel"])
    """What is rounded."""
    calibration: CalibrationSpec = Field(default_factory=CalibrationSpec)
    """How ranges are found."""
    float_layers: tuple[str, ...] = ()
    """Modules that stay in float32."""
    sensitivity: SensitivitySpec | None = None
    """Leaves further layers in float by what they cost."""
    objectives: tuple[AnyObjective, ...] = ()
    """Terms of the loss; none: the weights stay as they are."""
    rows: Literal["all", "labelled"] = "all"
    """Training rows that are visited."""
    guide: Literal["teacher", "student"] = "teacher"
    """Whose outputs objectives on soft labels read."""
    live: LabelsSpec | None = None
    """Codec and views of a guide that runs live; None reads the store."""
    teacher: AnyTeacher | None = None
    """Loads a teacher that runs live."""

    def inputs_needed(self) -> tuple[str, ...]:
        if self.guide == "student" or not reads_teacher(self.objectives):
            return ("data", "student")
        return ("data", "student", "labels" if self.live is None else "teacher")

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.compress.quant_float import half, weight_bytes
        from potstill.data.dataset import Dataset
        from potstill.train.world import World

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        new = self.new_student(context, dataset)
        facts: dict[str, Any] = {"steps": 0, "seconds": 0.0}
        if self.scheme == "float16":
            spec, found = half(new.module), None
        else:
            fake, found = self._quantised(context, dataset, new)
            if self.objectives:
                facts = self._train(context, dataset, new, fake)
            spec = fake.numbers()
        facts = self.leave(context, dataset, new, facts)
        if World().rank == 0:
            spec.write(context.work)
        before = manifest(context.inputs["student"])["facts"]
        facts |= {name: before[name] for name in ("untrained",) if name in before}  # a last choice asks for it
        layers = [] if found is None else found["layers"]
        return {
            **facts,
            "quantised": {
                "scheme": self.scheme, "trained": bool(self.objectives), "float_layers": list(spec.float_layers),
                "num_places": len(spec.values), "num_weights": len(spec.weights), "weight_bytes": weight_bytes(new.module, spec),
                "sensitivity": found, "calibration": self.calibration.model_dump() if self.scheme in STATIC else None,
                "worst_layer": layers[0]["layer"] if layers else None,
            },
        }  # fmt: skip

    def _quantised(self, context: StageContext, dataset: Any, new: Any) -> tuple[Any, dict[str, Any] | None]:
        """Return (a calibrated model that rounds, what each layer costs where that was asked for)."""
        import torch

        from potstill.compress.quant_sensitivity import leave_in_float
        from potstill.compress.quantize import prepared
        from potstill.train.loop import predict

        train, validation = dataset.splits["train"], dataset.splits["validation"]
        drawn = rng.permutation(rng.seed_of(self.seed, "calibration"), 0, len(train))[: self.calibration.rows]
        new.module.eval()

        def batches() -> Iterator[Any]:
            for start in range(0, len(drawn), MICRO_BATCH):
                with torch.no_grad():
                    yield new.preprocess(
                        torch.from_numpy(gather(train, np.sort(drawn)[start : start + MICRO_BATCH])[0])
                    )

        def make(float_layers: tuple[str, ...]) -> Any:
            example = next(batches())[:2]
            example = example if len(example) == 2 else torch.cat([example, example])
            return prepared(
                new.module, example, batches, self.scheme, self.calibration, float_layers, self._watched(dataset)
            )

        def judge(module: Any) -> float:
            outputs = predict(module, new.preprocess, validation)
            return float(self.task.correct(outputs, Truth.of(dataset, "validation")).mean())

        if self.sensitivity is None:
            return make(self.float_layers), None
        if len(validation) == 0:
            raise PotstillError(
                "quantize.sensitivity: must have validation rows to judge layers by; got none. Set data.validation."
            )
        return leave_in_float(make, judge, judge(new.module), self.float_layers, self.sensitivity.max_drop)

    def _watched(self, dataset: Any) -> int:
        """Return the steps in which ranges follow the values: those of a calibration that is not min-max are kept throughout."""
        if not self.objectives or self.calibration.method != "min-max":
            return 0
        return int(FROZEN_AFTER * self.num_steps(dataset))

    def _train(self, context: StageContext, dataset: Any, new: Any, fake: Any) -> dict[str, Any]:
        from dataclasses import replace

        from potstill.train.loop import Trainer

        rows = labelled_rows(dataset.splits["train"]) if self.rows == "labelled" else None
        rounding = replace(new, module=fake)
        fit = self.fit(
            context, dataset, rounding, self.objectives, rows=rows, store=self._store(context, dataset, new), teacher=None,
            shares=None,
        )  # fmt: skip
        facts: dict[str, Any] = Trainer(fit).run()
        return facts

    def _store(self, context: StageContext, dataset: Any, new: Any) -> Any:
        if not reads_teacher(self.objectives):
            return None
        if self.guide == "teacher" or self.live is None:
            return labels_of(self, context, dataset, self.live, self.teacher)
        import copy

        from potstill.teachers._torch import TorchLabeller

        output = "values" if self.task.output == "values" else "logits"
        float_student = copy.deepcopy(new.module)
        labeller = TorchLabeller(float_student, copy.deepcopy(new.preprocess), output, len(dataset.classes))  # type: ignore[arg-type]
        return said_live(self, dataset, self.live, labeller)


@steps.register
class QuantizeStep(StepSpec):
    """Keep the student in few bits, as every exporter then writes it; the last step."""

    kind: Literal["quantize"] = "quantize"
    scheme: Scheme = "int8_static_per_channel"
    """float16: weights as float16; int8_dynamic: weights in 8 bits, matrix products in integers with the ranges of the batch at
    hand; int8_static_per_channel: weights and values in 8 bits, with ranges that are found here; int4_conv: the same, with the
    weights of convolutions in 4 bits."""
    calibration: CalibrationSpec = Field(default_factory=CalibrationSpec)
    """How the ranges of values are found, on training rows."""
    float_layers: tuple[str, ...] = ()
    """Paths of modules in the student that stay in float32, with all that is in them."""
    sensitivity: SensitivitySpec | None = None
    """Quantise each layer alone, and leave the costliest in float until the whole is near enough; nothing quantises all layers."""
    objectives: tuple[AnyObjective, ...] = ()
    """Terms of the loss of a training that rounds as the runtime will (QAT); none: weights stay as they are (PTQ). A control is
    trained on its own loss."""
    guide: Literal["teacher", "student"] = "teacher"
    """Whose soft labels objectives read: the teacher's, or those of the float student that this step starts from."""
    training: TrainSpec | None = None
    """Lengths, optimiser, learning rate of that training; needs objectives."""

    def terms(self) -> tuple[ObjectiveSpec, ...]:
        return self.objectives

    def reads_teacher(self) -> bool:
        return self.guide == "teacher" and reads_teacher(self.objectives)

    def leaves_integers(self) -> bool:
        return self.scheme != "float16"

    def is_last(self) -> bool:
        return True

    def starts_trained(self) -> bool:
        return True

    def stage(self, job: StepJob) -> StageSpec:
        objectives: tuple[ObjectiveSpec, ...] = self.objectives
        if objectives and job.control is not None:
            objectives = objectives_of(job.control, job.task.output)
        reads = reads_teacher(objectives)
        guide = self.guide if job.control is None else "teacher"
        live = job.labels if reads and (guide == "student" or job.labels.mode == "live") else None
        return QuantizeStage(
            task=job.task, student=job.student, training=self.training or TrainSpec(), augment=job.augment, seed=job.seed,
            augment_seed=job.augment_seed, scheme=self.scheme, calibration=self.calibration, float_layers=self.float_layers,
            sensitivity=self.sensitivity, objectives=objectives, rows="all" if reads else "labelled",
            num_views=job.labels.views if reads else None, guide=guide, live=live,
            teacher=job.teacher if live is not None and guide == "teacher" else None,
        )  # fmt: skip

    def faults(self, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
        out: list[tuple[tuple[str | int, ...], str]] = []
        if self.training is not None and not self.objectives:
            out.append((("training",), "is that of a quantisation that trains, and there are no objectives. State objectives, such "
                        "as [{kind: soft-label}], or leave training out"))  # fmt: skip
        if self.training is not None and self.training.precision != "float32":
            out.append((("training", "precision"), "must be float32: codes are finer than bfloat16 can tell"))
        if self.guide == "student" and not reads_teacher(self.objectives):
            out.append((("guide",), "says whose soft labels are read, and no objective reads any. Leave it out"))
        if self.float_layers and self.scheme == "float16":
            out.append(
                (
                    ("float_layers",),
                    "float16 rounds no values and leaves all layers to compute in float32. Leave it out",
                )
            )
        if self.sensitivity is not None and self.scheme == "float16":
            out.append((("sensitivity",), "needs a scheme of integers; got float16"))
        if self.objectives and self.scheme not in STATIC:
            allowed = " or ".join(STATIC)
            out.append((("objectives",), f"train a student whose values are rounded to known ranges; {self.scheme} has none. Use "
                        f"scheme: {allowed}, or leave objectives out"))  # fmt: skip
        if job.task.output == "tokens":
            out.append((("kind",), "quantises models that answer at once; one that writes token by token is exported in float32. Leave "
                        "this step out"))  # fmt: skip
        for i, objective in enumerate(self.objectives):
            out += [(("objectives", i, *path), text) for path, text in _term_faults(objective, job)]
        return out


def _term_faults(objective: ObjectiveSpec, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
    output: TaskOutput = job.task.output
    fits = ", ".join(k for k, spec in objective_kinds.items() if output in spec.teaches)
    if output not in objective.teaches:
        return [(("kind",), f"{objective.kind!r} teaches {' or '.join(objective.teaches)}, and a task of kind {job.task.kind!r} asks "
                 f"for {output}. Use one of: {fits}")]  # fmt: skip
    if objective.needs().taps is not None:
        return [(("kind",), f"{objective.kind!r} reads features inside the student, and a quantised student is a graph of operators "
                 "with no modules to tap. Use an objective on outputs, such as soft-label")]  # fmt: skip
    return list(codec_faults(objective, job.labels.codec))
