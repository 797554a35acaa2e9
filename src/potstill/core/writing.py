"""Writing with a model, token by token: greedy and beam search over a whole batch. Loads no torch: a device runs it too. Shapes: B
rows, S tokens of a source, L tokens at most, K tokens to choose from, W texts followed (beam), R = B W rows of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Stepper(Protocol):
    """A model that has read its sources, and remembers what was written."""

    rows: int
    """B at first; `take` changes it."""

    def step(self, last_R: NDArray[np.int32], place: int) -> NDArray[np.float32]:
        """Return [R, K] logits of the token after the `last_R` tokens, which stand at `place`, from 0."""
        ...

    def take(self, index_R: NDArray[np.int64]) -> None:
        """Go on from these rows of what is remembered; they keep their source's order, each as often as any other."""
        ...


class Whole:
    """A model that is run anew for each token, for those without a memory.

    Args:
        run: [R, 2, L] int32 ids -> [R, L, K] float32 logits.
        source_BS: ids of the sources.
        length: L.
    """

    def __init__(
        self, run: Callable[[NDArray[np.int32]], NDArray[np.float32]], source_BS: NDArray[Any], length: int
    ) -> None:
        self.run, self.rows = run, len(source_BS)
        self.ids = np.zeros((self.rows, 2, length), np.int32)
        self.ids[:, 0, : source_BS.shape[1]] = source_BS

    def step(self, last_R: NDArray[np.int32], place: int) -> NDArray[np.float32]:
        """Return [R, K] logits."""
        self.ids[:, 1, place] = last_R
        return self.run(self.ids)[:, place]

    def take(self, index_R: NDArray[np.int64]) -> None:
        """Go on from these rows."""
        self.ids, self.rows = self.ids[index_R], len(index_R)


class Remembering:
    """A model that keeps what it made of the source and of each token, so that a token costs one place.

    Args:
        run: (last [R] int32, of the source, of what was written) -> ([R, K] float32 logits, of what is written now).
        source: arrays or tensors, [B, ...] each.
        written: the same, before the first token.
        rows: B.
    """

    def __init__(
        self, run: Callable[[NDArray[np.int32], Sequence[Any], Sequence[Any]], tuple[NDArray[np.float32], Sequence[Any]]],
        source: Sequence[Any], written: Sequence[Any], rows: int,
    ) -> None:  # fmt: skip
        self.run, self.source, self.written, self.rows = run, source, written, rows

    def step(self, last_R: NDArray[np.int32], place: int) -> NDArray[np.float32]:
        """Return [R, K] logits; `place` is what is remembered."""
        logits, self.written = self.run(last_R, self.source, self.written)
        return logits

    def take(self, index_R: NDArray[np.int64]) -> None:
        """Go on from these rows; a row of the result is one of the same source."""
        self.written = [w[index_R] for w in self.written]
        if len(index_R) != self.rows:
            self.source, self.rows = [s[index_R] for s in self.source], len(index_R)


@dataclass(frozen=True)
class Writing:
    """How texts are written."""

    mark: int
    """Stands before the first token, and ends a text; never padding (0), which is not written."""
    length: int
    """L, most tokens of a text, the mark included."""
    beam: int = 1
    """W; 1 is greedy."""
    length_penalty: float = 1.0
    """>= 0, dimensionless."""

    def search(self, stepper: Stepper) -> NDArray[np.int64]:
        """Return what a model writes, as likely as the search finds; a pure function of the batch.

        Texts that have ended keep their place in the beam with their score, the sum of log-probabilities over the number of
        tokens to the power of `length_penalty`; a row ends when all of its beam has. Of equal scores the first is taken.

        Args:
            stepper: of B rows.

        Returns:
            [B, L] int64, the tokens with the mark that ends them (a text of L tokens may lack it), -1 after it.

        Reference:
            Sutskever et al. 2014, arXiv:1409.3215, section 3.2. Departs: scores are compared over lengths, not only at the end.
        """
        rows, mark = stepper.rows, self.mark
        last = np.full(rows, mark, np.int32)
        written = np.full((rows, 1, self.length), -1, np.int64)
        sums, lengths = np.zeros((rows, 1), np.float32), np.zeros((rows, 1), np.float32)
        ended = np.zeros((rows, 1), bool)
        for place in range(self.length):
            log_p = _log_softmax(stepper.step(last, place)).reshape(rows, ended.shape[1], -1)
            # A text that has ended has one way on, which costs nothing.
            going = np.where(ended[:, :, None], np.float32(-np.inf), log_p)
            going[:, :, mark] = np.where(ended, np.float32(0), log_p[:, :, mark])
            sum_BWK, length_BW = sums[:, :, None] + going, lengths + ~ended
            scores = sum_BWK / length_BW[:, :, None] ** np.float32(self.length_penalty)
            index = _largest(scores.reshape(rows, -1), self.beam)
            parent, token = index // log_p.shape[2], index % log_p.shape[2]
            sums = np.take_along_axis(sum_BWK.reshape(rows, -1), index, axis=1)
            lengths, before = (np.take_along_axis(a, parent, axis=1) for a in (length_BW, ended))
            written = np.take_along_axis(written, parent[:, :, None], axis=1)
            written[:, :, place] = np.where(before, -1, token)
            ended = before | (token == mark)
            if ended.all():
                break
            if self.beam > 1:
                stepper.take((parent + np.arange(rows)[:, None] * log_p.shape[1]).reshape(-1))
            last = token.reshape(-1).astype(np.int32)
        best = (sums / lengths ** np.float32(self.length_penalty)).argmax(axis=1)
        out: NDArray[np.int64] = written[np.arange(rows), best]
        return out


def _log_softmax(logits_RK: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log-probabilities of all but padding, which is not written."""
    barred = logits_RK.astype(np.float32)  # a copy
    barred[:, 0] = -np.inf
    barred -= barred.max(axis=1, keepdims=True)
    barred -= np.log(np.exp(barred).sum(axis=1, keepdims=True))
    return barred


def _largest(scores_BN: NDArray[np.float32], num: int) -> NDArray[np.int64]:
    """Return [B, num] places of the largest, best first; of equal ones the first. `scores_BN` is used up."""
    out = np.empty((len(scores_BN), num), np.int64)
    rows = np.arange(len(scores_BN))
    for i in range(num):
        out[:, i] = scores_BN.argmax(axis=1)
        scores_BN[rows, out[:, i]] = -np.inf
    return out
