"""What terms on features read: taps of the student and of a teacher that runs live, joined by adapters. Shapes: B rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from potstill.core import rng
from potstill.core.errors import TrainingError
from potstill.objectives import LossInputs, ObjectiveSpec
from potstill.taps.adapters import Joint
from potstill.taps.capture import Capture
from potstill.taps.pairing import Pair, resolve
from potstill.taps.places import list_places


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that is a torch module here."""

    module: nn.Module
    preprocess: nn.Module
    """Pixels in [0, 1] at the data's size -> what the module reads."""


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
        teacher: needed where a term reads taps.
        sample_BCHW: [2, C, H, W] pixels in [0, 1] for the dry run; None where no term reads taps.
        seed: of the adapters' initial weights, with the term's name and the pair's number.
    """

    def __init__(
        self, terms: Mapping[str, ObjectiveSpec], module: nn.Module, preprocess: nn.Module, teacher: LiveTeacher | None,
        sample_BCHW: Tensor | None, seed: int,
    ) -> None:  # fmt: skip
        self._joined: dict[str, list[_Joined]] = {}
        self.adapters = nn.ModuleDict()
        """The trainable sides, by term; in the checkpoint, never in the student."""
        self._teacher = teacher
        if sample_BCHW is not None:
            self._pair(terms, module, preprocess, sample_BCHW, seed)
        pairs = [j.pair for group in self._joined.values() for j in group]
        ours, theirs = {p.student.name: p.student for p in pairs}, {p.teacher.name: p.teacher for p in pairs}
        self.captured = Capture(module, list(ours.values()), "student")
        """Wrap the student's forward pass in it, then ask for `views`."""
        self._teacher_captured = None
        if teacher is not None:
            self._teacher_captured = Capture(teacher.module, list(theirs.values()), "teacher", stop=True)

    def __bool__(self) -> bool:
        return bool(self._joined)

    def _pair(
        self, terms: Mapping[str, ObjectiveSpec], module: nn.Module, preprocess: nn.Module, sample: Tensor, seed: int
    ) -> None:
        if self._teacher is None:
            raise TrainingError(
                "training: needs a teacher that is a torch module, since a term reads features; got none."
            )
        self._teacher.module.to(sample.device).eval().requires_grad_(False)
        self._teacher.preprocess.to(sample.device)
        ours = list_places(module, preprocess(sample), "student")
        theirs = list_places(self._teacher.module, self._teacher.preprocess(sample), "teacher")
        for term, objective in terms.items():
            taps = objective.needs().taps
            if taps is not None:
                pairs = resolve(taps, ours, theirs, term)
                self._joined[term] = [_Joined(p, _joint(objective, p, term, i, seed)) for i, p in enumerate(pairs)]
                self.adapters[term] = nn.ModuleList([j.joint.student for j in self._joined[term]])
        self.adapters.to(sample.device)

    def views(self, x: LossInputs, pixels_BCHW: Tensor) -> dict[str, LossInputs]:
        """Return the batch as each term on features sees it; the teacher runs here, on these very pixels."""
        if not self._joined or self._teacher is None or self._teacher_captured is None:
            return {}
        ours = self.captured.take()
        with torch.no_grad(), self._teacher_captured:
            self._teacher.module(self._teacher.preprocess(pixels_BCHW))
        theirs = self._teacher_captured.take()
        return {
            term: replace(
                x,
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
