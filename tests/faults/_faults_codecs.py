"""Codecs: what comes back lies within the stated error, and the stated KL error is the true one."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
from _faults import Fault, Trial, check
from numpy.typing import NDArray

from potstill.labels._kl import KlError
from potstill.labels.codecs import CodecSpec, registry

KINDS = ("float32", "float16", "int8-affine", "topk")
TEMPERATURES = (1.0, 2.0, 4.0)


def rows_of(draw: random.Random) -> tuple[str, NDArray[Any]]:
    """Return (what they are like, rows [N, K] float32): ordinary logits and the odd ones that break rounding."""
    rng = np.random.default_rng(draw.getrandbits(32))
    num, classes = draw.randint(1, 40), draw.choice([2, 3, 10, 37, 100, 1000])
    kind = draw.choice(["normal", "heavy", "constant", "tiny", "offset", "two values", "wide", "ends"])
    z = {
        "normal": lambda: rng.normal(scale=draw.uniform(0.1, 20), size=(num, classes)),
        "heavy": lambda: np.clip(rng.standard_cauchy(size=(num, classes)), -6e4, 6e4),
        "constant": lambda: np.full((num, classes), rng.uniform(-3e4, 3e4)),
        "tiny": lambda: rng.normal(scale=10.0 ** draw.uniform(-12, -3), size=(num, classes)),
        "offset": lambda: rng.normal(size=(num, classes)) + draw.uniform(-5e4, 5e4),
        "two values": lambda: rng.choice(rng.uniform(-100, 100, 2), size=(num, classes)),
        "wide": lambda: rng.uniform(-6.5e4, 6.5e4, size=(num, classes)),
        "ends": lambda: rng.choice([-65504.0, 0.0, 65504.0, 1e-30], size=(num, classes)),
    }[kind]()
    return kind, np.clip(z, -65504, 65504).astype(np.float32)


def reference_kl(z: NDArray[Any], decoded: NDArray[Any], temperature: float) -> NDArray[Any]:
    """Return [N] KL(softmax(z / T), softmax(decoded / T)) in long double, in one line of the definition."""
    log_p, log_q = (_log_softmax(v.astype(np.longdouble) / temperature) for v in (z, decoded))
    out: NDArray[Any] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return out


def _log_softmax(v: NDArray[Any]) -> NDArray[Any]:
    v = v - v.max(axis=1, keepdims=True)
    out: NDArray[Any] = v - np.log(np.exp(v).sum(axis=1, keepdims=True))
    return out


class Codecs(Fault):
    """Random rows through every codec."""

    name: ClassVar[str] = "codecs"
    promise: ClassVar[str] = (
        "values come back within the stated error; the KL error is stated at T = 1, 2, 4 and standardised"
    )
    unit: ClassVar[str] = "batches"
    small: ClassVar[int] = 200
    full: ClassVar[int] = 10000

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        for _ in range(10):
            like, z = rows_of(draw)
            kind = draw.choice(KINDS)
            codec = registry[kind](k=draw.randint(1, z.shape[1] - 1)) if kind == "topk" else registry[kind]()
            within_bound(codec, z, like)
            stated_kl(codec, z, like)
            out.note(kind, 1)
        return out


def within_bound(codec: CodecSpec, z: NDArray[Any], like: str) -> None:
    """Raise Broken where a value that was kept comes back further away than the codec says."""
    fields = codec.encode(z)
    decoded = codec.decode(fields, z.shape[1]).astype(np.float64)
    error = np.abs(decoded - z)
    if codec.kind == "topk":  # of the values that it keeps
        error = np.take_along_axis(error, fields["indices"].astype(np.int64), 1)
    bound = codec.error_bound(z)
    check(
        bool((error.max(axis=1) <= bound).all()),
        f"{codec.kind}, {like}: beyond its bound by {(error.max(axis=1) - bound).max()}",
    )


def stated_kl(codec: CodecSpec, z: NDArray[Any], like: str) -> None:
    """Raise Broken where a KL error is not stated, or is not what the definition gives."""
    fields, found = codec.encode(z), KlError()
    found.add(z, fields, codec, "logits")
    stated = found.as_dict()
    check(set(stated) == {"1", "2", "4", "standardized"}, f"{codec.kind}: states {sorted(stated)}")
    for temperature in TEMPERATURES:
        kl = reference_kl(z, codec.decode(fields, z.shape[1], temperature), temperature)
        for what, value in (("mean", kl.mean()), ("max", kl.max())):
            ours = stated[f"{temperature:g}"][what]
            close = abs(ours - float(value)) <= 1e-9 + 1e-6 * float(value)
            check(close, f"{codec.kind}, {like}, T={temperature}: {what} is {float(value)}, stated {ours}")
