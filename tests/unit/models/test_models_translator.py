"""What a translator is fed, what it writes, and how it searches. Shapes: B rows, L tokens, K to choose from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from potstill.core.samples import DataStats
from potstill.core.writing import Whole, Writing
from potstill.models import io_of
from potstill.models._parts import stepper_of
from potstill.models.encoder_decoder import EncoderDecoderSpec
from potstill.models.inputs.pair import PairInput
from potstill.models.tools.build import new_model

TEXTS = ["der Hund schläft ☕", "die Katze läuft", "the dog sleeps ☕", "the cat runs", "ein Mann", "a man"] * 4


def texts() -> Iterator[str]:
    return iter(TEXTS)


def stored(some: list[str], width: int = 24) -> Tensor:
    out = np.zeros((len(some), width), np.uint8)
    for row, text in zip(out, some, strict=True):
        data = text.encode()
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return torch.from_numpy(out)


@pytest.fixture
def new() -> Any:
    torch.manual_seed(0)
    spec = EncoderDecoderSpec(dim=16, heads=2, input=PairInput(vocabulary_size=270, max_tokens=12))
    found = new_model(spec, io_of("text", (24,), (24,), None), DataStats((), (), texts))
    nn.init.normal_(found.module.embed.weight, std=0.5)  # so that what it writes differs from row to row
    found.module.eval()
    return found


def test_targets_are_what_the_model_is_fed_one_place_later(new: Any) -> None:
    pair = new.preprocess
    tokens = pair.targets(stored(["the dog sleeps ☕", "", "a"]))
    ids = pair.beside(stored(["der Hund", "x", "y"]), tokens)
    assert ids.shape == (3, 2, 12) and ids.dtype == torch.int32
    for row, fed in zip(tokens.tolist(), ids[:, 1].tolist(), strict=True):
        real = [t for t in row if t >= 0]
        assert fed[0] == pair.mark and fed[1 : len(real)] == real[:-1]
        assert not real or len(real) == 12 or real[-1] == pair.mark
    assert tokens[1].max() == -1, "an unknown text has no token to learn"
    assert bytes(pair.texts(tokens)[0]).rstrip(b"\0").decode() in "the dog sleeps ☕"  # cut at 12 tokens
    assert bytes(pair.texts(tokens)[2]).rstrip(b"\0") == b"a"


def test_what_comes_later_is_not_seen(new: Any) -> None:
    pair = new.preprocess
    ids = pair.beside(stored(["der Hund", "die Katze"]), pair.targets(stored(["the dog", "the cat runs"])))
    whole = new.module(ids)
    changed = ids.clone()
    changed[:, 1, 5:] = 7
    assert torch.equal(new.module(changed)[:, :5], whole[:, :5])
    wider = torch.cat([ids[:, :, :10], torch.zeros_like(ids[:, :, 10:])], dim=2)
    assert torch.allclose(new.module(wider[:, :, :10])[:, :8], new.module(wider)[:, :8], atol=1e-5), (
        "padding changes nothing"
    )


@pytest.mark.parametrize("beam", [1, 3])
def test_memory_and_running_anew_write_the_same(new: Any, beam: int) -> None:
    source = new.preprocess.outside(stored(["der Hund", "die Katze läuft", "ein Mann"]))[:, 0]
    mark = new.preprocess.mark
    with torch.no_grad():
        writing = Writing(mark, 12, beam)
        own = writing.search(stepper_of(new.module, source, 12))
        anew = writing.search(Whole(lambda ids: new.module(torch.from_numpy(ids)).numpy(), source.numpy(), 12))
    assert np.array_equal(own, anew)
    ends = [row.index(mark) if mark in row else 11 for row in own.tolist()]
    assert all(all(t == -1 for t in row[end + 1 :]) for row, end in zip(own.tolist(), ends, strict=True))


class Table:
    """Says what its rows say, whatever was written: logits [B, L, K] of each place."""

    def __init__(self, logits_BLK: Tensor) -> None:
        self.logits, self.rows = logits_BLK.numpy(), len(logits_BLK)

    def step(self, last_R: Any, place: int) -> Any:
        return self.logits[:, place]

    def take(self, index_R: Any) -> None:
        self.logits, self.rows = self.logits[index_R], len(index_R)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_text_there_is(penalty: float) -> None:
    length, num, mark = 4, 4, 3
    logits = torch.from_numpy(np.random.default_rng(1).normal(scale=2, size=(6, length, num)).astype(np.float32))
    barred = logits.clone()
    barred[:, :, 0] = -torch.inf
    log_p = torch.log_softmax(barred, dim=2).numpy()
    found = Writing(mark, length, 4, penalty).search(Table(logits))
    greedy = Writing(mark, length, 1, penalty).search(Table(logits))
    for row in range(6):

        def score(text: tuple[int, ...], row: int = row) -> float:
            return float(sum(log_p[row, i, t] for i, t in enumerate(text))) / len(text) ** penalty

        ended = [(*t, mark) for n in range(length) for t in itertools.product((1, 2), repeat=n)]
        every = ended + list(itertools.product((1, 2), repeat=length))
        got = tuple(t for t in found[row].tolist() if t >= 0)
        first = tuple(t for t in greedy[row].tolist() if t >= 0)
        assert score(got) >= score(first) - 1e-6
        assert score(got) <= max(map(score, every)) + 1e-6
        assert first[0] == int(barred[row, 0].argmax())


def test_a_batch_is_searched_row_by_row(new: Any) -> None:
    some = ["der Hund", "die Katze läuft", "ein Mann"]
    together = new.preprocess.answers(new.module, stored(some))
    alone = np.concatenate([new.preprocess.answers(new.module, stored([text])) for text in some])
    assert np.array_equal(together, alone)
