"""The contract of a codec. Shapes: N rows, K classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import PotstillError
from potstill.labels._kl import STANDARDIZED, TEMPERATURES, KlError
from potstill.labels.codecs import CodecSpec, registry
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec


def check_codec(spec: CodecSpec, num_classes: int = 20) -> None:
    """Check that a codec keeps what it says, in the bytes it says, row by row.

    Args:
        spec: valid for so many classes.
        num_classes: K.

    Raises:
        AssertionError: something does not hold; says what.
    """
    check_spec(spec, registry, "codec")
    claims = claims_of("codec", spec)
    if spec.tokens:
        _check_tokens(claims, spec, num_classes)
        return
    values = _rows(num_classes)
    kept = values.copy()
    fields = spec.encode(values)
    claims.equal(values, kept, "encode must leave its input as it is")
    _check_layout(claims, spec, fields, values)
    _check_bytes(claims, spec, fields, values)
    _check_error(claims, spec, fields, values)
    _check_kl(claims, spec, fields, values)
    huge = np.full((1, num_classes), 1e30, np.float32)
    huge[0, 0] = -1e30
    try:
        decoded = _decoded(spec, spec.encode(huge), num_classes)
    except PotstillError:
        return
    claims.that(
        (np.abs(decoded - huge)[0, 1:] <= spec.error_bound(huge)[0]).all(), "must keep, or refuse with a PotstillError, what "
        "is out of its range", decoded=decoded[0, :2].tolist(),
    )  # fmt: skip


def _check_tokens(claims: Claims, spec: CodecSpec, length: int) -> None:
    """Ids come back as they were; what is no id is refused, not rounded."""
    ids = np.random.default_rng(3).integers(-1, 2**16 + 9, (40, length)).astype(np.float32)
    ids[0], ids[1] = -1, 2**24
    kept = ids.copy()
    fields = spec.encode(ids)
    claims.equal(ids, kept, "encode must leave its input as it is")
    _check_layout(claims, spec, fields, ids)
    for array in fields.values():
        array.flags.writeable = False  # as it is when mapped from disk
    claims.equal(spec.decode(fields, length), ids, "decode must give every id back, as [N, L] float32")
    claims.that(not np.asarray(spec.error_bound(ids)).any(), "error_bound of ids must be 0")
    order = np.random.default_rng(4).permutation(len(ids))
    for name, array in spec.encode(ids[order]).items():
        claims.equal(array, fields[name][order], f"{name!r} of a row must not depend on the rows beside it")
    for wrong in (0.5, -2.0, 2.0**25):
        bad = ids.copy()
        bad[3, 1] = wrong
        claims.refuses(lambda bad=bad: spec.encode(bad), PotstillError, f"must refuse {wrong:g}, which is no id")


def _rows(num_classes: int) -> NDArray[Any]:
    """Return rows of every shape that logits come in, no two alike."""
    rng = np.random.default_rng(3)
    scales, shifts = 10 ** rng.uniform(-3, 3.5, (120, 1)), rng.normal(scale=20, size=(120, 1))
    parts = [rng.normal(size=(120, num_classes)) * scales, rng.normal(size=(120, num_classes)) * scales**0.5 + shifts]
    parts += [np.zeros((1, num_classes)), np.full((1, num_classes), -7.3), 20 * np.eye(num_classes)[:3] - 3]
    parts += [np.linspace(-3e4, 3e4, num_classes)[None], np.repeat([[5.0, -5.0]], num_classes // 2, 1).reshape(1, -1)]
    return np.concatenate([p[:, :num_classes] for p in parts if p.shape[1] == num_classes]).astype(np.float32)


def _decoded(spec: CodecSpec, fields: Any, num_classes: int, standardized: bool = False) -> NDArray[Any]:
    temperature = next(t for t in (1.0, *getattr(spec, "temperatures", ())) if spec.serves(t, standardized))
    return spec.decode(fields, num_classes, temperature, standardized)


def _check_layout(claims: Claims, spec: CodecSpec, fields: dict[str, NDArray[Any]], values: NDArray[Any]) -> None:
    layout = spec.layout(values.shape[1])
    claims.that(
        set(layout) == set(fields), "layout must name the fields of encode", layout=set(layout), fields=set(fields)
    )
    for name, (dtype, shape) in layout.items():
        claims.that(np.dtype(dtype).byteorder != ">", f"layout[{name!r}] must be little-endian", dtype=dtype)
        claims.that(
            fields[name].dtype == np.dtype(dtype) and fields[name].shape == (len(values), *shape),
            f"encode must give {name!r} as layout says, {dtype}{[len(values), *shape]}",
            dtype=fields[name].dtype, shape=fields[name].shape,
        )  # fmt: skip


def _check_bytes(claims: Claims, spec: CodecSpec, fields: dict[str, NDArray[Any]], values: NDArray[Any]) -> None:
    order = np.random.default_rng(4).permutation(len(values))
    alone = [spec.encode(values[i : i + 1]) for i in order]
    again, shuffled = spec.encode(values), spec.encode(values[order])
    for name, array in fields.items():
        claims.equal(again[name], array, f"{name!r} must have the same bytes each time")
        claims.equal(shuffled[name], array[order], f"{name!r} of a row must not depend on the rows beside it")
        claims.equal(
            np.concatenate([a[name] for a in alone]), array[order], f"{name!r} of a row must be that of the row alone"
        )
    for array in fields.values():
        array.flags.writeable = False  # as it is when mapped from disk
    for standardized in (False, True) if spec.serves(1.0, True) else (False,):
        first = _decoded(spec, fields, values.shape[1], standardized)
        claims.that(first.dtype == np.float32 and first.shape == values.shape, "decode must give [N, K] float32", dtype=first.dtype, shape=first.shape)  # fmt: skip
        claims.finite(first, "decode must give finite values")
        picked = {name: array[order] for name, array in fields.items()}
        claims.equal(_decoded(spec, picked, values.shape[1], standardized), first[order], "decode must go row by row")


def _check_error(claims: Claims, spec: CodecSpec, fields: dict[str, NDArray[Any]], values: NDArray[Any]) -> None:
    bound = np.asarray(spec.error_bound(values))
    claims.that(
        bound.shape == (len(values),) and (bound >= 0).all(), "error_bound must be [N], >= 0", shape=bound.shape
    )
    decoded = _decoded(spec, fields, values.shape[1])
    error = np.abs(decoded.astype(np.float64) - values)
    if not spec.dense:  # what is left out has no bound; the largest value is never left out
        error = np.take_along_axis(error, values.argmax(axis=1)[:, None], axis=1)
    worst = int((error.max(axis=1) - bound).argmax())
    claims.that(
        (error.max(axis=1) <= bound).all(), "must stay within its error_bound", error=float(error[worst].max()),
        bound=float(bound[worst]), row=values[worst].tolist(),
    )  # fmt: skip
    if not spec.serves(1.0, True):
        return
    spread = values.std(axis=1) > 1e-2 * np.abs(values).max(axis=1)
    standard = _decoded(spec, fields, values.shape[1], True)[spread].astype(np.float64)
    if spec.dense:
        claims.close(standard.mean(axis=1), 0 * bound[spread], "standardised rows must have mean 0", atol=1e-4)
        claims.close(standard.std(axis=1), 0 * bound[spread] + 1, "standardised rows must have deviation 1", atol=1e-4)


def _check_kl(claims: Claims, spec: CodecSpec, fields: dict[str, NDArray[Any]], values: NDArray[Any]) -> None:
    """The error that a store states must be that of an independent count, at every temperature served."""
    some = np.abs(values).max(axis=1) < 100
    values, fields = values[some], {name: array[some] for name, array in fields.items()}
    kl = KlError()
    kl.add(values, fields, spec, "logits")
    stated = kl.as_dict()
    for t in TEMPERATURES:
        if spec.serves(t, False):
            claims.that(f"{t:g}" in stated, f"must have its KL error at T={t:g} stated", stated=sorted(stated))
            shape = (-1, values.shape[1] // getattr(spec, "length", 1))  # each token by itself
            p, q = (_softmax(v.reshape(shape) / t) for v in (values, spec.decode(fields, values.shape[1], t)))
            terms = np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q, 1e-300))), 0)
            mean = float(terms.sum(axis=1).mean())
            claims.close(stated[f"{t:g}"]["mean"], mean, f"must have its true KL error at T={t:g} stated", 1e-4, 1e-9)
    served = spec.serves(1.0, True)
    claims.that(
        (STANDARDIZED in stated) == served, "must have its KL error on standardised rows stated if it serves them"
    )


def _softmax(values: NDArray[Any]) -> NDArray[Any]:
    exp = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    out: NDArray[Any] = exp / exp.sum(axis=1, keepdims=True)
    return out
