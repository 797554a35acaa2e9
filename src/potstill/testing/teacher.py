"""The contract of a teacher. Shapes: B rows, K classes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.hashing import canonical_json
from potstill.core.samples import DataStats
from potstill.models import ModelIO, ModelSpec
from potstill.schedules.training import TrainSpec
from potstill.teachers import Labeller, TeacherContext, TeacherSpec, registry
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec


def check_teacher(spec: TeacherSpec) -> None:
    """Check that a teacher labels in eval mode, without gradient, as a pure function of the micro-batch.

    A teacher that trains is given weights as they are drawn: what it learns is not looked at.

    Args:
        spec: of a teacher of ten classes that takes tiny samples of its kind (testing/tiny.py): grey pictures of 8 by 8 pixels.

    Raises:
        AssertionError: something does not hold; says what.
    """
    import torch

    check_spec(spec, registry, "teacher")
    claims = claims_of("teacher", spec)
    for name in ("fits", "foreign"):
        claims.that(type(getattr(spec, name)()) is bool, f"{name}() must say true or false")
    hidden = spec.saw_hidden_labels()
    claims.that(hidden in (True, False, None), "saw_hidden_labels() must say true, false, or None where nobody knows")
    claims.that(hidden is None or spec.fits(), "saw_hidden_labels() can be known only of a teacher trained here")
    with tempfile.TemporaryDirectory() as folder:
        context = TeacherContext(Path(folder), _io(spec), _stats(spec), 4, _drawn, _rows(spec))
        facts = spec.prepare(context)
        claims.that(canonical_json(spec.prepare(context)) == canonical_json(facts), "prepare must be repeatable")
        labellers = []
        for seed in (1, 2):  # every stage loads anew, in whatever state the process is
            torch.manual_seed(seed)
            labellers.append(spec.load(Path(folder), _io(spec), _stats(spec)))
        _check_labeller(claims, spec, labellers[0], labellers[1])
        _check_places(claims, spec, labellers[0])


def _io(spec: TeacherSpec) -> ModelIO:
    return tiny.io_for(spec.reads())


def _stats(spec: TeacherSpec) -> DataStats:
    return tiny.stats_for(spec.reads())


def _rows(spec: TeacherSpec) -> Callable[..., Iterator[tuple[Any, Any]]]:
    """Return tiny samples of every class, as a teacher's context gives them."""
    inputs = tiny.inputs(spec.reads(), 40, seed=3)
    labels = np.arange(40, dtype=np.int64) % 10
    return lambda which, views=0: iter([(inputs[:32], labels[:32]), (inputs[32:], labels[32:])])


def _drawn(model: ModelSpec, training: TrainSpec, folder: Path, seed: int, labels: str) -> None:
    """Stand for training: leave a model of the zoo with its initial weights."""
    import torch

    from potstill.models.tools.build import new_model
    from potstill.models.tools.saved import save_model

    kind = model.input.kind
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        new = new_model(model, tiny.io_for(kind), tiny.stats_for(kind))
    save_model(folder, new.module, new.spec, new.data_io, [str(k) for k in range(10)])


def _check_labeller(claims: Claims, spec: TeacherSpec, labeller: Labeller, again: Labeller) -> None:
    import torch

    claims.that(
        labeller.output in ("logits", "probabilities"), "output must be logits or probabilities", output=labeller.output
    )
    claims.that(labeller.num_classes == 10, "num_classes must be the data's, 10", num_classes=labeller.num_classes)
    kind = spec.reads()
    uniform = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
    pixels = uniform if kind == "image" else tiny.inputs(kind, 64)
    kept, state = pixels.copy(), torch.get_rng_state()
    first = labeller(pixels)
    form = (type(first), getattr(first, "dtype", None), np.shape(first))
    claims.that(form == (np.ndarray, np.float32, (64, 10)), "must give a float32 array [B, K]", found=form)
    claims.finite(first, "outputs must be finite")
    claims.that(float(np.ptp(first, axis=0).max()) > 0, "outputs must depend on the pixels")
    claims.equal(pixels, kept, "must leave its pixels as they are")
    claims.equal(torch.get_rng_state(), state, "must draw nothing from the generator (is it in eval mode?)")
    labeller(np.ascontiguousarray(pixels[::-1]))
    claims.equal(labeller(pixels), first, "must be a pure function of the micro-batch")
    claims.equal(again(pixels), first, "must give the same bits when it is loaded again")
    claims.that(labeller(pixels[:1]).shape == (1, 10), "must take a single row")
    claims.close(labeller(pixels[5:8]), first[5:8], "a row's outputs must be nearly its own in any batch", 1e-3, 1e-3)
    if labeller.output == "probabilities":
        claims.close(first.sum(axis=1), np.ones(64), "probabilities must add up to 1", atol=1e-3)
        claims.that(first.min() >= 0, "probabilities must not be negative", lowest=float(first.min()))
    _check_rest(claims, labeller, pixels, first)


def _check_places(claims: Claims, spec: TeacherSpec, labeller: Any) -> None:
    """What can be tapped must be known before the teacher is made ready, by the same names and shapes."""
    import torch

    if not spec.tappable:
        claims.refuses(
            lambda: spec.architecture(_io(spec), _stats(spec)),
            PotstillError,
            "must refuse to list places: it is not tappable",
        )
        return
    before = spec.architecture(_io(spec), _stats(spec))
    for found in (before, labeller):
        parts = (getattr(found, "module", None), getattr(found, "preprocess", None))
        claims.that(
            all(isinstance(p, torch.nn.Module) for p in parts),
            "a tappable teacher must have a torch module and preprocess",
        )
    shapes = [{k: tuple(v.shape) for k, v in found.module.state_dict().items()} for found in (before, labeller)]
    claims.that(shapes[0] == shapes[1], "must have the architecture that it loads")


def _check_rest(claims: Claims, labeller: Any, pixels: Any, first: Any) -> None:
    """A torch module must be at rest, and stay so whatever others do to it."""
    import torch

    claims.that(torch.is_grad_enabled(), "must leave gradients switched on for the student")
    module = getattr(labeller, "module", None)
    if isinstance(module, torch.nn.Module):
        claims.that(not module.training, "its module must be in eval mode")
        claims.that(not any(p.requires_grad for p in module.parameters()), "its parameters must need no gradient")
        module.train()
        claims.equal(labeller(pixels), first, "must label in eval mode although its module was put to training")
