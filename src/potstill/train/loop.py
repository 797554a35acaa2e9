"""The training loop. Killed anywhere and resumed, it ends in the same bits. Shapes: B rows, K classes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from potstill.core import rng
from potstill.core.errors import StoreError, TrainingError
from potstill.core.progress import Progress, Task
from potstill.data.augment import AugmentSpec, make_batch
from potstill.data.dataset import Split
from potstill.labels.rows import RowReader, StoreRows
from potstill.models.inputs.preprocess import answers_of
from potstill.objectives import LossInputs, ObjectiveSpec
from potstill.schedules.training import TrainSpec
from potstill.tasks import TaskSpec, Truth
from potstill.train import checkpoint
from potstill.train.balance import EVERY as BALANCE_EVERY
from potstill.train.features import Features, TeacherInside
from potstill.train.interrupt import Interruption
from potstill.train.logs import Log
from potstill.train.optim import build_optimizer, learning_rate, set_learning_rate
from potstill.train.order import Order
from potstill.train.terms import IMBALANCE, Terms, check_first_batch, shares_of
from potstill.train.tokens import feed
from potstill.train.world import World

SHARE_EVERY = 200
"""Steps between two readings of the gradient shares, where nothing balances them."""


@dataclass(frozen=True)
class Fit:
    """One training, whole.

    `rows` are positions in `train` that are visited, None for all of them; a step takes `training.batch_size` of them.
    `num_views` None draws a new view each pass; otherwise pass p reads view p mod num_views, as the store holds it.
    """

    module: nn.Module
    preprocess: nn.Module
    task: TaskSpec
    train: Split
    validation: Split
    classes: list[str]
    """Names in label order; of the variables of values."""
    rows: NDArray[np.int64] | None
    objectives: Sequence[ObjectiveSpec]
    training: TrainSpec
    augment: Sequence[AugmentSpec]
    num_steps: int
    evaluate_every: int
    """Steps."""
    seed: int
    """Of order and dropout; the module comes initialised."""
    augment_seed: int
    work: Path
    name: str
    fingerprint: dict[str, Any]
    num_views: int | None = None
    store: RowReader | None = None
    teacher: TeacherInside | None = None
    """Where objectives read taps: gives the teacher's features of each batch that the student sees."""
    shares: Mapping[str, float] | None = None
    """Of the gradient, by the names of the terms, that balance keeps; None: weights as they are."""
    reveal: bool = False
    """Use labels that are hidden from students (a teacher that may see them)."""
    checkpoint_every_s: float = 20.0
    accept_fingerprint: bool = False
    device: str = "cpu"
    progress: Progress = field(default_factory=lambda: Progress("quiet"))

    @property
    def truth(self) -> Truth:
        """What the validation rows are judged by."""
        return Truth.of_split(self.validation, self.classes)


class _State:
    """What a checkpoint holds beside the modules."""

    def __init__(self) -> None:
        self.step = 0
        self.best_score = -math.inf
        self.best_step = 0
        self.stale = 0
        self.stopped = False
        self.seconds = 0.0
        self.shares: dict[str, float] = {}


class Trainer:
    """Runs a `Fit`, from its checkpoint if there is one."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.world = World(fit.device)
        self.module = fit.module.to(self.world.device)
        self.preprocess = fit.preprocess.to(self.world.device)
        self.terms = Terms(fit.objectives, self.world, fit.shares)
        self.look_every = SHARE_EVERY if fit.shares is None else BALANCE_EVERY
        self.features = Features(
            dict(zip(self.terms.names, fit.objectives, strict=True)), self.module, self.preprocess, fit.teacher,
            self._sample(), fit.seed,
        )  # fmt: skip
        both = [*self.module.parameters(), *self.features.adapters.parameters()]
        self.parameters = [p for p in both if p.requires_grad]
        self.optimizer = build_optimizer(fit.training, both)
        rows = len(fit.train) if fit.rows is None else fit.rows
        self.order = Order(rows, fit.training.batch_size, fit.seed, self.world.size, self._labels_to_balance())
        self.ema = checkpoint.module_state(self.module) if fit.training.ema else None
        self.best: dict[str, Tensor] | None = None
        self.keep_best = fit.training.keep == "best" or fit.training.patience is not None
        self.warned = False
        self.state = _State()
        self._resume()

    def run(self, until: int | None = None) -> dict[str, Any]:
        """Train to the end and leave the kept weights in `fit.module`.

        Args:
            until: pause after this many steps, with all that was done saved and the weights as they are; None: the end.

        Returns:
            Facts: steps taken, seconds, best validation score and its step.

        Raises:
            TrainingError: a loss is not finite.
            StoreError: the checkpoint is damaged or of another numerics fingerprint.
            KeyboardInterrupt: on Ctrl-C, after the step in hand was saved.
        """
        state, fit = self.state, self.fit
        log = Log(fit.work, state.step) if self.world.rank == 0 else None
        self.module.train()
        saved_at = time.monotonic()
        last = fit.num_steps if until is None else min(until, fit.num_steps)
        with Interruption() as interruption, fit.progress.task(fit.name, last, "steps") as shown:
            shown.resume_at(state.step)
            while state.step < last and not state.stopped:
                started = time.monotonic()
                loss = self._step(state.step)
                state.step += 1
                state.seconds += time.monotonic() - started
                if state.step % fit.evaluate_every == 0 or state.step == fit.num_steps:
                    self._evaluate(loss, log, shown)
                shown.advance(1)
                due = time.monotonic() - saved_at > fit.checkpoint_every_s
                if self.world.agree(due or interruption.asked):
                    self._save()
                    saved_at = time.monotonic()
                    if self.world.agree(interruption.asked):
                        raise KeyboardInterrupt
        if log:
            log.close()
        self._load_kept() if until is None else self._save()
        facts: dict[str, Any] = {"steps": state.step, "seconds": round(state.seconds, 3)}
        if math.isfinite(state.best_score):
            facts |= {"best_validation": state.best_score, "best_step": state.best_step}
        if self.features:
            facts["taps"] = self.features.facts()
        return facts

    def _labels_to_balance(self) -> NDArray[Any] | None:
        """Return the labels of the rows visited, hidden ones as -1, where every class is to be as frequent."""
        if self.fit.training.sampling == "uniform":
            return None
        train = self.fit.train
        labels = (
            np.asarray(train.labels) if self.fit.reveal else np.where(np.asarray(train.labelled) != 0, train.labels, -1)
        )
        return labels if self.fit.rows is None else labels[self.fit.rows]

    def _sample(self) -> Tensor | None:
        """Return [2, *X] inputs for the dry run that finds the shapes of taps; None where no term has any."""
        if all(o.needs().taps is None for o in self.fit.objectives):
            return None
        rows = np.resize(np.arange(len(self.fit.train)) if self.fit.rows is None else self.fit.rows, 2)
        return make_batch(self.fit.train, rows, 0, (), 0).inputs_BX.to(self.world.device)

    def _inputs(self, step: int) -> tuple[Tensor, tuple[int, NDArray[np.int64]], LossInputs]:
        fit = self.fit
        number, rows_B = self.order.at(step)
        rows_B = rows_B[self.world.share(len(rows_B))]
        view = number if fit.num_views is None else number % fit.num_views
        # A teacher's store was mixed over the whole split; without one, rows that may not be visited are no partners.
        partners = fit.rows if fit.store is None else None
        batch = make_batch(
            fit.train, rows_B, view, fit.augment, fit.augment_seed, reveal=fit.reveal, partner_rows=partners
        )
        device = self.world.device
        inputs = LossInputs(
            output=torch.empty(0),
            labels_B=batch.labels_B.to(device),
            progress=step / fit.num_steps,
            teacher=StoreRows(fit.store, view, rows_B, device) if fit.store is not None else None,
            partner_labels_B=None if batch.partner_labels_B is None else batch.partner_labels_B.to(device),
            mix_B=None if batch.mix_B is None else batch.mix_B.to(device),
            weights_B=None if batch.weights_B is None else batch.weights_B.to(device),
        )
        if fit.task.output == "tokens":
            assert batch.targets_BX is not None
            return feed(self.preprocess, batch.inputs_BX, batch.targets_BX, inputs, device), (view, rows_B), inputs
        if batch.targets_BX is not None:
            field_name = "flags_BK" if batch.targets_BX.ndim == 2 else "targets_BHV"
            setattr(inputs, field_name, batch.targets_BX.to(device))
        return batch.inputs_BX.to(device), (view, rows_B), inputs

    def _step(self, step: int) -> Tensor:
        fit, spec = self.fit, self.fit.training
        self.world.seed(rng.seed_of(fit.seed, step, self.world.rank))
        read, seen, inputs = self._inputs(step)
        with self._precision(), self.features.captured:
            output = self.module(self.preprocess(read))
        inputs.output = output.float()
        total, terms = self.terms.loss(inputs, self.features.views(inputs, read, *seen))
        if step % self.look_every == 0:
            self._look(step, total, terms, inputs.output)
        if not math.isfinite(float(total.detach())):
            values = {name: float(term.detach()) for name, term in terms.items()}
            raise TrainingError(
                f"{fit.name}: the loss must stay finite; got {values} at step {step}. The last checkpoint is kept. "
                "Lower learning_rate, or set clip_norm."
            )
        for parameter in self.parameters:
            parameter.grad = None
        total.backward()  # type: ignore[no-untyped-call]
        self.world.sum_gradients(self.parameters)
        if spec.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, spec.clip_norm)
        set_learning_rate(self.optimizer, learning_rate(spec, step, fit.num_steps))
        self.optimizer.step()
        self.world.same_buffers(self.module)
        if self.ema is not None and spec.ema is not None:
            self._average(spec.ema)
        return total.detach()

    def _precision(self) -> AbstractContextManager[Any]:
        if self.fit.training.precision == "float32":
            return nullcontext()
        return torch.autocast(self.world.device.type, torch.bfloat16)

    def _look(self, step: int, total: Tensor, terms: dict[str, Tensor], logits: Tensor) -> None:
        """Check the first batch, read each term's share of the gradient (at the logits, or at the student's weights where a
        term reads its features), and balance the terms from the next step on."""
        at, place = [logits], "logits"
        if self.features:
            at, place = [p for p in self.module.parameters() if p.requires_grad], "weights"
        if step == 0:
            check_first_batch(terms, total, at, place, self.terms.warms_up, {"rows": len(logits)})
        if len(terms) == 1:
            return
        norms = self.terms.norms(terms, at, parts=not self.features)
        shares = self.state.shares = shares_of(norms)
        if self.terms.balance is not None:
            self.terms.balance.update(norms)
            return
        active = [s for s in shares.values() if s > 0]
        if active and max(active) > IMBALANCE * min(active) and self.world.rank == 0 and not self.warned:
            self.warned = True  # once: the log has every reading
            text = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            self.fit.progress.warn(
                self.fit.name, f"gradient shares at the {place}, step {step}: {text}. Change weight?"
            )

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        assert self.ema is not None
        # Early on, a short memory: otherwise the average is mostly the initial weights.
        decay = min(decay, (1 + self.state.step) / (10 + self.state.step))
        for name, value in self.module.state_dict().items():
            value = value.detach().cpu()
            if value.dtype.is_floating_point:
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def _evaluate(self, loss: Tensor, log: Log | None, shown: Task) -> None:
        fit, state = self.fit, self.state
        score = self._score()
        if score is not None:
            if score > state.best_score:
                state.best_score, state.best_step, state.stale = score, state.step, 0
                if self.keep_best:
                    self.best = self._current()
            else:
                state.stale += 1
            state.stopped = fit.training.patience is not None and state.stale >= fit.training.patience
        progress = state.step / fit.num_steps
        record = {
            "step": state.step,
            "epoch": round(state.step / fit.evaluate_every * fit.training.evaluate_every, 4),
            "loss": float(self.world.sum(loss)),
            "validation": score,
            "learning_rate": learning_rate(fit.training, max(state.step - 1, 0), fit.num_steps),
            "steps_per_second": round(state.step / max(state.seconds, 1e-9), 2),
            "terms": self.terms.readings(progress, state.shares),
        }
        if log:
            log.write(record)
            shown.note = "" if score is None else f"validation {score:.3f}"

    def _score(self) -> float | None:
        """Return the headline metric of the weights that would be kept, or None without validation rows."""
        if len(self.fit.validation) == 0:
            return None
        return float(self.fit.task.correct(self.judged(), self.fit.truth).mean())

    def judged(self) -> NDArray[Any]:
        """Return [N, *X] outputs on the validation rows, of the weights that would be kept now."""
        live = checkpoint.module_state(self.module) if self.ema is not None else None
        if self.ema is not None:
            self.module.load_state_dict(self.ema)
        outputs = predict(self.module, self.preprocess, self.fit.validation)
        if live is not None:
            self.module.load_state_dict(live)
        return outputs

    def _current(self) -> dict[str, Tensor]:
        if self.ema is not None:
            return {k: v.clone() for k, v in self.ema.items()}
        return checkpoint.module_state(self.module)

    def _load_kept(self) -> None:
        kept = self.best if self.keep_best and self.best is not None else self._current()
        self.module.load_state_dict(kept)
        self.module.cpu().eval()

    def _save(self) -> None:
        if self.world.rank != 0:
            return
        groups = {
            "module": checkpoint.module_state(self.module),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            "terms": self.terms.state(),
            "adapters": checkpoint.module_state(self.features.adapters),
        }
        if self.terms.balance is not None:
            groups["balance"] = self.terms.balance.state()
        if self.ema is not None:
            groups["ema"] = self.ema
        if self.best is not None:
            groups["best"] = self.best
        position = {k: v for k, v in vars(self.state).items() if k != "best_score"}
        position["best_score"] = self.state.best_score if math.isfinite(self.state.best_score) else None
        position["fingerprint"] = self.fit.fingerprint
        checkpoint.write(self.fit.work, groups, position)

    def _resume(self) -> None:
        found = checkpoint.read(self.fit.work)
        if found is None:
            return
        groups, position = found
        theirs = position.pop("fingerprint")
        if theirs != self.fit.fingerprint and not self.fit.accept_fingerprint:
            changed = [k for k in theirs if theirs[k] != self.fit.fingerprint.get(k)]
            raise StoreError(
                f"{self.fit.name}: must resume under the numerics it started with; got another {', '.join(changed)} "
                f"({[theirs[k] for k in changed]} before, {[self.fit.fingerprint.get(k) for k in changed]} now). The "
                "student would differ in its last bits. Resume where it began, pass --accept-fingerprint, or delete "
                f"{self.fit.work} to start this training over."
            )
        best = position.pop("best_score")
        self.state.best_score = -math.inf if best is None else best
        for name, value in position.items():
            setattr(self.state, name, value)
        self.module.load_state_dict(groups["module"])
        self.features.adapters.load_state_dict(groups.get("adapters", {}))
        checkpoint.load_optimizer(self.optimizer, groups.get("optimizer", {}))
        self.terms.restore(groups["terms"])
        if self.terms.balance is not None:
            self.terms.balance.restore(groups["balance"])
        if self.ema is not None:
            self.ema = groups["ema"]
        self.best = groups.get("best")


@torch.inference_mode()
def predict(module: nn.Module, preprocess: nn.Module, split: Split, batch_size: int = 256) -> NDArray[Any]:
    """Return [N, K] or [N, H, V] float32 outputs of a split, or texts [N, W] uint8, in eval mode, without augmentation."""
    was_training = module.training
    module.eval()
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    outputs = []
    for start in range(0, len(split), batch_size):
        rows = np.arange(start, min(start + batch_size, len(split)), dtype=np.int64)
        inputs = make_batch(split, rows, 0, (), 0, reveal=True).inputs_BX.to(device)
        outputs.append(answers_of(module, preprocess, inputs))
    module.train(was_training)
    return np.concatenate(outputs)
