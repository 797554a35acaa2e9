"""An artifact against the module before it. Shapes: N rows, X the shape of one input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import ParityError
from potstill.exporters._base import Artifact, Parity

if TYPE_CHECKING:
    from torch import nn

CODES = 1.0
"""A code that lies between two integers may fall to either side in another order of sums."""
AGREEMENT = 0.99
"""Least share of rows whose answer is the same."""


def batches_of(num_rows: int) -> list[int]:
    """Return the batch sizes that are compared."""
    return sorted({b for b in (1, 2, 7, num_rows) if b <= num_rows})


def compare(module: nn.Module, artifact: Artifact, inputs_NX: NDArray[Any], tolerance: float) -> Parity:
    """Compare over real samples at batch 1, 2, 7 and N.

    Args:
        module: in eval mode.
        artifact: callable like it.
        inputs_NX: at least 2 rows.
        tolerance: bound of |difference| / max(1, largest |logit|).

    Raises:
        ParityError: the difference is larger, or top-1 agrees on fewer than 99 % of rows at any batch size.
    """
    num = len(inputs_NX)
    batches = batches_of(num)
    largest = total = count = 0.0
    agreement = 1.0
    for batch in batches:
        kept = num if batch == num else min(num, batch * 8)
        ours, theirs = _both(module, artifact, inputs_NX[:kept], batch)
        difference = np.abs(theirs - ours)
        largest, total, count = (
            max(largest, float(difference.max())),
            total + float(difference.sum()),
            count + difference.size,
        )
        if ours.ndim == 2:  # values have no answer that could change
            agreement = min(agreement, float((theirs.argmax(1) == ours.argmax(1)).mean()))
        allowed = tolerance * max(1.0, float(np.abs(ours).max()))
        if difference.max() > allowed or agreement < AGREEMENT:
            raise ParityError(
                f"{artifact.path.name}: must give what the module gives; at batch {batch} logits differ by up to "
                f"{difference.max():.3g} (allowed {allowed:.3g}) and top-1 agrees on {agreement:.1%} of {kept} rows. What "
                "would run on the device is not what was measured. Nothing was exported."
            )
    return Parity(largest, total / count, agreement if ours.ndim == 2 else None, batches, num, tolerance)


def compare_rounded(
    module: nn.Module,
    rounding: nn.Module,
    artifact: Artifact,
    inputs_NX: NDArray[Any],
    step: float | None,
    tolerance: float = CODES,
) -> Parity:
    """Compare the artifact of a quantised model over real samples at batch 1, 2, 7 and N.

    Args:
        module: in float32, in eval mode.
        rounding: computes in float32 what the artifact computes in integers.
        artifact: callable like them.
        inputs_NX: at least 2 rows.
        step: from one code of the output to the next; None where it answers in float: a 255th of the answers' range then counts as
            a code, since a code that falls to the other side inside the model moves an answer by parts of it.
        tolerance: difference of a code that 99 % of them must keep.

    Raises:
        ParityError: more than 1 % of the codes differ by more than `tolerance`, or top-1 is another on more than 1 % of
            rows whose two largest answers lie further apart than that.
    """
    num = len(inputs_NX)
    largest = total = count = equal = codes_max = 0.0
    agreement = 1.0
    for batch in batches_of(num):
        kept = num if batch == num else min(num, batch * 8)
        ours, theirs = _both(rounding, artifact, inputs_NX[:kept], batch)
        code = step or max(float(ours.max() - ours.min()) / 255, 1e-12)
        difference = np.abs(theirs - ours)
        codes = difference / code
        largest, total, count = (
            max(largest, float(difference.max())),
            total + float(difference.sum()),
            count + codes.size,
        )
        equal, codes_max = equal + float((codes < 0.5).sum()), max(codes_max, float(codes.max()))
        if ours.ndim == 2:
            best = np.sort(ours, axis=1)
            clear = (
                best[:, -1] - best[:, -2] > (tolerance + 0.5) * code if ours.shape[1] > 1 else np.ones(len(ours), bool)
            )
            same = theirs.argmax(1) == ours.argmax(1)
            agreement = min(agreement, float(same[clear].mean()) if clear.any() else 1.0)
        within = float((codes < tolerance + 0.5).mean())
        if within < AGREEMENT or agreement < AGREEMENT:
            raise ParityError(
                f"{artifact.path.name}: must give what the model that rounds gives; at batch {batch} {within:.1%} of the codes are "
                f"within {tolerance:g} of it (at least {AGREEMENT:.0%}), the largest difference is {codes.max():.1f} codes, and top-1 agrees on "
                f"{agreement:.1%} of the clear rows. What would run on the device is not what was measured. Nothing was exported."
            )
    top1 = None
    if ours.ndim == 2:
        whole, theirs = _both(module, artifact, inputs_NX, num)
        top1 = float((whole.argmax(1) == theirs.argmax(1)).mean())
    return Parity(
        largest,
        total / count,
        agreement if ours.ndim == 2 else None,
        batches_of(num),
        num,
        tolerance,
        equal / count,
        codes_max,
        top1,
    )


def _both(
    module: nn.Module, artifact: Artifact, inputs_NX: NDArray[Any], batch: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what module and artifact give, batch by batch. Raises ParityError unless both are finite and of one shape."""
    import torch

    with torch.inference_mode():
        parts = [inputs_NX[i : i + batch] for i in range(0, len(inputs_NX), batch)]
        theirs = np.concatenate([artifact(part) for part in parts])
        ours = np.concatenate([module(torch.from_numpy(np.ascontiguousarray(p))).numpy() for p in parts])
    if not np.isfinite(ours).all():
        raise ParityError(f"{artifact.path.name}: module must give finite logits; got NaN or Inf at batch {batch}.")
    if theirs.shape != ours.shape or not np.isfinite(theirs).all():
        raise ParityError(
            f"{artifact.path.name}: must give {list(ours.shape)} finite logits; got {list(theirs.shape)}."
        )
    return ours, theirs
