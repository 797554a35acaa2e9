"""The gate: it lets a good teacher through, stops each wrong one, and names the mistake and its remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _teacher_parts import CLASSES, IO, Labels, as_torch, digits, fitted, softmax, teacher_weights, unseen
from numpy.typing import NDArray
from torch import nn

from potstill.core.errors import TeacherError
from potstill.core.samples import DataStats
from potstill.models import ImageInput
from potstill.teachers._torch import TorchLabeller
from potstill.teachers.gate import GateReport, run_gate
from potstill.teachers.object import object_teacher


def good(pixels: NDArray[Any]) -> NDArray[Any]:
    return teacher_weights().logits(pixels).astype(np.float32)


def gate(labeller: Any, *, foreign: bool = False, rows: int = 300) -> GateReport:
    pixels, labels = unseen()
    return run_gate(labeller, pixels[:rows], labels[:rows], CLASSES, foreign=foreign)


# What passes


@pytest.mark.parametrize("foreign", [False, True])
def test_a_good_teacher_passes_with_what_was_seen(foreign: bool) -> None:
    pixels, labels = unseen()
    report = gate(Labels(good), foreign=foreign)
    assert report.accuracy == pytest.approx((good(pixels).argmax(axis=1) == labels).mean())
    assert report.num_rows == 300
    assert report.chance == pytest.approx(np.bincount(labels).max() / 300)
    assert all(c["ok"] for c in report.checks)
    names = [c["name"] for c in report.checks]
    assert names == ["outputs", "class order", *(["preprocessing"] if foreign else []), "above chance"]
    json.dumps(report.as_dict(), allow_nan=False)


def test_probabilities_pass_where_they_are_named() -> None:
    assert gate(Labels(lambda x: softmax(good(x)).astype(np.float32), "probabilities")).accuracy > 0.9


def test_every_batch_is_whole() -> None:
    """A torch teacher's outputs depend on the batch they ran in: the gate shows it batches as labelling does."""
    labeller = Labels(good)
    gate(labeller)
    assert [x.shape for x in labeller.seen] == [(64, 1, 8, 8)] * 5
    assert (labeller.seen[-1][300 - 256 :] == unseen()[0][299]).all(), "padded with the last row"


def test_only_a_foreign_teacher_is_tried_with_other_inputs() -> None:
    own, foreign = Labels(good), Labels(good)
    gate(own)
    gate(foreign, foreign=True)
    assert len(own.seen) == 5 < len(foreign.seen)


def test_an_input_that_it_cannot_take_is_no_alternative() -> None:
    def strict(pixels: NDArray[Any]) -> NDArray[Any]:
        if pixels.max() > 1 or pixels.min() < 0:
            raise RuntimeError("pixels outside [0, 1]")
        return good(pixels)

    assert gate(Labels(strict), foreign=True).accuracy > 0.9


@pytest.mark.parametrize("rows", [100, 300])
def test_a_mediocre_teacher_passes(rows: int) -> None:
    """Right on about half of the rows, and wrong in no system: the student may still gain."""
    right = np.random.default_rng(0).random(300) < 0.5

    def mediocre(pixels: NDArray[Any]) -> NDArray[Any]:
        labels = _labels_of(pixels)
        wrong = np.random.default_rng(1).integers(0, 10, len(right))
        return np.eye(10, dtype=np.float32)[np.where(right, labels, wrong)[_rows_of(pixels)]] * 3

    assert 0.4 < gate(Labels(mediocre), rows=rows).accuracy < 0.7


def _rows_of(pixels: NDArray[Any]) -> NDArray[Any]:
    flat = unseen()[0].reshape(300, -1)
    return np.array([int(np.flatnonzero((flat == row).all(axis=1))[0]) for row in pixels.reshape(len(pixels), -1)])


def _labels_of(_: NDArray[Any]) -> NDArray[Any]:
    return unseen()[1]


# Chance


def test_a_teacher_at_chance_is_stopped() -> None:
    def random(pixels: NDArray[Any]) -> NDArray[Any]:
        return np.random.default_rng(len(pixels)).normal(size=(len(pixels), 10)).astype(np.float32)

    with pytest.raises(TeacherError, match=r"must know the task; it is right on [\d.]+% of 300 labelled rows"):
        gate(Labels(random))


@pytest.mark.parametrize("foreign", [False, True])
def test_a_constant_teacher_is_named_as_such(foreign: bool) -> None:
    def constant(pixels: NDArray[Any]) -> NDArray[Any]:
        return np.tile(np.eye(10, dtype=np.float32)[3] * 5, (len(pixels), 1))

    with pytest.raises(TeacherError, match=r"answers 'digit 3' on 100% of rows"):
        gate(Labels(constant), foreign=foreign)


def test_naming_the_most_common_class_is_chance() -> None:
    """Nine rows in ten are of class 0: 90 % is worth nothing, 99 % is."""
    pixels, labels = np.random.default_rng(0).random((300, 1, 8, 8), dtype=np.float32), np.zeros(300, np.int64)
    labels[::10] = 1
    pixels[:, 0, 0, 0] = labels

    def always(x: NDArray[Any]) -> NDArray[Any]:
        return np.tile(np.array([[4.0, 0.0]], np.float32), (len(x), 1))

    def knows(x: NDArray[Any]) -> NDArray[Any]:
        return np.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], axis=1)

    with pytest.raises(TeacherError, match=r"most common class is right on 90\.0%"):
        run_gate(Labels(always, num_classes=2), pixels, labels, ["no", "yes"], foreign=False)
    assert run_gate(Labels(knows, num_classes=2), pixels, labels, ["no", "yes"], foreign=False).accuracy == 1


# Outputs


@pytest.mark.parametrize(
    ("change", "output", "message"),
    [
        (lambda x: x[:, :9], "logits", r"one output a class, 10; got \[9\].*class_order"),
        (lambda x: np.concatenate([x, x], axis=1), "logits", r"one output a class, 10; got \[20\]"),
        (lambda x: x[:, :, None], "logits", r"one output a class, 10; got \[10, 1\]"),
        (lambda x: np.where(np.arange(10) == 4, np.nan, x), "logits", "must be finite"),
        (lambda x: np.where(np.arange(10) == 4, np.inf, x), "logits", "must be finite"),
        (softmax, "logits", r"says logits, but every row is a probability distribution.*Set output: probabilities"),
        (lambda x: x, "probabilities", r"says probabilities, but.*Set output: logits"),
        (lambda x: x[:32], "logits", r"one row of outputs a sample, 64; got \[32\]"),
        (lambda x: np.repeat(x, 4, axis=0), "logits", r"one row of outputs a sample, 64; got \[256\]"),
    ],
    ids=["too few", "too many", "rank 3", "nan", "inf", "hidden softmax", "no softmax", "few rows", "many rows"],
)
def test_wrong_outputs_are_stopped(change: Callable[[Any], Any], output: Any, message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        gate(Labels(lambda x: change(good(x)), output))


def test_rounded_probabilities_are_not_taken_for_logits() -> None:
    """As an 8-bit softmax gives them: their rows sum to 0.98 to 1.02. Called logits they would pass and be flattened."""

    def rounded(pixels: NDArray[Any]) -> NDArray[Any]:
        return (np.round(softmax(good(pixels)) * 128) / 128).astype(np.float32)

    assert np.abs(rounded(unseen()[0]).sum(axis=1) - 1).max() > 5e-3
    with pytest.raises(TeacherError, match="every row is a probability distribution"):
        gate(Labels(rounded, "logits"))
    with pytest.raises(TeacherError, match=r"sum to 1 within 0\.001; got .* rounded") as caught:
        gate(Labels(rounded, "probabilities"))
    assert "logits" not in str(caught.value)


# Class order


@pytest.mark.parametrize(
    "columns",
    [[1, 0, *range(2, 10)], [*range(1, 10), 0], list(range(9, -1, -1))],
    ids=["two swapped", "moved by one", "reversed"],
)
def test_shuffled_classes_are_stopped_and_the_order_named_is_right(columns: list[int]) -> None:
    def shuffled(pixels: NDArray[Any]) -> NDArray[Any]:
        return good(pixels)[:, columns]

    with pytest.raises(TeacherError, match=r"class_order.*Set class_order: \[") as caught:
        gate(Labels(shuffled))
    named = [int(n) for n in re.findall(r"\d+", str(caught.value).split("Set class_order:")[1])]
    assert gate(Labels(lambda x: shuffled(x)[:, named])).accuracy > 0.9


def test_the_order_named_counts_in_the_teachers_own_columns() -> None:
    """A recipe that already has a (wrong) class_order: what is named replaces it, not what it gave."""
    stated, own = [3, 1, 2, 0, 4, 5, 6, 9, 8, 7], [*range(1, 10), 0]
    module = as_torch(teacher_weights())
    module[3].weight.data = module[3].weight.data[own]
    with pytest.raises(TeacherError) as caught:
        gate(TorchLabeller(module, nn.Identity(), "logits", 10, stated))
    named = [int(n) for n in re.findall(r"\d+", str(caught.value).split("Set class_order:")[1])]
    assert gate(TorchLabeller(module, nn.Identity(), "logits", 10, named)).accuracy > 0.9


def test_two_confused_classes_are_within_the_margin() -> None:
    """Half of the ones called sevens and the reverse: a poor teacher, not another order."""
    turn = np.array([0, 7, 2, 3, 4, 5, 6, 1, 8, 9])

    def confused(pixels: NDArray[Any]) -> NDArray[Any]:
        out = good(pixels)
        return np.where((_rows_of(pixels) % 2 == 0)[:, None], out, out[:, turn])

    report = gate(Labels(confused))
    assert 0.75 < report.accuracy < 0.9


@pytest.mark.parametrize(("num_classes", "rows"), [(100, 200), (1000, 1000)])
def test_many_classes_with_few_rows_each_are_not_called_shuffled(num_classes: int, rows: int) -> None:
    """With a row or two a class, some order of columns always fits the wrong answers of a good teacher by chance."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % num_classes
    answers = np.where(rng.random(rows) < 0.4, labels, rng.integers(0, num_classes, rows))
    report = _gate_of_answers(answers, labels, num_classes)
    assert 0.3 < report.accuracy < 0.5


def test_a_chance_teacher_of_many_classes_is_not_called_shuffled() -> None:
    labels = np.arange(200) % 100
    with pytest.raises(TeacherError, match="must know the task"):
        _gate_of_answers(np.random.default_rng(0).integers(0, 100, 200), labels, 100)


def test_shuffled_classes_are_found_where_there_are_many() -> None:
    labels = np.arange(1000) % 100
    with pytest.raises(TeacherError, match="Set class_order"):
        _gate_of_answers((labels + 1) % 100, labels, 100)


def test_two_classes_in_turn_and_exchanged() -> None:
    """Rows in a period must not leave one half of them without a class."""
    labels = np.arange(60) % 2
    with pytest.raises(TeacherError, match=r"Set class_order: \[1, 0\]"):
        _gate_of_answers(1 - labels, labels, 2)
    assert _gate_of_answers(labels, labels, 2).accuracy == 1


def test_a_class_without_rows_keeps_its_column_in_the_order_named() -> None:
    labels = np.arange(200) % 4
    with pytest.raises(TeacherError, match=r"Set class_order: \[1, 0, 3, 2, 4, 5\]"):
        _gate_of_answers(np.array([1, 0, 3, 2])[labels], labels, 6)


def _gate_of_answers(answers: NDArray[Any], labels: NDArray[Any], num_classes: int) -> GateReport:
    """The gate for a teacher that gives these answers; a row's number is its only pixel."""
    pixels = np.arange(len(labels), dtype=np.float32)[:, None, None, None]
    names = [f"c{k}" for k in range(num_classes)]
    one_hot = np.eye(num_classes, dtype=np.float32) * 3
    labeller = Labels(lambda x: one_hot[answers[x[:, 0, 0, 0].astype(int)]], num_classes=num_classes)
    return run_gate(labeller, pixels, labels.astype(np.int64), names, foreign=False)


# Preprocessing of a teacher from elsewhere


MISTAKES = {
    "pixels in 0..255 instead of 0..1": lambda x: x / 255,
    "pixels in 0..1 instead of 0..255": lambda x: x * 255,
    "pixels in -1..1": lambda x: (x + 1) / 2,
    "light and dark exchanged": lambda x: 1 - x,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_usual_mistake_in_the_input_is_named(name: str) -> None:
    """The teacher reads right what the change makes of pixels; so `name` of the stated input is what it wants."""
    wrong = Labels(lambda x: good(MISTAKES[name](x)))
    with pytest.raises(TeacherError, match=rf"teacher\.input: .*with {re.escape(name)} on 9\d\.\d%"):
        gate(wrong, foreign=True)


def test_what_is_trained_here_is_not_tried_with_other_inputs() -> None:
    """Its input is no one's word: the same faulty teacher is only seen to be at chance."""
    with pytest.raises(TeacherError, match="must know the task"):
        gate(Labels(lambda x: good(x / 255)))


def colour_digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return [N, 3, 8, 8]: the digit to name is in the first colour, another one in the last, half of each between."""
    pixels, labels = digits()
    other = pixels[np.random.default_rng(0).permutation(len(pixels))]
    return np.concatenate([pixels, (pixels + other) / 2, other], axis=1), labels


def test_colours_in_the_opposite_order_are_named() -> None:
    pixels, labels = colour_digits()
    weights = fitted(pixels[:1300, ::-1], labels[:1300])
    with pytest.raises(TeacherError, match=r"with colours in the opposite order \(BGR\) on"):
        run_gate(Labels(weights.logits), pixels[1300:1600], labels[1300:1600], CLASSES, foreign=True)
    right = Labels(lambda x: weights.logits(x[:, ::-1]))
    assert run_gate(right, pixels[1300:1600], labels[1300:1600], CLASSES, foreign=True).accuracy > 0.8


IMAGENET = ImageInput(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
NONE = ImageInput(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("true", "stated", "name"),
    [
        (IMAGENET, NONE, "ImageNet's mean and standard deviation"),
        (IMAGENET, ImageInput(), "ImageNet's mean and standard deviation"),
        (ImageInput(), NONE, "the data's own mean and standard deviation"),
        (NONE, ImageInput(), "no normalisation"),
        (NONE, IMAGENET, "no normalisation"),
    ],
    ids=["imagenet as none", "imagenet as own", "own as none", "none as own", "none as imagenet"],
)
def test_another_normalisation_is_named(true: ImageInput, stated: ImageInput, name: str) -> None:
    """A torch teacher fitted behind one normalisation and stated with another."""
    pixels, labels = colour_digits()
    pixels = pixels * 0.25  # dark pictures: what is subtracted decides
    mean, std = (tuple(float(v) for v in f(pixels, axis=(0, 2, 3))) for f in (np.mean, np.std))
    io, stats = replace(IO, shape=(3, 8, 8)), DataStats(mean, std)

    def seen(spec: ImageInput, x: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = spec.resolved(io, stats).preprocess(io)(torch.from_numpy(x)).numpy()
        return found

    module = as_torch(fitted(seen(true, pixels[:1300]), labels[:1300]))
    test, answers = pixels[1300:1600], labels[1300:1600]
    right = object_teacher(module, true).load(Path("no-folder"), io, stats)
    assert run_gate(right, test, answers, CLASSES, foreign=True).accuracy > 0.8
    wrong = object_teacher(module, stated).load(Path("no-folder"), io, stats)
    with pytest.raises(TeacherError, match=rf"with {re.escape(name)} on"):
        run_gate(wrong, test, answers, CLASSES, foreign=True)
