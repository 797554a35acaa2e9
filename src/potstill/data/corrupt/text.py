"""What happens to text: slips of the fingers, letters of the wrong case, words left out. Shapes: L bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from potstill.data.corrupt._draws import level, uniform

Corruption = Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]
"""(sample [L] uint8, UTF-8 and zero where it has ended; severity 1 to 5; seed) -> the same shape and type; a pure function."""

TYPOS = (0.02, 0.04, 0.07, 0.11, 0.16)
"""Share of letters where a finger slips."""
CASING = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Share of words whose case changes."""
DROPPED = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Share of words left out."""

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR = {letter: "".join(row[max(0, i - 1) : i] + row[i + 1 : i + 2]) for row in _KEYS for i, letter in enumerate(row)}
"""Letter -> those beside it on a QWERTY keyboard."""


def typos(sample_L: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Let a finger slip at letters: its neighbour's key, the letter left out, twice, or after the next one.

    Args:
        sample_L: [L] uint8.
        severity: 1 to 5: 2, 4, 7, 11 or 16 % of the letters.
        seed: of where and how.

    Returns:
        [L] uint8; cut where a letter twice would not fit; the text as it is where nothing else would be left.

    Raises:
        ValueError: no such severity.
    """
    share, text = level(TYPOS, severity), _text(sample_L)
    where, how = _uniform(seed, "typos", len(text)), _uniform(seed, "typos-how", 2 * len(text)).reshape(-1, 2)
    out: list[str] = []
    i = 0
    while i < len(text):
        letter, kind, pick = text[i], int(how[i, 0] * 4), how[i, 1]
        if not letter.isalpha() or where[i] >= share:
            out.append(letter)
        elif kind == 0 and letter.lower() in _NEAR:
            near = _NEAR[letter.lower()]
            slip = near[min(int(pick * len(near)), len(near) - 1)]
            out.append(slip.upper() if letter.isupper() else slip)
        elif kind == 1:
            out.append(letter * 2)
        elif kind == 2 and i + 1 < len(text) and text[i + 1].isalpha():
            out += [text[i + 1], letter]
            i += 1
        i += 1  # and else the letter is left out
    return _sample("".join(out), sample_L)


def casing(sample_L: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Write words in capitals, or with a capital first.

    Args:
        sample_L: [L] uint8.
        severity: 1 to 5: 10, 25, 50, 75 or 100 % of the words.
        seed: of which words, and which way.

    Returns:
        [L] uint8; a word whose capitals take more bytes than there is room for may be cut.

    Raises:
        ValueError: no such severity.
    """
    share, words = level(CASING, severity), _text(sample_L).split(" ")
    which, how = _uniform(seed, "casing", len(words)), _uniform(seed, "casing-how", len(words))
    changed = [
        (word.upper() if how[i] < 0.5 else word[:1].upper() + word[1:]) if which[i] < share else word
        for i, word in enumerate(words)
    ]
    return _sample(" ".join(changed), sample_L)


def dropped_words(sample_L: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Leave words out; the last one that would go stays.

    Args:
        sample_L: [L] uint8.
        severity: 1 to 5: 10, 20, 30, 40 or 50 % of the words, each by itself.
        seed: of which.

    Returns:
        [L] uint8.

    Raises:
        ValueError: no such severity.
    """
    share, words = level(DROPPED, severity), _text(sample_L).split()
    draws = _uniform(seed, "dropped-words", len(words))
    kept = [word for word, draw in zip(words, draws, strict=True) if draw >= share]
    return _sample(" ".join(kept or [words[int(np.argmax(draws))]]) if words else "", sample_L)


CORRUPTIONS: dict[str, Corruption] = {"typos": typos, "casing": casing, "dropped-words": dropped_words}
"""By the names that a report uses."""


def _uniform(seed: int, op: str, num: int) -> NDArray[np.float64]:
    return uniform(seed, f"corrupt-{op}", max(num, 1))


def _text(sample_L: NDArray[np.uint8]) -> str:
    return sample_L.tobytes().rstrip(b"\0").decode("utf-8")


def _sample(text: str, like_L: NDArray[np.uint8]) -> NDArray[np.uint8]:
    data = text.encode()[: len(like_L)].decode("utf-8", "ignore").encode()
    if not data.strip():
        return like_L.copy()
    out = np.zeros_like(like_L)
    out[: len(data)] = np.frombuffer(data, np.uint8)
    return out
