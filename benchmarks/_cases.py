"""Data, teachers and students of the speed benchmarks, with the recipes' own settings."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _measure import KEPT
from pydantic import TypeAdapter
from safetensors.torch import save_file

from potstill.core import rng
from potstill.core.fingerprint import fingerprint
from potstill.core.progress import Progress
from potstill.data import AnyData
from potstill.data._prepare import META
from potstill.data.augment import AnyAugment, AugmentSpec
from potstill.data.dataset import Dataset, prepare
from potstill.labels.codecs import AnyCodec, CodecSpec
from potstill.labels.live import LiveStore
from potstill.labels.rows import RowReader
from potstill.labels.store import LabelStore
from potstill.labels.writer import write_store
from potstill.models import AnyModel
from potstill.models.tools.build import NewModel, new_model
from potstill.models.tools.saved import load_weights
from potstill.objectives import AnyObjective, ObjectiveSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.schedules.training import TrainSpec
from potstill.stages._parts import MICRO_BATCH, data_io, label_batches
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers._torch import TorchLabeller
from potstill.train.loop import Fit, Trainer

DATA = Path(os.environ.get("POTSTILL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FASHION = {"kind": "idx", "path": "/usr/share/datasets/fashion-mnist", "limit": 20000}
CIFAR = {
    "kind": "parquet", "train": str(DATA / "cifar10/train.parquet"), "test_file": str(DATA / "cifar10/test.parquet"),
    "limit": 5000, "overlap": "drop",
}  # fmt: skip


def of(kind: Any, value: Any) -> Any:
    """Return the Spec that a dict describes."""
    return TypeAdapter(kind).validate_python(value)


def objective(value: dict[str, Any]) -> ObjectiveSpec:
    """Return one term of the loss."""
    made: ObjectiveSpec = of(AnyObjective, value)
    return made


@dataclass(frozen=True)
class Case:
    """One student on one data set."""

    name: str
    data: dict[str, Any]
    student: dict[str, Any]
    teacher: dict[str, Any]
    batch_size: int
    augment: tuple[dict[str, Any], ...]
    codec: str
    views: int
    temperature: float = 2.0
    learning_rate: float = 0.01
    teacher_epochs: int = 0
    """Of the teacher's own training on hard labels; 0 leaves it random, which costs the same time."""

    def training(self, epochs: int = 1) -> TrainSpec:
        """AdamW, cosine, warm-up."""
        return TrainSpec(epochs=epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)

    def ops(self) -> list[AugmentSpec]:
        """The augmentation."""
        return [of(AnyAugment, a) for a in self.augment]

    def objectives(self) -> list[ObjectiveSpec]:
        """KL at T, times T squared: nothing else."""
        return [objective({"kind": "soft-label", "temperature": self.temperature})]

    def dataset(self) -> Dataset:
        """Return the prepared data, kept between calls."""
        folder = KEPT / f"data-{self.name}"
        if not (folder / META).exists():
            folder.mkdir(parents=True, exist_ok=True)
            prepare(of(AnyData, self.data), folder, Progress("quiet"))
        return Dataset.open(folder)

    def model(self, dataset: Dataset, which: str = "student", seed: int = 0) -> NewModel:
        """Return a new student, or the teacher."""
        torch.manual_seed(rng.seed_of(seed, "init"))
        new = new_model(of(AnyModel, getattr(self, which)), data_io(dataset), dataset.stats)
        if which == "teacher" and self.teacher_epochs:
            self._teach(new, dataset)
        return new

    def _teach(self, new: NewModel, dataset: Dataset) -> None:
        weights = KEPT / f"teacher-{self.name}.safetensors"
        if not weights.exists():
            steps = self.teacher_epochs * -(-len(dataset.splits["train"]) // self.batch_size)
            with tempfile.TemporaryDirectory() as work:
                fit = self.fit(dataset, None, steps, Path(work))
                Trainer(replace(fit, module=new.module, preprocess=new.preprocess)).run()
            save_file({k: v.contiguous() for k, v in new.module.state_dict().items()}, weights)
        load_weights(new.module, weights, "teacher")

    def label(self, dataset: Dataset) -> Any:
        """Return (rows, view) -> the teacher's outputs."""
        made = self.model(dataset, "teacher")
        labeller = TorchLabeller(made.module, made.preprocess, "logits", len(dataset.classes))
        return label_batches(labeller, dataset.splits["train"], self.ops(), 0)

    def store(self, dataset: Dataset, folder: Path | None = None) -> LabelStore:
        """Return the teacher's labels, written into `folder` if they are not there; None keeps them between calls."""
        folder = folder or KEPT / f"labels-{self.name}"
        write_store(
            folder, self.label(dataset), num_rows=len(dataset.splits["train"]), shape=(len(dataset.classes),),
            views=self.views, codec=self._codec(), output="logits", identity={},
            fingerprint=fingerprint(torch.get_num_threads(), "cpu", "float32", 1), micro_batch=MICRO_BATCH,
            accept_fingerprint=True,
        )  # fmt: skip
        return LabelStore.open(folder)

    def live(self, dataset: Dataset) -> LiveStore:
        """Return a store whose teacher runs while the student trains."""
        return LiveStore(
            self.label(dataset), num_rows=len(dataset.splits["train"]), num_classes=len(dataset.classes),
            views=self.views, codec=self._codec(), output="logits", micro_batch=MICRO_BATCH,
        )  # fmt: skip

    def fit(
        self, dataset: Dataset, store: RowReader | None, steps: int, work: Path, every: int | None = None, seed: int = 0
    ) -> Fit:
        """Return a training of the student on a store's labels; without a store, on hard labels.

        Args:
            dataset: prepared.
            store: on disk or live.
            steps: of the optimiser.
            work: the trainer's folder.
            every: steps between evaluations; None evaluates once, at the end.
            seed: of first weights and order.
        """
        new = self.model(dataset, seed=seed)
        return Fit(
            module=new.module, preprocess=new.preprocess, task=ImageClassificationSpec(), train=dataset.splits["train"],
            validation=dataset.splits["validation"], classes=dataset.classes,
            rows=None,
            objectives=self.objectives() if store is not None else [HardLabelSpec()], training=self.training(),
            augment=self.ops(), num_steps=steps, evaluate_every=every or steps, seed=seed, augment_seed=0, work=work,
            name=self.name, fingerprint={}, num_views=self.views, store=store,
        )  # fmt: skip

    def _codec(self) -> CodecSpec:
        codec: CodecSpec = of(AnyCodec, {"kind": self.codec})
        return codec


SHIFT_FLIP = ({"kind": "shift", "pixels": 2}, {"kind": "flip"})
CASES = {
    "digits": Case(
        "digits", {"kind": "digits", "test": 0.35}, {"kind": "ds-cnn", "width": 8, "depth": 2, "downsample": 1},
        {"kind": "resnet", "depth": 8, "width": 16}, 32, SHIFT_FLIP[:1], "float16", 8,
    ),
    "fashion": Case(
        "fashion", FASHION, {"kind": "ds-cnn", "width": 16, "depth": 3, "downsample": 1, "stem_stride": 2},
        {"kind": "resnet", "depth": 8, "width": 16}, 128, SHIFT_FLIP, "int8-affine", 4,
    ),
    "cifar": Case(
        "cifar", CIFAR, {"kind": "resnet", "depth": 8, "width": 16},
        {"kind": "resnet", "depth": 20, "width": 16}, 128, SHIFT_FLIP, "float16", 4,
    ),
}  # fmt: skip
CASES["fashion-vit"] = replace(
    CASES["fashion"],
    name="fashion",
    student={"kind": "vit", "dim": 32, "depth": 2},
    teacher={"kind": "vit", "dim": 64, "depth": 4},
)
CASES["fashion-job"] = replace(
    CASES["fashion"], name="fashion-job", data={**FASHION, "limit": 5000}, views=2, teacher_epochs=6
)
