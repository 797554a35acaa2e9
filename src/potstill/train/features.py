"""What terms on features read: taps of the student and of a teacher, which runs live or whose features are stored, joined by
adapters. Shapes: B rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from potstill.core import rng
from potstill.core.errors import TrainingError
from potstill.labels.store import LabelStore
from potstill.objectives import LossInputs, ObjectiveSpec
from potstill.taps.adapters import Joint
from potstill.taps.capture import Capture
from potstill.taps.pairing import Pair, resolve
from potstill.taps.places import Place, list_places
from potstill.train.tokens import tap_masks

Read = Callable[[Tensor, int, NDArray[np.int64]], dict[str, Tensor]]
"""(pixels [B, C, H, W] in [0, 1], view, rows [B]) -> the teacher's features of these rows, by the name of the place."""


class TeacherInside(Protocol):
    """Where a teacher's features come from."""

    def places(self, sample_BCHW: Tensor) -> list[Place]:
        """Return what can be read, for pixels [2, C, H, W] in [0, 1]."""
        ...

    def reader(self, places: Sequence[Place]) -> Read:
        """Return the function that reads a batch at these places."""
        ...


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that is a torch module here."""

    module: nn.Module
    preprocess: nn.Module
    """Pixels in [0, 1] at the data's size -> what the module reads."""

    def places(self, sample_BCHW: Tensor) -> list[Place]:
        """Return every place, found by a dry run; leaves the module at rest on the sample's device."""
        self.module.to(sample_BCHW.device).eval().requires_grad_(False)
        self.preprocess.to(sample_BCHW.device)
        return list_places(self.module, self.preprocess(sample_BCHW), "teacher")

    def reader(self, places: Sequence[Place]) -> Read:
        """Return a function that runs the teacher on the very pixels, as far as the last place."""
        captured = Capture(self.module, places, "teacher", stop=True)

        def read(pixels_BCHW: Tensor, view: int, rows_B: NDArray[np.int64]) -> dict[str, Tensor]:
            with torch.no_grad(), captured:
                self.module(self.preprocess(pixels_BCHW))
            return captured.take()

        return read


@dataclass(frozen=True)
class StoredTeacher:
    """A teacher whose features were written before: no module is loaded."""

    stores: Mapping[str, LabelStore]
    """By the name of the place."""

    def places(self, sample_BCHW: Tensor) -> list[Place]:
        """Return the places that are stored; only their names and shapes are known."""
        return [Place(n, s.shape, "stored", False, False, False, 1) for n, s in self.stores.items()]

    def reader(self, places: Sequence[Place]) -> Read:
        """Return a function that reads the batch's rows from disk, widened to float32."""
        stores = {place.name: self.stores[place.name] for place in places}

        def read(pixels_BCHW: Tensor, view: int, rows_B: NDArray[np.int64]) -> dict[str, Tensor]:
            values = {name: torch.from_numpy(store.values(view, rows_B)) for name, store in stores.items()}
            return {n: v.view(len(v), *stores[n].shape).to(pixels_BCHW.device) for n, v in values.items()}

        return read


@dataclass(frozen=True)
class _Joined:
    pair: Pair
    joint: Joint


class Features:
    """Pairs, adapters and captures of one training; empty, and costing nothing, where no term reads taps.

    Args:
        terms: objectives by the names of their terms.
        module: the student.
        preprocess: its own.
        teacher: what its features are read from; needed where a term reads taps.
        sample_BCHW: [2, C, H, W] pixels in [0, 1] for the dry run; None where no term reads taps.
        seed: of the adapters' initial weights, with the term's name and the pair's number.
    """

    def __init__(
        self, terms: Mapping[str, ObjectiveSpec], module: nn.Module, preprocess: nn.Module, teacher: TeacherInside | None,
        sample_BCHW: Tensor | None, seed: int,
    ) -> None:  # fmt: skip
        self._joined: dict[str, list[_Joined]] = {}
        self.adapters = nn.ModuleDict()
        """The trainable sides, by term; in the checkpoint, never in the student."""
        self._teacher, self._module = teacher, module
        if sample_BCHW is not None:
            self._pair(terms, module, preprocess, sample_BCHW, seed)
        pairs = [j.pair for group in self._joined.values() for j in group]
        ours, theirs = {p.student.name: p.student for p in pairs}, {p.teacher.name: p.teacher for p in pairs}
        self.captured = Capture(module, list(ours.values()), "student")
        """Wrap the student's forward pass in it, then ask for `views`."""
        self._read = None if teacher is None else teacher.reader(list(theirs.values()))

    def __bool__(self) -> bool:
        return bool(self._joined)

    def _pair(
        self, terms: Mapping[str, ObjectiveSpec], module: nn.Module, preprocess: nn.Module, sample: Tensor, seed: int
    ) -> None:
        if self._teacher is None:
            raise TrainingError(
                "training: needs a teacher that is a torch module, since a term reads features; got none."
            )
        ours, theirs = list_places(module, preprocess(sample), "student"), self._teacher.places(sample)
        for term, objective in terms.items():
            needs = objective.needs()
            if needs.taps is not None:
                pairs = resolve(needs.taps, ours, theirs, term, needs.tap_sort)
                self._joined[term] = [_Joined(p, _joint(objective, p, term, i, seed)) for i, p in enumerate(pairs)]
                self.adapters[term] = nn.ModuleList([j.joint.student for j in self._joined[term]])
        self.adapters.to(sample.device)

    def views(self, x: LossInputs, pixels_BCHW: Tensor, view: int, rows_B: NDArray[np.int64]) -> dict[str, LossInputs]:
        """Return the batch, rows of one view, as each term on features sees it; a live teacher runs here."""
        if not self._joined or self._read is None:
            return {}
        ours, theirs = self.captured.take(), self._read(pixels_BCHW, view, rows_B)
        masks = {j.pair.name: j.pair.student.name for group in self._joined.values() for j in group}
        real = tap_masks(self._module, pixels_BCHW, x.token_mask_BL, masks)
        return {
            term: replace(
                x,
                tap_masks=real,
                student_taps={j.pair.name: j.joint.student(ours[j.pair.student.name].float()) for j in group},
                teacher_taps={j.pair.name: j.joint.teacher(theirs[j.pair.teacher.name].float()) for j in group},
            )
            for term, group in self._joined.items()
        }

    def facts(self) -> dict[str, list[dict[str, Any]]]:
        """Return each term's pairs, first stage first: places, shapes of a row, what joins them, its parameters."""
        return {
            term: [
                {
                    "student": j.pair.student.name, "teacher": j.pair.teacher.name,
                    "student_shape": list(j.pair.student.shape), "teacher_shape": list(j.pair.teacher.shape),
                    "joined_by": j.joint.says, "parameters": sum(p.numel() for p in j.joint.student.parameters()),
                }
                for j in group
            ]
            for term, group in self._joined.items()
        }  # fmt: skip


def _joint(objective: ObjectiveSpec, pair: Pair, term: str, number: int, seed: int) -> Joint:
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(rng.seed_of(seed, "adapter", term, number))
        return objective.joint(pair.student.shape, pair.teacher.shape, f"{term} {pair.name}")
