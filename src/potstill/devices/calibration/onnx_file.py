"""A net of the calibration as an ONNX file, in float32 or in 8-bit integers (QDQ). Shapes: B rows, C, H, W; L tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.devices.calibration.nets import Net, Step, steps

STEP = 1 / 32
"""From one code to the next of every activation; drawn weights leave them near 1."""


class _Writer:
    def __init__(self, net: Net, int8: bool) -> None:
        self.net, self.int8 = net, int8
        self.nodes: list[Any] = []
        self.held: list[Any] = []
        self.value = "inputs"
        self.flat = False

    def constant(self, array: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.held)}"
        self.held.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def rounded(self, value: str, zero: int = 0) -> str:
        """Return a value after it was made codes and numbers again."""
        if not self.int8:
            return value
        numbers = [self.constant(np.float32(STEP)), self.constant(np.int8(zero))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [value, *numbers]), *numbers])

    def weights(self, array: NDArray[np.float32]) -> str:
        if not self.int8:
            return self.constant(array)
        scale = np.float32(np.abs(array).max() / 127)
        codes = np.rint(array / scale).astype(np.int8)
        return self.node("DequantizeLinear", [self.constant(codes), self.constant(scale), self.constant(np.int8(0))])

    def bias(self, array: NDArray[np.float32], weights: NDArray[np.float32]) -> str:
        if not self.int8:
            return self.constant(array)
        scale = np.float32(np.float32(np.abs(weights).max() / 127) * np.float32(STEP))
        codes = np.rint(array / scale).astype(np.int32)
        return self.node("DequantizeLinear", [self.constant(codes), self.constant(scale), self.constant(np.int32(0))])

    def layer(self, step: Step) -> None:
        kind = step.layer.kind
        if kind == "pool":
            self.value = self.rounded(self.node("GlobalAveragePool", [self.value]))
            return
        assert step.weights is not None
        if kind == "embed":
            rows = self.node("Gather", [self.weights(step.weights), self.value], axis=0)  # [B, L, D]
            column = self.node("Unsqueeze", [rows, self.constant(np.array([1], np.int64))])
            self.value = self.rounded(self.node("Transpose", [column], perm=[0, 3, 1, 2]))
            return
        assert step.bias is not None
        made = self._product(step, self.bias(step.bias, step.weights))
        # ReLU and rounding to codes from -128 on join the product: the least code is zero.
        self.value = self.rounded(made) if step.last else self.rounded(self.node("Relu", [made]), -128)

    def _product(self, step: Step, bias: str) -> str:
        weights, kernel = step.weights, step.layer.kernel
        assert weights is not None
        if step.layer.kind == "fc":
            if not self.flat:
                self.value, self.flat = self.node("Flatten", [self.value], axis=1), True
            return self.node("Gemm", [self.value, self.weights(weights), bias], transB=1)
        order = (3, 0, 1, 2) if step.layer.kind == "dw" else (0, 3, 1, 2)
        made = self.weights(np.ascontiguousarray(weights.transpose(order)))
        groups = step.reads[2] if step.layer.kind == "dw" else 1
        return self.node(
            "Conv", [self.value, made, bias], kernel_shape=list(kernel), strides=_strides(step), group=groups, auto_pad="SAME_UPPER"
        )  # fmt: skip


def _strides(step: Step) -> list[int]:
    return [1 if step.reads[0] == 1 else step.layer.stride, step.layer.stride]


def onnx_bytes(net: Net, *, int8: bool) -> bytes:
    """Return a net as an ONNX file of batch 1: [1, C, H, W] float32 or [1, L] int32 -> [1, K] float32."""
    from onnx import TensorProto, helper

    writer = _Writer(net, int8)
    if net.layers[0].kind == "fc":
        writer.value, writer.flat = writer.node("Flatten", [writer.value], axis=1), True
    if not net.tokens:
        writer.value = writer.rounded(writer.value)
    for step in steps(net):
        writer.layer(step)
    writer.nodes[-1].output[0] = "outputs"
    shape = [1, *net.shape] if net.tokens else [1, net.shape[2], *net.shape[:2]]
    kind = TensorProto.INT32 if net.tokens else TensorProto.FLOAT
    graph = helper.make_graph(
        writer.nodes, net.name, [helper.make_tensor_value_info("inputs", kind, shape)],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [1, net.layers[-1].channels])], writer.held,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    made: bytes = model.SerializeToString(deterministic=True)
    return made
