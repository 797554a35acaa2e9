"""The contract of an augmentation. Shapes: B rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from potstill.core.samples import FORMS, SampleKind
from potstill.data.augment import AugmentSpec, Batch, make_batch, registry
from potstill.data.dataset import Split
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

_ROWS = np.arange(48, dtype=np.int64)


def check_augmentation(spec: AugmentSpec) -> None:
    """Check that an augmentation is a pure function of (seed, row, view) that gives samples of its kind and keeps labels.

    Args:
        spec: valid for tiny samples (testing/tiny.py) of each kind that it reads: pictures of 8 by 10 pixels with one and with
            three channels.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "augmentation")
    claims = claims_of("augmentation", spec)
    splits = [tiny.split(channels=1)] if "image" in spec.reads else []
    splits += [tiny.split_of(tiny.samples(kind), kind, hidden=20) for kind in spec.reads]
    for split in splits:
        whole = make_batch(split, _ROWS, 3, (spec,), 9)
        plain = make_batch(split, _ROWS, 3, (), 9)
        _check_inputs(claims, split.kind, whole, plain)
        _check_labels(claims, whole, plain)
        _check_pure(claims, spec, split, whole)
        others = {
            "another view": make_batch(split, _ROWS, 4, (spec,), 9), "another seed": make_batch(split, _ROWS, 3, (spec,), 10),
            "none at all": plain,
        }  # fmt: skip
        for name, other in others.items():
            differs = (other.inputs_BX != whole.inputs_BX).flatten(1).any(dim=1)
            claims.that(bool(differs.any()), f"must differ from {name}")


def _check_inputs(claims: Claims, kind: SampleKind, whole: Batch, plain: Batch) -> None:
    inputs = whole.inputs_BX
    claims.that(
        inputs.shape == plain.inputs_BX.shape, f"must keep the {FORMS[kind].noun}s' shape", shape=list(inputs.shape)
    )
    claims.that(inputs.dtype == plain.inputs_BX.dtype, f"must give {plain.inputs_BX.dtype}", dtype=inputs.dtype)
    claims.that(inputs.is_contiguous(), "must give contiguous inputs: an exporter or a teacher may look at the bytes")
    low, high = float(inputs.min()), float(inputs.max())
    if kind == "image":
        claims.that(low >= -1e-6 and high <= 1 + 1e-6, "must give pixels in [0, 1]", low=low, high=high)
    if kind == "audio":
        claims.that(low >= -1 - 1e-6 and high <= 1 + 1e-6, "must give sound in [-1, 1]", low=low, high=high)
    if kind == "series":
        claims.finite(inputs, "must give finite values")
    if kind == "text":
        for row in inputs.numpy():
            text = bytes(row).rstrip(b"\0")
            claims.that(
                len(text) > 0 and b"\0" not in text, "must give text that is not empty, its zeros at the end", text=text
            )
            text.decode("utf-8")


def _check_labels(claims: Claims, whole: Batch, plain: Batch) -> None:
    claims.equal(whole.labels_B, plain.labels_B, "must keep the labels, hidden ones hidden")
    mix, partner = whole.mix_B, whole.partner_labels_B
    claims.that((mix is None) == (partner is None), "must give a partner's labels and its share, or neither")
    if mix is not None and partner is not None:
        claims.that(mix.shape == plain.labels_B.shape == partner.shape, "mix_B and partner_labels_B must be [B]")
        claims.that(bool(((mix > 0) & (mix <= 1)).all()), "mix_B must lie in (0, 1]", low=float(mix.min()))
        claims.that(bool((partner == -1).any()), "must not show a partner's hidden label", partners=partner.tolist())


def _check_pure(claims: Claims, spec: AugmentSpec, split: Split, whole: Batch) -> None:
    """The same row and view has the same bits in any batch, whatever the global generators have done."""
    order = np.random.default_rng(1).permutation(_ROWS)
    for rows in (order[:17], order[:1], np.repeat(order[:2], 3), _ROWS):
        with _generators_at(int(rows[0])):
            part = make_batch(split, rows, 3, (spec,), 9)
        claims.equal(part.inputs_BX, whole.inputs_BX[rows], "must give a row of a view the same bits in any batch")
        if whole.mix_B is not None and part.mix_B is not None:
            claims.equal(part.mix_B, whole.mix_B[rows], "must mix a row of a view alike in any batch")
    shown = make_batch(split, _ROWS, 3, (spec,), 9, reveal=True)
    claims.equal(shown.inputs_BX, whole.inputs_BX, "must not look at which labels are hidden")


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
