"""The contract of an augmentation. Shapes: B rows, C channels, H, W pixels."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from potstill.data.augment import AugmentSpec, PixelBatch, make_batch, registry
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

_ROWS = np.arange(48, dtype=np.int64)


def check_augmentation(spec: AugmentSpec) -> None:
    """Check that an augmentation is a pure function of (seed, row, view) that gives pictures and keeps labels.

    Args:
        spec: valid for pictures of 8 by 10 pixels with one and with three channels.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "augmentation")
    claims = claims_of("augmentation", spec)
    for channels in (1, 3):
        split = tiny.split(channels=channels)
        whole = make_batch(split, _ROWS, 3, (spec,), 9)
        plain = make_batch(split, _ROWS, 3, (), 9)
        _check_pixels(claims, whole, plain)
        _check_labels(claims, whole, plain)
        _check_pure(claims, spec, channels, whole)
        others = {
            "another view": make_batch(split, _ROWS, 4, (spec,), 9), "another seed": make_batch(split, _ROWS, 3, (spec,), 10),
            "none at all": plain,
        }  # fmt: skip
        for name, other in others.items():
            differs = (other.pixels_BCHW != whole.pixels_BCHW).flatten(1).any(dim=1)
            claims.that(bool(differs.any()), f"must differ from {name}")


def _check_pixels(claims: Claims, whole: PixelBatch, plain: PixelBatch) -> None:
    pixels = whole.pixels_BCHW
    claims.that(pixels.shape == plain.pixels_BCHW.shape, "must keep the pictures' shape", shape=list(pixels.shape))
    claims.that(pixels.dtype == plain.pixels_BCHW.dtype, "must give float32", dtype=pixels.dtype)
    claims.that(pixels.is_contiguous(), "must give contiguous pixels: an exporter or a teacher may look at the bytes")
    low, high = float(pixels.min()), float(pixels.max())
    claims.that(low >= -1e-6 and high <= 1 + 1e-6, "must give pixels in [0, 1]", low=low, high=high)


def _check_labels(claims: Claims, whole: PixelBatch, plain: PixelBatch) -> None:
    claims.equal(whole.labels_B, plain.labels_B, "must keep the labels, hidden ones hidden")
    mix, partner = whole.mix_B, whole.partner_labels_B
    claims.that((mix is None) == (partner is None), "must give a partner's labels and its share, or neither")
    if mix is not None and partner is not None:
        claims.that(mix.shape == plain.labels_B.shape == partner.shape, "mix_B and partner_labels_B must be [B]")
        claims.that(bool(((mix > 0) & (mix <= 1)).all()), "mix_B must lie in (0, 1]", low=float(mix.min()))
        claims.that(bool((partner == -1).any()), "must not show a partner's hidden label", partners=partner.tolist())


def _check_pure(claims: Claims, spec: AugmentSpec, channels: int, whole: PixelBatch) -> None:
    """The same row and view has the same bits in any batch, whatever the global generators have done."""
    split = tiny.split(channels=channels)
    order = np.random.default_rng(1).permutation(_ROWS)
    for rows in (order[:17], order[:1], np.repeat(order[:2], 3), _ROWS):
        with _generators_at(int(rows[0])):
            part = make_batch(split, rows, 3, (spec,), 9)
        claims.equal(part.pixels_BCHW, whole.pixels_BCHW[rows], "must give a row of a view the same bits in any batch")
        if whole.mix_B is not None and part.mix_B is not None:
            claims.equal(part.mix_B, whole.mix_B[rows], "must mix a row of a view alike in any batch")
    shown = make_batch(split, _ROWS, 3, (spec,), 9, reveal=True)
    claims.equal(shown.pixels_BCHW, whole.pixels_BCHW, "must not look at which labels are hidden")


@contextmanager
def _generators_at(seed: int) -> Iterator[None]:
    """Set every global generator, and put it back: none of them may matter."""
    import torch

    numpy_state, state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(state)
