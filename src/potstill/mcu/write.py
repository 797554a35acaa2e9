"""A Model as the bytes of a .tflite file: for an oracle that is asked about a few operators, and for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from potstill.core.extras import require
from potstill.mcu.model import Model, Tensor
from potstill.mcu.read import KINDS, TYPES

_SCHEMA = "tflite_micro.tensorflow.lite.micro.python.schema_py_generated"
_STRIDES = {"padding": "padding", "stride_w": "strideW", "stride_h": "strideH", "activation": "fusedActivationFunction"}
_DILATED = {**_STRIDES, "dilation_w": "dilationWFactor", "dilation_h": "dilationHFactor"}
_POOL = ("Pool2DOptions", {**_STRIDES, "filter_w": "filterWidth", "filter_h": "filterHeight"})
_ACTIVATION = {"activation": "fusedActivationFunction"}
_OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "CONV_2D": ("Conv2DOptions", _DILATED),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _DILATED | {"multiplier": "depthMultiplier"}),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "FULLY_CONNECTED": ("FullyConnectedOptions", _ACTIVATION),
    "SOFTMAX": ("SoftmaxOptions", {"beta": "beta"}),
    "CONCATENATION": ("ConcatenationOptions", {"axis": "axis"} | _ACTIVATION),
    "ADD": ("AddOptions", _ACTIVATION),
    "SUB": ("SubOptions", _ACTIVATION),
    "MUL": ("MulOptions", _ACTIVATION),
    "MEAN": ("ReducerOptions", {"keep": "keepDims"}),
    "SUM": ("ReducerOptions", {"keep": "keepDims"}),
    "STRIDED_SLICE": ("StridedSliceOptions", {n: f"{n.split('_')[0]}{''.join(w.title() for w in n.split('_')[1:])}" for n in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")}),
    "SPLIT": ("SplitOptions", {"num": "numSplits"}),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", {"align_corners": "alignCorners", "half_pixel_centers": "halfPixelCenters"}),
    "LEAKY_RELU": ("LeakyReluOptions", {"alpha": "alpha"}),
}  # fmt: skip
"""Operator -> its table of options, and ours by the schema's names."""


def write_model(model: Model) -> bytes:
    """Return the file. Raises MissingExtraError where TensorFlow Lite Micro, which brings the schema, is not installed."""
    import flatbuffers

    schema = require(_SCHEMA, "mcu", "TensorFlow Lite Micro")
    numbers = {name: number for number, name in KINDS.items()}
    graph, file = schema.SubGraphT(), schema.ModelT()
    file.buffers, file.operatorCodes = [schema.BufferT()], []
    graph.tensors = [_tensor(schema, t, file.buffers) for t in model.tensors]
    graph.operators = []
    for op in model.ops:
        code, node = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.version = numbers[op.kind], 2
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        file.operatorCodes.append(code)
        node.opcodeIndex, node.inputs, node.outputs = len(file.operatorCodes) - 1, list(op.inputs), list(op.outputs)
        if op.kind in _OPTIONS:
            name, fields = _OPTIONS[op.kind]
            node.builtinOptions, node.builtinOptionsType = (
                getattr(schema, f"{name}T")(),
                getattr(schema.BuiltinOptions, name),
            )
            for ours, theirs in fields.items():
                if ours in op.options:
                    setattr(
                        node.builtinOptions,
                        theirs,
                        float(op.options[ours]) if ours in ("alpha", "beta") else op.whole(ours),
                    )
        graph.operators.append(node)
    graph.inputs, graph.outputs, graph.name = list(model.inputs), list(model.outputs), "main"
    file.version, file.subgraphs = 3, [graph]
    builder = flatbuffers.Builder(4096)
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(schema: Any, t: Tensor, buffers: list[Any]) -> Any:
    made = schema.TensorT()
    made.shape, made.name, made.buffer = list(t.shape), t.name, 0
    made.type = next(number for number, name in TYPES.items() if name == t.dtype)
    if t.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(t.data).tobytes(), np.uint8)
        buffers.append(buffer)
        made.buffer = len(buffers) - 1
    if len(t.scales):
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = (
            [float(s) for s in t.scales],
            [int(z) for z in t.zero_points],
        )
        made.quantization.quantizedDimension = t.axis
    return made
