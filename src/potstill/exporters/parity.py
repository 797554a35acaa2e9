"""An artifact against the module before it. Shapes: N rows, X the shape of one input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import ParityError
from potstill.exporters._base import Artifact, Parity

if TYPE_CHECKING:
    from torch import nn

_AGREEMENT = 0.99


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
    import torch

    num = len(inputs_NX)
    batches = sorted({b for b in (1, 2, 7, num) if b <= num})
    largest = total = count = 0.0
    agreement = 1.0
    for batch in batches:
        kept = num if batch == num else min(num, batch * 8)
        with torch.inference_mode():
            parts = [inputs_NX[i : i + batch] for i in range(0, kept, batch)]
            theirs = np.concatenate([artifact(part) for part in parts])
            ours = np.concatenate([module(torch.from_numpy(np.ascontiguousarray(p))).numpy() for p in parts])
        if not np.isfinite(ours).all():
            raise ParityError(f"{artifact.path.name}: module must give finite logits; got NaN or Inf at batch {batch}.")
        if theirs.shape != ours.shape or not np.isfinite(theirs).all():
            raise ParityError(
                f"{artifact.path.name}: must give {list(ours.shape)} finite logits; got {list(theirs.shape)}."
            )
        difference = np.abs(theirs - ours)
        largest, total, count = (
            max(largest, float(difference.max())),
            total + float(difference.sum()),
            count + difference.size,
        )
        if ours.ndim == 2:  # values have no answer that could change
            agreement = min(agreement, float((theirs.argmax(1) == ours.argmax(1)).mean()))
        allowed = tolerance * max(1.0, float(np.abs(ours).max()))
        if difference.max() > allowed or agreement < _AGREEMENT:
            raise ParityError(
                f"{artifact.path.name}: must give what the module gives; at batch {batch} logits differ by up to "
                f"{difference.max():.3g} (allowed {allowed:.3g}) and top-1 agrees on {agreement:.1%} of {kept} rows. What "
                "would run on the device is not what was measured. Nothing was exported."
            )
    return Parity(largest, total / count, agreement if ours.ndim == 2 else None, batches, num, tolerance)
