"""A torch model that writes, token by token. Loads torch. Shapes: B rows, S tokens of a source, L tokens at most.

A model with a memory has a method `parts()` that gives two modules: a reader, [B, S] ids -> a tuple of tensors [B, ...], and a step
with `nothing(rows)`, what is kept before the first token, a list of tensors [R, ...], and `forward(last [R], what the reader gave, what
is kept)` -> (logits [R, K], *what is kept then). One without is run anew for each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from potstill.core.writing import Remembering, Stepper, Whole


def parts_of(module: Any) -> tuple[nn.Module, Any]:
    """Return what reads and what writes a token, in eval mode."""
    reader, step = module.parts()
    return reader.eval(), step.eval()


def stepper_of(module: nn.Module, source_BS: Tensor, length: int) -> Stepper:
    """Return the module's own way to write, or `Whole`.

    Args:
        module: in eval mode.
        source_BS: ids of the sources, on the module's device.
        length: L.
    """
    device = source_BS.device
    if not hasattr(module, "parts"):

        def anew(ids_R2L: NDArray[np.int32]) -> NDArray[np.float32]:
            return _array(module(torch.from_numpy(ids_R2L).to(device)))

        return Whole(anew, source_BS.cpu().numpy(), length)
    reader, step = parts_of(module)

    def run(
        last_R: NDArray[np.int32], source: Sequence[Any], kept: Sequence[Any]
    ) -> tuple[NDArray[np.float32], list[Tensor]]:
        logits, *now = step(torch.from_numpy(last_R).to(device), list(source), list(kept))
        return _array(logits), now

    return Remembering(run, reader(source_BS), step.nothing(len(source_BS)), len(source_BS))


def _array(logits: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = logits.float().cpu().numpy()
    return found
