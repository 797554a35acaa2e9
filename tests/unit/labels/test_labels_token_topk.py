"""Each token of a row by itself: the largest logits, and the rest's mass."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from potstill.core.errors import ShapeError
from potstill.labels.codecs.token_topk import TokenTopKSpec


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_each_token_keeps_its_largest_and_the_mass_of_the_rest(temperature: float) -> None:
    values = np.random.default_rng(0).normal(scale=3, size=(7, 5, 40)).astype(np.float32)
    codec = TokenTopKSpec(length=5, k=6, temperature=temperature)
    decoded = codec.decode(codec.encode(values.reshape(7, -1)), 200, temperature).reshape(7, 5, 40)
    order = np.argsort(-values, axis=2)
    kept, rest = order[:, :, :6], order[:, :, 6:]
    np.testing.assert_allclose(np.take_along_axis(decoded, kept, 2), np.take_along_axis(values, kept, 2), rtol=1e-3)
    for which in (rest, order):
        theirs, ours = (logsumexp(np.take_along_axis(v, which, 2) / temperature, axis=2) for v in (values, decoded))
        np.testing.assert_allclose(ours, theirs, atol=5e-3)
    cut = {name: array[:, :3] for name, array in codec.encode(values.reshape(7, -1)).items()}
    assert np.array_equal(codec.decode(cut, 120, temperature).reshape(7, 3, 40), decoded[:, :3])


def test_a_row_must_be_so_many_tokens() -> None:
    with pytest.raises(ShapeError, match=r"length tokens of more than k each; got length=5, k=6"):
        TokenTopKSpec(length=5, k=6).layout(201)
    with pytest.raises(ValueError, match="temperature must be"):
        TokenTopKSpec(length=5, k=6).decode(TokenTopKSpec(length=5, k=6).encode(np.zeros((1, 50), np.float32)), 50, 2.0)
