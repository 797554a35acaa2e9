"""BLEU of counts is sacrebleu's; intervals are paired."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.tasks import Truth
from potstill.tasks._translation import bleu_counts, bleu_of, interval, metric, resampled
from potstill.tasks.translation import TranslationSpec

WANTED = [
    "A man sits on a bench.",
    "Two dogs run over the grass, fast.",
    "It's a red house!",
    "A child (in blue) laughs.",
] * 9
WRITTEN = ["a man sits on the bench .", "Two dogs run on grass.", "It's the red house!", "Child laughs."] * 9


@pytest.mark.parametrize("num", [1, 2, 3, 4, 36])
def test_bleu_of_counts_is_that_of_sacrebleu(num: int) -> None:
    for ours in (WRITTEN, WANTED, ["x y z"] * 36):
        stated = metric("BLEU").corpus_score(ours[:num], [WANTED[:num]]).score
        assert float(bleu_of(bleu_counts(ours[:num], WANTED[:num]).sum(axis=0))) == pytest.approx(stated, abs=1e-9)


def test_draws_are_the_same_for_every_system() -> None:
    a, b = (bleu_counts(x, WANTED) for x in (WRITTEN, WANTED))
    assert np.array_equal(resampled(a), resampled(a))
    low, high = interval(resampled(a))
    assert low <= float(bleu_of(a.sum(axis=0))) <= high
    assert interval(resampled(b) - resampled(b)) == [0.0, 0.0]


def test_corpus_figures_stand_beside_the_mean_of_sentences() -> None:
    def stored(texts: list[str]) -> np.ndarray:
        return np.array([np.frombuffer(t.encode().ljust(60, b"\0"), np.uint8) for t in texts])

    truth = Truth(np.zeros(36, np.int64), ["text"], stored(WANTED))
    found = TranslationSpec().metrics(stored(WRITTEN), truth)
    assert found["bleu"] == pytest.approx(metric("BLEU").corpus_score(WRITTEN, [WANTED]).score)
    assert (
        "tok:13a" in found["bleu_signature"] and found["bleu_interval"][0] < found["bleu"] < found["bleu_interval"][1]
    )
    assert found["sentence_chrf"] == pytest.approx(TranslationSpec().correct(stored(WRITTEN), truth).mean())
