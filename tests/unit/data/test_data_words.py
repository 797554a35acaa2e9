"""Words left out and exchanged, whole batches at once; and damage to text."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from potstill.data.augment import make_batch
from potstill.data.augment._words import Words
from potstill.data.augment.word_dropout import WordDropoutSpec
from potstill.data.augment.word_swap import WordSwapSpec
from potstill.data.corrupt.text import CORRUPTIONS, Corruption, casing, dropped_words, typos
from potstill.testing import tiny

TEXTS = ["  hello  big world ", "one", "a b c", "naïve café ☕ now!", "tabs\tand\nlines"]
SENTENCE = "What is the weather like in New York tomorrow morning, please?"


def rows(texts: list[str], length: int = 80) -> NDArray[np.uint8]:
    out = np.zeros((len(texts), length), np.uint8)
    for row, text in zip(out, texts, strict=True):
        data = text.encode()
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return out


def texts_of(bytes_BL: NDArray[np.uint8]) -> list[str]:
    return [bytes(row).rstrip(b"\0").decode() for row in bytes_BL]


def test_words_are_arranged_as_a_loop_would() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        words = Words(rows(TEXTS))
        place = rng.permuted(np.tile(np.arange(words.most, dtype=float), (len(TEXTS), 1)), axis=1)
        place[rng.random(place.shape) < 0.3] = np.inf
        place[:, 0] = np.minimum(place[:, 0], 7.5)  # one at least stays
        for text, order, got in zip(TEXTS, place, texts_of(words.arranged(place)), strict=True):
            plain = text.split()
            kept = sorted((w for w in range(len(plain)) if np.isfinite(order[w])), key=lambda w: order[w])
            assert got.split() == [plain[w] for w in kept] and got == got.strip()


def test_words_are_counted() -> None:
    words = Words(rows(TEXTS))
    assert words.counts_B.tolist() == [3, 1, 3, 4, 3] and words.most == 4


def test_dropout_leaves_out_its_share_and_never_all() -> None:
    split = tiny.split_of(rows([SENTENCE + str(i) for i in range(600)]), "text")
    kept = [
        len(t.split())
        for t in texts_of(make_batch(split, np.arange(600), 0, (WordDropoutSpec(p=0.2),), 1).inputs_BX.numpy())
    ]
    assert abs(np.mean(kept) / 11 - 0.8) < 0.02
    nearly_all = make_batch(split, np.arange(600), 0, (WordDropoutSpec(p=0.9999999),), 1).inputs_BX.numpy()
    assert {len(t.split()) for t in texts_of(nearly_all)} == {1}


def test_swap_exchanges_one_pair_of_neighbours() -> None:
    words = SENTENCE.split()
    split = tiny.split_of(rows([SENTENCE] * 400), "text")
    changed = 0
    for text in texts_of(make_batch(split, np.arange(400), 0, (WordSwapSpec(p=0.5),), 1).inputs_BX.numpy()):
        differ = [i for i, (a, b) in enumerate(zip(words, text.split(), strict=True)) if a != b]
        assert not differ or (differ[1] == differ[0] + 1 and len(differ) == 2)
        changed += bool(differ)
    assert 160 < changed < 240


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_damage_is_a_pure_function_that_grows(corrupt: Corruption) -> None:
    sample = rows([SENTENCE])[0]
    kept, mean = sample.copy(), []
    for severity in range(1, 6):
        found = [corrupt(sample, severity, seed) for seed in range(60)]
        assert all((a == corrupt(sample, severity, seed)).all() for seed, a in enumerate(found[:3]))
        assert len({a.tobytes() for a in found}) > (1 if severity < 5 or corrupt is not casing else 0)
        for out in found:
            assert out.shape == sample.shape and out.dtype == np.uint8
            assert bytes(out).rstrip(b"\0").decode().strip() and b"\0" not in bytes(out).rstrip(b"\0")
        mean.append(float(np.mean([(out != sample).mean() for out in found])))
    assert (sample == kept).all()
    if corrupt is dropped_words:
        mean = [
            -float(np.mean([len(texts_of(corrupt(sample, s, i)[None])[0]) for i in range(60)])) for s in range(1, 6)
        ]
    assert mean == sorted(mean) and mean[0] < mean[-1]


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
@pytest.mark.parametrize("severity", [0, 6, -1])
def test_there_are_five_severities(corrupt: Corruption, severity: int) -> None:
    with pytest.raises(ValueError, match="severity must be 1 to 5; got severity="):
        corrupt(rows(["hello world"])[0], severity, 0)


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
@pytest.mark.parametrize("text", ["a", "ß", "☕", "été où", "ab" * 40])
def test_damage_leaves_whole_characters(corrupt: Corruption, text: str) -> None:
    sample = rows([text], len(text.encode()))[0]  # no room to grow
    for seed in range(40):
        bytes(corrupt(sample, 5, seed)).rstrip(b"\0").decode()


def test_damage_is_what_it_says() -> None:
    sample = rows([SENTENCE])[0]
    assert texts_of(casing(sample, 3, 1)[None])[0].lower() == SENTENCE.lower()
    assert set(texts_of(dropped_words(sample, 4, 1)[None])[0].split()) < set(SENTENCE.split())
    assert len(texts_of(typos(sample, 5, 1)[None])[0].split()) == len(SENTENCE.split())
