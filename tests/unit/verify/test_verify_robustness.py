"""Figures of corrupted samples, by hand. Shapes: R rows, C corruptions, S severities."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.tasks import Truth
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.tasks.multi_label_classification import MultiLabelClassificationSpec
from potstill.tasks.text_classification import TextClassificationSpec
from potstill.tasks.timeseries_forecasting import TimeseriesForecastingSpec
from potstill.tasks.translation import TranslationSpec
from potstill.verify.robustness import Answers, corruption_error, figures

TASK = ImageClassificationSpec()
TRUTH = Truth(np.array([0, 1, 2, 0]), ["a", "b", "c"])


def said(*classes: int, sure: float = 5.0) -> np.ndarray:
    """Return logits whose argmax are these."""
    return np.eye(3, dtype=np.float32)[list(classes)] * sure


def error(ours: Answers, theirs: Answers, truth: Truth = TRUTH, groups: np.ndarray | None = None) -> dict:
    return corruption_error(ours.errors(TASK, truth), theirs.errors(TASK, truth), list(ours.corrupted), groups)


STUDENT = Answers(
    said(0, 1, 1, 0),
    {"noise": {1: said(0, 1, 1, 0), 5: said(1, 1, 1, 1)}, "blur": {1: said(0, 1, 1, 1), 5: said(2, 2, 1, 1)}},
)
TEACHER = Answers(
    said(0, 1, 2, 0),
    {"noise": {1: said(0, 1, 2, 0), 5: said(0, 1, 2, 1)}, "blur": {1: said(0, 1, 2, 1), 5: said(1, 0, 2, 0)}},
)


def test_accuracy_consistency_and_their_means() -> None:
    found = figures(TASK, STUDENT, TRUTH, None)
    assert found["clean"]["value"] == 0.75
    assert [found["corruptions"][c][s]["value"] for c in ("noise", "blur") for s in "15"] == [0.75, 0.25, 0.5, 0.0]
    assert found["mean"]["value"] == pytest.approx(0.375)
    # Kept from clean (0 1 1 0): 4, 2; 3, 1 of four rows.
    assert found["consistency"] == {"first": pytest.approx(0.875), "mean": pytest.approx(0.625)}
    for cell in (found["clean"], found["corruptions"]["blur"]["5"]):
        assert cell["low"] <= cell["value"] <= cell["high"] and cell["high"] - cell["low"] > 0.3
    assert found["rejection"] is None


def test_calibration_error_is_of_the_same_rows() -> None:
    """Wrong on all rows and sure of it: the error is the confidence; clean it is a quarter of the rows' worth."""
    found = figures(TASK, Answers(said(0, 1, 1, 0), {"noise": {1: said(1, 2, 1, 2), 2: said(0, 1, 2, 0)}}), TRUTH, None)
    sure = float(np.exp(5) / (np.exp(5) + 2))
    assert found["ece"]["clean"] == pytest.approx(sure - 0.75)
    assert found["ece"]["corrupted"] == pytest.approx((sure + (1 - sure)) / 2)


def test_corruption_error_is_the_papers() -> None:
    """CE_c is a ratio of sums over severities, and mCE the mean over corruptions."""
    found = error(STUDENT, TEACHER)
    assert found["ce"] == {"noise": pytest.approx((1 + 3) / (0 + 1)), "blur": pytest.approx((2 + 4) / (1 + 2))}
    assert found["mce"]["value"] == pytest.approx(3.0)
    same = error(TEACHER, TEACHER)
    assert same["mce"]["value"] == 1 and same["left_out"] == []


def test_where_the_teacher_makes_no_error_there_is_no_ratio() -> None:
    perfect = said(0, 1, 2, 0)
    teacher = Answers(perfect, {"noise": {1: perfect, 5: perfect}, "blur": TEACHER.corrupted["blur"]})
    found = error(STUDENT, teacher)
    assert found["ce"]["noise"] is None and found["left_out"] == ["noise"]
    assert found["mce"]["value"] == pytest.approx(2.0)
    none = error(STUDENT, Answers(perfect, {c: {1: perfect, 5: perfect} for c in ("noise", "blur")}))
    assert none["mce"] is None and none["left_out"] == ["noise", "blur"]


def test_interval_of_the_corruption_error_is_paired_and_goes_by_groups() -> None:
    rng = np.random.default_rng(0)
    truth = Truth(rng.integers(0, 3, 400), ["a", "b", "c"])

    def answers(share: float) -> Answers:
        wrong = rng.random(400) < share
        given = said(*np.where(wrong, (truth.labels_N + 1) % 3, truth.labels_N))
        return Answers(given, {"noise": {3: given}})

    teacher, student = answers(0.2), answers(0.4)
    found = error(student, teacher, truth)["mce"]
    assert found["low"] < found["value"] < found["high"] and found["high"] - found["low"] < 1.5
    alike = error(teacher, teacher, truth)["mce"]
    assert (alike["low"], alike["high"]) == (1.0, 1.0), "the same draws for both"
    groups = np.repeat(np.arange(8), 50)
    clumped = truth.labels_N.copy()
    clumped[groups < 3] = (clumped[groups < 3] + 1) % 3
    student = Answers(said(*clumped), {"noise": {3: said(*clumped)}})
    by_row, by_group = (error(student, teacher, truth, g)["mce"] for g in (None, groups))
    assert by_group["value"] == pytest.approx(by_row["value"])
    assert by_group["high"] - by_group["low"] > 2 * (by_row["high"] - by_row["low"])


def test_texts_of_no_class_count_for_rejection_and_for_nothing_else() -> None:
    task = TextClassificationSpec(unlabelled="out-of-scope")
    truth = Truth(np.array([0, 1, -1, -1]), ["a", "b", "c"])
    clean = np.concatenate([said(0, 1), said(2, 2, sure=1.0)])
    damaged = np.concatenate([said(0, 2, sure=1.0), said(2, 2)])
    found = figures(task, Answers(clean, {"typos": {1: damaged}}), truth, None)
    assert found["rejection"] == {"clean": 1.0, "corrupted": 0.0}
    assert found["clean"]["value"] == 1.0 and found["corruptions"]["typos"]["1"]["value"] == 0.5
    assert found["consistency"]["mean"] == 0.75, "a text of no class can keep its answer too"


def test_values_and_flags_are_kept_as_far_as_the_headline_says() -> None:
    task = TimeseriesForecastingSpec()
    targets = np.zeros((2, 3, 1), np.float32)
    truth = Truth(np.zeros(2, np.int64), ["v"], targets)
    clean, moved = targets + 1, targets + np.float32(1.5)
    found = figures(task, Answers(clean, {"drift": {1: moved}}), truth, None)
    assert found["clean"]["value"] == pytest.approx(0.0) and found["clean"]["unit"] == "error"
    assert found["consistency"]["mean"] == pytest.approx(1 - 0.25), "1 - MSE between the two forecasts"
    assert found["ece"] is None and found["rejection"] is None
    flags = MultiLabelClassificationSpec()
    truth = Truth(np.zeros(2, np.int64), ["a", "b"], np.array([[1, 0], [1, 1]], np.float32))
    clean, moved = np.array([[1, -1], [1, 1]], np.float32), np.array([[1, -1], [1, -1]], np.float32)
    found = figures(flags, Answers(clean, {"noise": {1: moved}}), truth, None)
    assert found["clean"]["value"] == 1.0 and found["consistency"]["mean"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_text_that_stays_the_same_is_kept_even_if_it_is_empty() -> None:
    task = TranslationSpec()
    texts = np.zeros((2, 4), np.uint8)
    texts[1, :2] = list(b"ab")
    truth = Truth(np.zeros(2, np.int64), ["text"], np.full((2, 4), ord("z"), np.uint8))
    found = figures(task, Answers(texts, {"typos": {1: texts, 2: np.zeros((2, 4), np.uint8)}}), truth, None)
    kept = [found["corruptions"]["typos"][s]["consistency"] for s in "12"]
    assert kept == [1.0, 0.5] and found["consistency"] == {"first": 1.0, "mean": 0.75}


def test_heavy_rows_count_by_their_weight_and_no_row_lacks_less_than_nothing() -> None:
    truth = Truth(TRUTH.labels_N, TRUTH.classes, None, np.array([1, 1, 1, 5], np.float32))
    errors = STUDENT.errors(TASK, truth)
    assert (errors >= 0).all()
    shares = [[TASK.correct(o, truth).mean() for o in by.values()] for by in STUDENT.corrupted.values()]
    np.testing.assert_allclose(errors.mean(axis=2), 1 - np.array(shares))
    assert error(STUDENT, TEACHER, truth)["ce"]["noise"] == pytest.approx((1 + 7) / (0 + 5))
