"""How a text is judged by another: chrF of a sentence and of a corpus, BLEU, and intervals over sentences. Shapes: N rows, W bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.extras import require

RESAMPLES = 1000
_ORDER = 4


def strings(texts_NW: NDArray[Any]) -> list[str]:
    """Return the texts of rows of UTF-8 bytes, zero after their end."""
    return [
        bytes(row).split(b"\0", 1)[0].decode("utf-8", "replace") for row in np.ascontiguousarray(texts_NW, np.uint8)
    ]


def metric(name: str) -> Any:
    """Return sacrebleu's "BLEU" (13a tokens, one reference, exponential smoothing) or "CHRF" (6 characters, no words).

    Raises:
        MissingExtraError: the package is not installed.
    """
    return getattr(require("sacrebleu.metrics", "translation", "task of kind translation"), name)()


def sentence_chrf(written: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float64]:
    """Return [N] chrF of each text in [0, 1].

    Reference: Popović 2015, doi:10.18653/v1/W15-3049, by sacrebleu.
    """
    judge = metric("CHRF")
    found = [judge.sentence_score(a, [b]).score / 100 for a, b in zip(written, wanted, strict=True)]
    return np.array(found, np.float64)


def bleu_counts(written: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Return [N, 10]: tokens written and wanted, then for n of 1 to 4 the n-grams written that are wanted, and all written."""
    tokenize = require("sacrebleu.tokenizers.tokenizer_13a", "translation", "task of kind translation").Tokenizer13a()
    out = np.zeros((len(written), 2 + 2 * _ORDER), np.int64)
    for row, texts in zip(out, zip(written, wanted, strict=True), strict=True):
        ours, theirs = (tokenize(text.strip()).split() for text in texts)
        row[:2] = len(ours), len(theirs)
        for n in range(1, _ORDER + 1):
            a, b = (Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) for t in (ours, theirs))
            row[2 * n], row[2 * n + 1] = sum((a & b).values()), max(0, len(ours) - n + 1)
    return out


def bleu_of(counts_R10: NDArray[Any]) -> NDArray[np.float64]:
    """Return BLEU in [0, 100] of summed counts, with sacrebleu's exponential smoothing.

    Reference: Papineni et al. 2002, doi:10.3115/1073083.1073135; Post 2018, arXiv:1804.08771.
    """
    counts = np.asarray(counts_R10, np.float64)
    hits, totals = counts[..., 2::2], counts[..., 3::2]
    halved = 2.0 ** np.cumsum((hits == 0) & (totals > 0), axis=-1)
    smoothed = np.where(hits > 0, hits, 1 / halved)
    some = totals > 0
    logs = np.where(some, np.log(smoothed / np.where(some, totals, 1)), 0.0)
    short = np.minimum(0.0, 1 - counts[..., 1] / np.maximum(counts[..., 0], 1))
    nothing = (hits.sum(axis=-1) == 0) | ~some.all(axis=-1)
    out: NDArray[np.float64] = np.where(nothing, 0.0, 100 * np.exp(logs.mean(axis=-1) + short))
    return out


def resampled(counts_N10: NDArray[Any], seed: int = 0) -> NDArray[np.float64]:
    """Return [R] BLEU of corpora whose sentences are drawn again with replacement; the same draws for the same N and seed, so
    that two systems' differences are paired.

    Reference: Koehn 2004, aclanthology.org/W04-3250.
    """
    num = len(counts_N10)
    draws = np.random.default_rng(seed).integers(0, num, (RESAMPLES, num))
    times = np.stack([np.bincount(d, minlength=num) for d in draws])
    return bleu_of(times @ counts_N10)


def interval(values_R: NDArray[Any]) -> list[float]:
    """Return the 2.5 % and 97.5 % points."""
    return [float(v) for v in np.percentile(values_R, [2.5, 97.5])]
