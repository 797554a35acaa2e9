"""Cut channels, units and heads of the student."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.compress._settings import PruneSettings
from potstill.devices.host import HOST
from potstill.models import AnyModel
from potstill.stages._base import StageContext, StageSpec, StepJob, StepSpec, registry, steps
from potstill.stages._controls import supervised
from potstill.stages._parts import MICRO_BATCH, data_io, gather, labelled_rows, set_threads
from potstill.stages._student import begun
from potstill.tasks import AnyTask

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKED_ROWS = 16
"""Rows on which a cut is compared with its channels set to zero."""


@registry.register
class PruneStage(StageSpec, PruneSettings):
    """Data and a student -> a smaller one of the same family, not trained further."""

    requires: ClassVar[tuple[str, ...]] = ("data", "student?")
    provides: ClassVar[str] = "student"
    kind: Literal["prune"] = "prune"
    task: AnyTask
    """Gives the loss that importance taylor reads."""
    student: AnyModel
    """Says what a model is that nothing was cut from."""
    calibration_rows: int = 512
    """Training rows for taylor, and for the statistics of BatchNorm."""
    seed: int = 0
    """Of a student that nothing trained, and of chance."""
    runtimes: tuple[str, ...] | None = None
    """Of a device: what the names of those begin with that will take the file; None: any of them."""

    def uses(self) -> Iterator[str]:
        yield "potstill.compress.prune"

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.compress.prune import plan_pruning, prune, recalibrate
        from potstill.data.dataset import Dataset
        from potstill.models.tools.build import new_model
        from potstill.models.tools.profile import profile
        from potstill.models.tools.saved import save_model
        from potstill.models.tools.sizes import sizes_of
        from potstill.verify.on_device import device_judge

        set_threads(context.options.threads)
        started = time.monotonic()
        dataset = Dataset.open(context.inputs["data"])
        new = begun(self.student, self.seed, dataset, context.inputs.get("student"))
        first = new_model(self.student, data_io(dataset), dataset.stats).module
        reader = _Reader(self.task, dataset, new.preprocess)
        example = (reader.inputs(reader.spread(CHECKED_ROWS)),)
        rows = reader.spread(self.calibration_rows)
        with context.progress.task(context.name, 3, "parts") as shown:
            plan = plan_pruning(
                new.module, example, self, first=first, seed=self.seed, where=context.name,
                gradients=lambda module: reader.gradients(module, self.calibration_rows),
                judge=device_judge(self.budget, new.preprocess.inside, [reader.outside(rows[:2])], self.runtimes),
            )  # fmt: skip
            shown.advance(1)
            prune(new.module, plan, example, context.name)
            shown.advance(1)
            parts = [rows[i : i + MICRO_BATCH] for i in range(0, len(rows), MICRO_BATCH)]
            norms = recalibrate(new.module, [(reader.inputs(part),) for part in parts if len(part) > 1])
            shown.advance(1)
        save_model(context.work, new.module, new.spec, new.data_io, dataset.classes, sizes_of(new.module, first))
        return {
            "steps": 0, "seconds": round(time.monotonic() - started, 3), "importance": self.importance,
            "plan": plan.as_dict(), "recalibrated": {"layers": norms, "rows": len(rows)},
            "profile": profile(new.module, new.io).as_dict(),
            "file_bytes": (context.work / "student.safetensors").stat().st_size,
        }  # fmt: skip


class _Reader:
    """Training rows as the model reads them, not augmented, in an order of their own."""

    def __init__(self, task: Any, dataset: Any, preprocess: Any) -> None:
        self.task, self.split, self.preprocess = task, dataset.splits["train"], preprocess

    def spread(self, num: int, among: Any = None) -> Any:
        """Return at most `num` rows, evenly spread."""
        rows = np.arange(len(self.split), dtype=np.int64) if among is None else among
        return rows[:: -(-len(rows) // num)][:num]

    def outside(self, rows: Any) -> Any:
        """Return what the host gives an exported model."""
        return self.preprocess.outside_numpy(gather(self.split, rows)[0])

    def inputs(self, rows: Any) -> Tensor:
        """Return what the module is called with."""
        read: Tensor = self._batch(rows)[0]
        return read

    def gradients(self, module: nn.Module, num: int) -> Mapping[str, Tensor]:
        """Return the gradient of the mean loss of the hard labels, in eval mode, by the parameter's name."""
        import torch

        rows, objective = self.spread(num, labelled_rows(self.split)), supervised(self.task.output)
        module.eval().requires_grad_(True).zero_grad()
        with torch.enable_grad():
            for start in range(0, len(rows), MICRO_BATCH):
                read, x = self._batch(rows[start : start + MICRO_BATCH])
                x.output = module(read).float()
                mask = objective.mask(x)
                loss = objective.loss(x) if mask is None else objective.loss(x) * mask
                torch.autograd.backward(loss.sum() / len(rows))
        return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    def _batch(self, rows: Any) -> tuple[Any, Any]:
        import torch

        from potstill.data.augment import make_batch
        from potstill.objectives import LossInputs
        from potstill.train.tokens import feed

        batch = make_batch(self.split, rows, 0, (), 0)
        x = LossInputs(output=torch.empty(0), labels_B=batch.labels_B, progress=1.0)
        read = batch.inputs_BX
        if self.task.output == "tokens":
            assert batch.targets_BX is not None
            read = feed(self.preprocess, read, batch.targets_BX, x, torch.device("cpu"))
        elif batch.targets_BX is not None:
            setattr(x, "flags_BK" if batch.targets_BX.ndim == 2 else "targets_BHV", batch.targets_BX)
        with torch.no_grad():
            return self.preprocess(read), x


@steps.register
class PruneStep(StepSpec, PruneSettings):
    """Take channels, units and attention heads out of the student; a distill step after it trains what is left. Cut, train, cut,
    train is written as four steps: each cut counts from the model that nothing was cut from. Needs the extra `prune`."""

    kind: Literal["prune"] = "prune"
    calibration_rows: int = Field(default=512, ge=16)
    """Training rows on which BatchNorm's statistics are taken again after the cut, and taylor takes its gradient."""

    def stage(self, job: StepJob) -> StageSpec:
        own = {name: getattr(self, name) for name in type(self).model_fields if name != "kind"}
        if self._device() is not None:
            assert self.budget is not None
            budget = self.budget.model_copy(update={"int8": self.budget.int8 or job.int8})
            own |= {"budget": budget, "runtimes": job.runtimes}
        return PruneStage(task=job.task, student=job.student, seed=job.seed, **own)

    def _device(self) -> str | None:
        return None if self.budget is None else self.budget.device

    def faults(self, job: StepJob) -> list[tuple[tuple[str | int, ...], str]]:
        trained = [step for step in job.before if step.teaches() is None]
        out: list[tuple[tuple[str | int, ...], str]] = []
        if not trained and _untrained(job.student):
            out.append((("kind",), "cuts the student before anything trained it. Put a step before, {kind: inherit} for the "
                        "teacher or one of kind distill, or give student.weights"))  # fmt: skip
        if self._device() == HOST:
            out.append((("budget", "device"), "must be a device whose figures are modelled; got 'host', the machine that the run is on, which is "
                        "measured only. Compare under a latency here with potstill compare --latency-ms, or give params, macs or bytes"))  # fmt: skip
        if self._device() is not None and job.task.output == "tokens":
            out.append((("budget", "device"), f"must not be given for a model that writes; got {self._device()!r}. What an answer takes depends on "
                        "its length. Give params, macs or bytes"))  # fmt: skip
        earlier = [step for step in trained if isinstance(step, PruneStep)]
        if earlier and self._asks(earlier[-1]):
            out.append(self._asks(earlier[-1])[0])
        return out

    def _asks(self, earlier: PruneStep) -> list[tuple[tuple[str | int, ...], str]]:
        """Return the fault of asking for no more than an earlier step did, where both say it in the same words."""
        if self.ratio is not None and earlier.ratio is not None and self.ratio <= earlier.ratio:
            return [(("ratio",), f"must be more than {earlier.ratio:g}, that of the prune step before; got {self.ratio:g}. A ratio "
                     "is of the model that nothing was cut from")]  # fmt: skip
        if (
            self.budget is None
            or earlier.budget is None
            or self.budget.measure != earlier.budget.measure
            or self._device()
        ):
            return []
        ours, theirs = self.budget.value, earlier.budget.value
        if (ours < 1) == (theirs < 1) and ours >= theirs:
            return [(("budget", self.budget.measure), f"must be less than {theirs:g}, that of the prune step before; got {ours:g}. "
                     "A share is of the model that nothing was cut from")]  # fmt: skip
        return []


def _untrained(student: Any) -> bool:
    """Return whether a new student certainly has chance weights."""
    own = student.kind in ("object", "torch", "transformers")  # may come with weights of their own
    return not own and student.weights is None and student.backbone is None
