"""What a codec's rounding costs: KL(softmax of the original ‖ softmax of the decoded); of features, which have no softmax,
the largest difference in a row. Shapes: N rows, K classes or values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.labels.codecs import CodecSpec
from potstill.labels.codecs._dense import standardize

TEMPERATURES = (1.0, 2.0, 4.0)
STANDARDIZED = "standardized"


class KlError:
    """Sums over rows, by temperature; "standardized" is at T = 1 of standardised rows; "absolute" of features."""

    def __init__(self) -> None:
        self._of: dict[str, list[float]] = {}

    def add(self, values_NK: NDArray[Any], fields: Mapping[str, NDArray[Any]], codec: CodecSpec, output: str) -> None:
        """Count rows that were just encoded; values and tokens are no distributions, and have no such error."""
        if output == "features":
            difference = np.abs(codec.decode(fields, values_NK.shape[1]) - values_NK)
            self._count("absolute", difference.max(axis=1))
            return
        if output not in ("logits", "probabilities"):
            return
        if codec.per_token:
            self._add_tokens(values_NK, fields, codec)
            return
        if output == "probabilities":
            p, q = values_NK.astype(np.float64), codec.decode(fields, values_NK.shape[1])
            self._count("1", _kl(_log(p), _log(np.maximum(q.astype(np.float64), 0))))
            return
        for t in TEMPERATURES:
            if codec.serves(t, False):
                decoded = codec.decode(fields, values_NK.shape[1], t)
                self._count(f"{t:g}", _kl(_log_softmax(values_NK / t), _log_softmax(decoded / t)))
        if codec.serves(1.0, True):
            decoded = codec.decode(fields, values_NK.shape[1], 1.0, True)
            self._count(STANDARDIZED, _kl(_log_softmax(standardize(values_NK)), _log_softmax(decoded)))

    def _add_tokens(self, values_NK: NDArray[Any], fields: Mapping[str, NDArray[Any]], codec: CodecSpec) -> None:
        """Count tokens, of many rows every sixteenth's: there are dozens a row."""
        some = slice(None, None, 16 if values_NK.size > 1 << 20 else 1)
        part, num = {k: v[some] for k, v in fields.items()}, values_NK.shape[1]
        length = next(iter(fields.values())).shape[1]
        for t in (t for t in {1.0, *TEMPERATURES} if codec.serves(t, False)):
            decoded = codec.decode(part, num, t)
            p, q = (v.reshape(-1, num // length) / t for v in (values_NK[some], decoded))
            self._count(f"{t:g}", _kl(_log_softmax(p), _log_softmax(q)))

    def _count(self, name: str, kl_N: NDArray[Any]) -> None:
        total, num, largest = self._of.get(name, [0.0, 0.0, 0.0])
        self._of[name] = [total + float(kl_N.sum()), num + len(kl_N), max(largest, float(kl_N.max()))]

    def to_json(self) -> dict[str, list[float]]:
        """Return the sums."""
        return self._of

    @classmethod
    def from_json(cls, value: dict[str, list[float]]) -> KlError:
        """Return what `to_json` gave."""
        out = cls()
        out._of = {k: list(v) for k, v in value.items()}
        return out

    @classmethod
    def merged(cls, parts: Sequence[KlError]) -> KlError:
        """Return the sums over several shards, in order."""
        out = cls()
        for part in parts:
            for name, (total, num, largest) in part._of.items():
                mine = out._of.get(name, [0.0, 0.0, 0.0])
                out._of[name] = [mine[0] + total, mine[1] + num, max(mine[2], largest)]
        return out

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return {"1": {"mean": nats, "max": nats}, ...}, or {"absolute": ...} in units of the features."""
        return {k: {"mean": total / max(num, 1), "max": largest} for k, (total, num, largest) in self._of.items()}


def _log_softmax(values_NK: NDArray[Any]) -> NDArray[Any]:
    shifted = values_NK.astype(np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    out: NDArray[Any] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return out


def _log(p_NK: NDArray[Any]) -> NDArray[Any]:
    p = np.maximum(p_NK, 1e-12)
    out: NDArray[Any] = np.log(p / p.sum(axis=1, keepdims=True))
    return out


def _kl(log_p_NK: NDArray[Any], log_q_NK: NDArray[Any]) -> NDArray[Any]:
    kl: NDArray[Any] = (np.exp(log_p_NK) * (log_p_NK - log_q_NK)).sum(axis=1)
    return kl.clip(min=0.0)
