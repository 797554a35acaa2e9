"""Words of stored texts, whole batches at once. Shapes: B rows, L bytes, W words of the longest row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPACES = np.array([9, 10, 11, 12, 13, 32], np.uint8)


class Words:
    """A batch of texts as words that can be left out or moved. A word is what stands between ASCII white space; each keeps the
    space before it. A text of a script without spaces is one word.

    Args:
        bytes_BL: UTF-8, zero where a text has ended.
    """

    def __init__(self, bytes_BL: NDArray[np.uint8]) -> None:
        self.length = bytes_BL.shape[1]
        space = np.full((len(bytes_BL), 1), 32, np.uint8)
        self._bytes = np.concatenate([space, bytes_BL], axis=1)  # so that the first word too has a space before it
        used = self._bytes > 0
        letter = used & ~np.isin(self._bytes, _SPACES)
        before = np.concatenate([np.zeros_like(space, bool), letter[:, :-1]], axis=1)
        # A word's number goes up at the space that follows a word: the space belongs to what comes next.
        self._word = np.cumsum(used & ~letter & before, axis=1)
        self._letter, self._used = letter, used
        self.counts_B: NDArray[np.int64] = (letter & ~before).sum(axis=1)
        """Words of each row."""
        self.most = max(1, int(self.counts_B.max(initial=0)))
        """W."""

    def arranged(self, place_BW: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return texts with word w at place `place_BW[:, w]`, left out where that is infinite; one word at least must stay.

        Args:
            place_BW: [B, W]; only the order of a row's numbers counts.

        Returns:
            [B, L] uint8, no space around a text, zero where it has ended.
        """
        none = np.full((len(place_BW), 1), np.inf)  # space after the last word goes
        place = np.concatenate(
            [np.where(np.arange(self.most) < self.counts_B[:, None], place_BW, np.inf), none], axis=1
        )
        key = np.take_along_axis(place, self._word, axis=1)
        key[~self._used] = np.inf
        moved, kept = _by(self._bytes, key), _by(np.isfinite(key), key)
        inside = np.maximum.accumulate(_by(self._letter, key) & kept, axis=1) & kept
        out = np.where(inside, moved, 0)
        return _by(out, np.where(inside, 0.0, np.inf))[:, : self.length].astype(np.uint8)


def _by(values_BL: NDArray[Any], key_BL: NDArray[np.float64]) -> NDArray[Any]:
    order = np.argsort(key_BL, axis=1, kind="stable")
    out: NDArray[Any] = np.take_along_axis(values_BL, order, axis=1)
    return out
