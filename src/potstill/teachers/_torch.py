"""A torch module as a labeller. Shapes: B rows, X the shape of one input, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from potstill.core.errors import ShapeError, TeacherError
from potstill.teachers._base import OutputKind


class TorchLabeller:
    """Eval mode, no gradient, float32.

    Args:
        module: what `preprocess` gives -> [B, K], or [B, H, V] where `output` is values.
        preprocess: a batch as the data gives it -> what the module reads.
        output: what the module gives.
        num_classes: K.
        class_order: column i of the result is column class_order[i] of the module; None keeps the order.
    """

    def __init__(
        self, module: nn.Module, preprocess: nn.Module, output: OutputKind, num_classes: int,
        class_order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self.module = module.eval().requires_grad_(False)
        self.preprocess = preprocess.eval()
        self.output: OutputKind = output
        self.num_classes = num_classes
        self.class_order = list(class_order) if class_order is not None else None

    @torch.inference_mode()
    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32."""
        self.module.eval()
        try:
            out = self.module(self.preprocess(torch.from_numpy(inputs_BX)))
        except RuntimeError as err:
            raise ShapeError(
                f"teacher: must take inputs {list(inputs_BX.shape)} after its own input size; got "
                f"{str(err).splitlines()[0]}. Set teacher.input."
            ) from err
        shape = "[rows, horizon, variables]" if self.output == "values" else "[rows, classes]"
        if not isinstance(out, torch.Tensor) or out.ndim != shape.count(",") + 1:
            shown = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise TeacherError(f"teacher: must give a tensor {shape}; got {shown}.")
        return reorder(out.float().numpy(), self.class_order)


def reorder(outputs_BK: NDArray[Any], class_order: Sequence[int] | None) -> NDArray[Any]:
    """Return columns in the data's order.

    Raises:
        TeacherError: class_order names a column that is not there.
    """
    if class_order is None:
        return outputs_BK
    if max(class_order) >= outputs_BK.shape[1]:
        raise TeacherError(
            f"teacher.class_order: must name columns 0..{outputs_BK.shape[1] - 1}; got {max(class_order)}."
        )
    return np.ascontiguousarray(outputs_BK[:, list(class_order)])
