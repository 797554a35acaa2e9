"""Codecs: what they keep, within the error that each states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from potstill.core.errors import StoreError
from potstill.labels._kl import KlError
from potstill.labels.codecs import registry
from potstill.labels.codecs.float16 import Float16Spec
from potstill.labels.codecs.int8_affine import Int8AffineSpec
from potstill.labels.codecs.topk import TopKSpec

ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 40)),
    elements=st.floats(-3e4, 3e4, width=32, allow_subnormal=False),
)


@given(ROWS, st.sampled_from(["float32", "float16", "int8-affine"]))
def test_dense_codecs_stay_within_their_stated_error(values: np.ndarray, kind: str) -> None:
    codec = registry[kind]()
    fields = codec.encode(values)
    decoded = codec.decode(fields, values.shape[1])
    assert decoded.dtype == np.float32
    error = np.abs(decoded.astype(np.float64) - values).max(axis=1)
    assert (error <= codec.error_bound(values)).all()
    for name, (dtype, shape) in codec.layout(values.shape[1]).items():
        assert fields[name].dtype == np.dtype(dtype) and fields[name].shape == (len(values), *shape)


def test_int8_affine_takes_14_bytes_a_row_of_ten_classes() -> None:
    fields = Int8AffineSpec().encode(np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32))
    assert sum(a.nbytes for a in fields.values()) == 5 * 14


def test_int8_affine_keeps_constant_rows_and_both_ends() -> None:
    values = np.array([[3.5, 3.5, 3.5], [-7.3, 0.0, 11.1]], np.float32)
    decoded = Int8AffineSpec().decode(Int8AffineSpec().encode(values), 3)
    assert np.allclose(decoded[0], 3.5, atol=2e-3)
    assert abs(decoded[1, 0] + 7.3) < 0.05 and abs(decoded[1, 2] - 11.1) < 0.05


@pytest.mark.parametrize("codec", [Float16Spec(), Int8AffineSpec(), TopKSpec(k=1)])
def test_what_does_not_fit_float16_is_refused_with_its_row(codec: Float16Spec) -> None:
    with pytest.raises(StoreError, match="row 1"):
        codec.encode(np.array([[0.0, 1.0], [70000.0, 0.0]], np.float32))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("standardized", [False, True])
def test_topk_keeps_the_tails_mass_at_every_declared_temperature(temperature: float, standardized: bool) -> None:
    z = np.random.default_rng(1).normal(scale=4, size=(50, 30)).astype(np.float32)
    codec = TopKSpec(k=5)
    decoded = codec.decode(codec.encode(z), 30, temperature, standardized)
    exact = z.astype(np.float64)
    if standardized:
        exact = (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True)
    p, q = softmax(exact / temperature), softmax(decoded.astype(np.float64) / temperature)
    top = np.argsort(-z, axis=1)[:, :5]
    assert np.allclose(np.take_along_axis(p, top, 1), np.take_along_axis(q, top, 1), rtol=1.6e-2, atol=1e-5)
    rest = np.argsort(-z, axis=1)[:, 5:]
    assert np.allclose(
        np.take_along_axis(p, rest, 1).sum(1), np.take_along_axis(q, rest, 1).sum(1), rtol=1.6e-2, atol=1e-5
    )
    assert np.ptp(np.take_along_axis(q, rest, 1), axis=1).max() < 1e-7, "the rest shares its mass evenly"


def test_topk_serves_only_what_it_declared() -> None:
    codec = TopKSpec(k=2, temperatures=(3.0,))
    assert codec.serves(3.0, False) and not codec.serves(2.0, False)
    with pytest.raises(ValueError, match=r"must be one of \[3.0\]"):
        codec.decode(codec.encode(np.eye(4, dtype=np.float32)), 4, 2.0)
    with pytest.raises(ValueError, match="below the number of classes"):
        TopKSpec(k=4).layout(4)


def test_the_stated_kl_error_is_that_of_an_independent_reference() -> None:
    z = np.random.default_rng(2).normal(scale=5, size=(200, 10)).astype(np.float32)
    codec = Int8AffineSpec()
    fields = codec.encode(z)
    kl = KlError()
    kl.add(z[:120], {k: v[:120] for k, v in fields.items()}, codec, "logits")
    other = KlError()
    other.add(z[120:], {k: v[120:] for k, v in fields.items()}, codec, "logits")
    stated = KlError.merged([KlError.from_json(kl.to_json()), other]).as_dict()
    decoded = codec.decode(fields, 10).astype(np.float64)
    for t in (1.0, 2.0, 4.0):
        p, q = softmax(z.astype(np.float64) / t), softmax(decoded / t)
        reference = (p * (np.log(p) - np.log(q))).sum(1)
        assert stated[f"{t:g}"]["mean"] == pytest.approx(reference.mean(), rel=1e-6)
        assert stated[f"{t:g}"]["max"] == pytest.approx(reference.max(), rel=1e-6)
    assert stated["standardized"]["max"] > 0
