"""What gain.py trains: arms, data sets with their teachers and students, and the order of trainings."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from _gain_more import CELLS, FILES, MORE

SOURCES = {
    "fashion-mnist": "/usr/share/datasets/fashion-mnist",
    "cifar10": "${POTSTILL_DATA}/cifar10/test.parquet",
    **FILES,
}


def _soft(temperature: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "soft-label", "temperature": temperature, **more}


def _fall(kind: str) -> dict[str, Any]:
    return {"kind": kind, "start": 4.0, "end": 1.0}


def _beside(first: dict[str, Any], *others: str) -> dict[str, list[dict[str, Any]]]:
    """Return an arm for each other kind, at its paper's weight."""
    short = "T=1" if first["kind"] == "soft-label" else "hard"
    return {f"{kind} + {short}": [{"kind": kind}, first] for kind in others}


ARMS: dict[str, list[dict[str, Any]] | str] = {
    "hard-label": [{"kind": "hard-label"}],
    "label-smoothing": [{"kind": "hard-label", "smoothing": 0.1}],
    "hard-pseudo-label": [{"kind": "hard-pseudo-label"}],
    "T=1": [_soft(1.0)],
    "T=2": [_soft(2.0)],
    "T=4": [_soft(4.0)],
    "standardised T=2": [_soft(2.0, standardize=True)],
    "logit-mse": [{"kind": "logit-mse"}],
    "0.9 T=2 + 0.1 hard": [_soft(2.0, weight=0.9), {"kind": "hard-label", "weight": 0.1}],
    "0.9 T=4 + 0.1 hard": [_soft(4.0, weight=0.9), {"kind": "hard-label", "weight": 0.1}],
    "T 4→1 linear": [_soft(_fall("linear"))],
    "T 4→1 exponential": [_soft(_fall("exponential"))],
    **_beside({"kind": "hard-label"}, "dkd", "dist", "nkd", "wttm"),
    **_beside(_soft(1.0), "feature-l2", "attention-transfer", "similarity-preserving", "feature-correlation", "rkd"),
    "auto": "auto",
}
MAIN = tuple(ARMS)[:9]
BASIC = ("hard-label", "T=1", "T=2", "T=4")
CORE = (*BASIC, "standardised T=2", "logit-mse")
SCHEDULES = ("T 4→1 linear", "T 4→1 exponential")
PAPERS = tuple(a for a in ARMS if a.endswith(" + hard"))
FEATURES = tuple(a for a in ARMS if a.endswith(" + T=1"))
FINAL = ("hard-label", "T=1", "standardised T=2", "auto")
"""Arms that get ten replicates first."""
GRID = ("digits", "fashion-mnist", "cifar10")
"""Tasks over which arms are averaged."""


@dataclass(frozen=True)
class Task:
    """A data set with its teacher and how students are trained on it."""

    data: dict[str, Any]
    augment: list[dict[str, Any]]
    teacher: dict[str, Any]
    students: tuple[dict[str, Any], ...]
    training: dict[str, Any]
    views: int
    few: int | None = None
    """Labels where they are few, validation included unless the data has such a split; None: never few."""
    new_splits: bool = False
    """Replicate r draws split r and trains its own teacher, instead of only another seed."""
    folds: tuple[dict[str, Any], ...] = ()
    """Of new splits: what the data is told in replicate r, instead of split_seed r."""
    task: dict[str, Any] = field(default_factory=dict)
    """The recipe's task; empty for images."""
    arms: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Its own arms, where those of classes do not suit it."""


def _ds_cnn(width: int, depth: int, downsample: int, stem_stride: int = 1) -> dict[str, Any]:
    return {"kind": "ds-cnn", "width": width, "depth": depth, "downsample": downsample, "stem_stride": stem_stride}


_FASHION = {
    "kind": "idx", "path": SOURCES["fashion-mnist"], "limit": 5000,
    "classes": ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"],
}  # fmt: skip

TASKS = {
    "digits": Task(
        data={"kind": "digits", "validation": 0.1, "test": 0.35},
        augment=[{"kind": "shift", "pixels": 1}],
        teacher={"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 16},
                 "training": {"epochs": 30, "batch_size": 32, "evaluate_every": 30}},
        students=(_ds_cnn(12, 1, 0), _ds_cnn(8, 2, 1), _ds_cnn(16, 3, 1)),
        training={"epochs": 40, "batch_size": 64, "learning_rate": 0.01},
        few=200, views=8, new_splits=True,
    ),
    "fashion-mnist": Task(
        data=_FASHION,
        augment=[{"kind": "shift", "pixels": 2}, {"kind": "flip"}],
        teacher={"kind": "train", "model": {"kind": "resnet", "depth": 8, "width": 16},
                 "training": {"epochs": 15, "batch_size": 128, "learning_rate": 0.005, "evaluate_every": 15}},
        students=(_ds_cnn(8, 3, 1, 2), _ds_cnn(16, 3, 1, 2), _ds_cnn(32, 3, 1, 2)),
        training={"epochs": 12, "batch_size": 128, "learning_rate": 0.01},
        few=750, views=4,
    ),
    "cifar10": Task(
        data={"kind": "parquet", "train": "${POTSTILL_DATA}/cifar10/train.parquet",
              "test_file": SOURCES["cifar10"], "limit": 4000, "overlap": "drop",
              "classes": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]},
        augment=[{"kind": "shift", "pixels": 4}, {"kind": "flip"}],
        teacher={"kind": "zoo", "model": {
            "kind": "resnet", "depth": 20, "shortcut": "pad",
            "weights": "${POTSTILL_DATA}/models/cifar10_resnet/resnet20.safetensors",
            "input": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}},
        students=(_ds_cnn(8, 3, 1, 2), _ds_cnn(16, 3, 1, 2), _ds_cnn(32, 3, 1, 2)),
        training={"epochs": 15, "batch_size": 128, "learning_rate": 0.01},
        few=600, views=4,
    ),
    "fashion-mnist-vit-to-mobilenet": Task(
        data=_FASHION,
        augment=[{"kind": "shift", "pixels": 2}, {"kind": "flip"}],
        teacher={"kind": "train", "model": {"kind": "vit", "dim": 64, "depth": 4},
                 "training": {"epochs": 30, "batch_size": 128, "learning_rate": 0.002, "evaluate_every": 30}},
        students=({"kind": "mobilenet-v2", "width": 0.25, "depth": 0.5},),
        training={"epochs": 12, "batch_size": 128, "learning_rate": 0.01},
        few=750, views=4,
    ),
}  # fmt: skip

_FOREIGN = TASKS["cifar10"].teacher["model"]
# The same foreign teacher, no longer under shift: fine-tuned here.
TASKS["cifar10-tuned"] = replace(TASKS["cifar10"], teacher={
    "kind": "train", "model": _FOREIGN,
    "training": {"epochs": 10, "batch_size": 128, "learning_rate": 0.0005, "evaluate_every": 10},
})  # fmt: skip
IMAGES = tuple(TASKS)
TASKS |= {name: Task(**settings) for name, settings in MORE.items()}


@dataclass(frozen=True)
class Training:
    """One training: a cell (task, share of labels, student, length), an arm, a replicate."""

    task: str
    share: str
    """all; few: the teacher saw every label (or is foreign); few-own: it saw those few only."""
    student: int
    arm: str
    replicate: int
    times: int = 1
    """Epochs as a multiple of the task's."""
    views: int | None = None
    """Labelled views; None takes the task's."""

    @property
    def cell(self) -> str:
        """Name what is compared within."""
        more = f" ×{self.times}" if self.times > 1 else ""
        return f"{self.task} {self.share} {self.student}{more}"

    @property
    def label(self) -> str:
        """Name the arm, and how many views if not the usual number."""
        return self.arm if self.views is None else f"{self.arm}, {self.views} views"

    def recipe(self) -> dict[str, Any]:
        """Return the recipe in which the arm is the student."""
        task = TASKS[self.task]
        split = {"split_seed": self.replicate} if task.new_splits else {}
        if task.folds:
            split = task.folds[self.replicate]
        few = {} if self.share == "all" else {"labelled": task.few}
        hidden = {"labels": "all"} if self.share == "few" and task.teacher["kind"] == "train" else {}
        epochs = task.training["epochs"] * self.times
        training = {**task.training, "epochs": epochs, "evaluate_every": epochs}  # validation decides nothing here
        first = self.replicate if task.new_splits and not task.folds else 0  # a fold tells splits apart already
        return {
            "name": self.task,
            **({"task": task.task} if task.task else {}),
            "data": {**task.data, **split, **few},
            "augment": task.augment,
            "teacher": {**task.teacher, **hidden},
            "labels": {"views": self.views or task.views, "codec": {"kind": "float16"}},
            "student": task.students[self.student],
            "steps": [{"kind": "distill", "objectives": (task.arms or ARMS)[self.arm], "training": training}],
            "controls": ["hard-label"] if self.arm == "auto" else [],
            "seed": first,
            "seeds": self.replicate - first + 1,
            "export": [],
        }

    @property
    def id(self) -> str:
        """Name this training by everything that decides it, but for source and machine."""
        from potstill.core.hashing import digest_json

        return digest_json([self.recipe(), self.replicate])[:16]


def plan(only: list[str] | None = None) -> list[Training]:
    """Return every training, the most telling and cheapest first."""
    out: list[Training] = []

    def grid(task: str, replicates: range, arms: tuple[str, ...], shares: tuple[str, ...] = ("few", "all"),
             students: tuple[int, ...] = (0, 1, 2), **more: Any) -> None:  # fmt: skip
        out.extend(
            Training(task, share, student, arm, r, **more)
            for r in replicates for student in students for share in shares for arm in arms
        )  # fmt: skip

    few, small = ("few",), (0, 1)
    screen, more = range(3), range(3, 10)
    grid("digits", screen, CORE)
    grid("fashion-mnist", screen, BASIC, students=(1,))
    grid("fashion-mnist", screen, BASIC, students=small)
    grid("cifar10", screen, BASIC, students=(1,))
    grid("digits", screen, (*MAIN, *SCHEDULES))
    grid("fashion-mnist", screen, CORE, students=small)
    # A teacher that knows no more labels than the student: is it the hidden labels that help?
    grid("digits", screen, BASIC, ("few-own",))
    # Long and patient (Beyer et al. 2022): four times the epochs, with the usual few views or one for each pass.
    grid("digits", screen, ("hard-label", "T=1"), few, students=small, times=4)
    grid("digits", screen, ("T=1",), few, students=small, times=4, views=160)
    for task in GRID:
        grid(task, screen, (*BASIC, "auto"))
    for task in GRID:
        grid(task, screen, (*PAPERS, *CORE))
    for task in ("digits", "fashion-mnist"):
        grid(task, screen, FEATURES, students=(1,))
    grid("fashion-mnist-vit-to-mobilenet", range(2), ("hard-label", "T=1", *FEATURES), ("all",), students=(0,))
    for r in more:
        for task in ("digits", "fashion-mnist"):
            grid(task, range(r, r + 1), FINAL)
    for share in ("all", "few"):
        grid("fashion-mnist-vit-to-mobilenet", screen, ("hard-label", "T=1", *FEATURES), (share,), students=(0,))
    grid("cifar10-tuned", screen, BASIC, students=(1,))
    for r in more:
        grid("cifar10", range(r, r + 1), FINAL)
    grid("cifar10", screen, FEATURES, students=(1,))
    grid("digits", more, (*CORE, *SCHEDULES))
    grid("fashion-mnist", screen, (*MAIN, *SCHEDULES), few, students=small)
    grid("fashion-mnist", screen, BASIC, ("few-own",), students=small)
    for task in GRID:
        grid(task, more, CORE)
    out += _beyond_images()
    for task, source in SOURCES.items():
        if not Path(os.path.expandvars(source)).exists():
            print(f"{task}: left out, {source} is not here", file=sys.stderr)
            out = [t for t in out if not t.task.startswith(task)]
    return [t for t in dict.fromkeys(out) if not only or t.task in only]


def _beyond_images() -> list[Training]:
    """Return the trainings of text, sound and series: what the goals of auto are tested on comes first."""
    core, more = ("hard-label", "T=1", "auto"), ("T=2", "wttm + hard")
    first, then = [], []
    for task, share in CELLS:
        spec = TASKS[task]
        for out, arms in ((first, tuple(spec.arms) or core), (then, () if spec.arms else more)):
            out += [Training(task, share, 0, arm, r) for r in range(len(spec.folds) or 3) for arm in arms]
    return first + then
