"""A net of the calibration as a .tflite file, in float32 or in 8-bit integers, codes in and out. Shapes: H, W, C; L tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.extras import require
from potstill.devices.calibration.nets import Net, Step, steps
from potstill.devices.calibration.onnx_file import STEP

_FLOAT, _INT32, _INT8 = 0, 2, 9
_CONV, _DEPTHWISE, _FC, _RESHAPE, _GATHER, _MEAN = 3, 4, 9, 22, 36, 40
_TYPES = {np.dtype(np.float32): _FLOAT, np.dtype(np.int32): _INT32, np.dtype(np.int8): _INT8}
_RELU = 1
"""Numbers of the schema (schema.fbs, version 3): types of tensors, operators, the activation that joins one."""
_VERSIONS = {_CONV: 3, _DEPTHWISE: 3, _FC: 4, _GATHER: 1, _MEAN: 2, _RESHAPE: 1}


class _Writer:
    def __init__(self, net: Net, int8: bool) -> None:
        self.schema = require("ai_edge_litert.schema_py_generated", "runtimes", "calibration in LiteRT")
        self.net, self.int8 = net, int8
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [self.schema.BufferT()]
        self.codes: list[int] = []
        self.operators: list[Any] = []

    def tensor(self, shape: tuple[int, ...], kind: int, scales: Any = None, zero: int = 0, axis: int = 0) -> int:
        """Return the number of a new tensor."""
        made = self.schema.TensorT(shape=list(shape), type=kind, name=f"t{len(self.tensors)}")
        if scales is not None:
            scales = np.atleast_1d(np.asarray(scales, np.float32))
            made.quantization = self.schema.QuantizationParametersT(
                scale=scales, zeroPoint=np.full(len(scales), zero, np.int64), quantizedDimension=axis
            )
        self.tensors.append(made)
        return len(self.tensors) - 1

    def constant(self, array: NDArray[Any], scales: Any = None, axis: int = 0) -> int:
        place = self.tensor(array.shape, _TYPES[array.dtype], scales, axis=axis)
        self.tensors[place].buffer = len(self.buffers)
        self.buffers.append(self.schema.BufferT(data=np.frombuffer(array.tobytes(), np.uint8)))
        return place

    def activation(self, shape: tuple[int, ...], zero: int = 0) -> int:
        return self.tensor(shape, _INT8, STEP, zero) if self.int8 else self.tensor(shape, _FLOAT)

    def operator(self, code: int, inputs: list[int], output: int, kind: str = "", options: Any = None) -> int:
        if code not in self.codes:
            self.codes.append(code)
        made = self.schema.OperatorT(opcodeIndex=self.codes.index(code), inputs=inputs, outputs=[output])
        if options is not None:
            made.builtinOptionsType, made.builtinOptions = getattr(self.schema.BuiltinOptions, kind), options
        self.operators.append(made)
        return output

    def same_shape_codes(self, place: int) -> int:
        """Return the zero point of a tensor."""
        found = self.tensors[place].quantization
        return 0 if found is None else int(found.zeroPoint[0])

    def layer(self, step: Step, value: int) -> int:
        """Add a layer; return the tensor that it gives."""
        kind, given = step.layer.kind, (1, *step.gives)
        if kind == "pool":
            out = self.activation(given, self.same_shape_codes(value))
            axes = self.constant(np.array([1, 2], np.int32))
            return self.operator(
                _MEAN, [value, axes], out, "ReducerOptions", self.schema.ReducerOptionsT(keepDims=True)
            )
        if kind == "embed":
            table = self._weights(step, axis=None)
            rows = self.tensor((1, *step.gives[1:]), _INT8, self.tensors[table].quantization.scale) if self.int8 else \
                self.activation((1, *step.gives[1:]))  # fmt: skip
            self.operator(_GATHER, [table, value], rows, "GatherOptions", self.schema.GatherOptionsT(axis=0))
            out = (
                self.tensor(given, _INT8, self.tensors[rows].quantization.scale)
                if self.int8
                else self.activation(given)
            )
            return self._reshaped(rows, given, out)
        if kind == "fc" and step.reads[:2] != (1, 1):
            flat = (1, int(np.prod(step.reads)))
            value = self._reshaped(value, flat, self.activation(flat, self.same_shape_codes(value)))
        return self._product(step, value)

    def _reshaped(self, value: int, shape: tuple[int, ...], out: int) -> int:
        new = self.constant(np.array(shape, np.int32))
        return self.operator(
            _RESHAPE, [value, new], out, "ReshapeOptions", self.schema.ReshapeOptionsT(newShape=list(shape))
        )

    def _weights(self, step: Step, axis: int | None) -> int:
        weights = step.weights
        assert weights is not None
        if not self.int8:
            return self.constant(weights)
        if axis is None:
            scales = np.abs(weights).max(keepdims=True).reshape(1).astype(np.float32) / 127
            return self.constant(np.rint(weights / scales).astype(np.int8), scales)
        others = tuple(i for i in range(weights.ndim) if i != axis)
        scales = (np.abs(weights).max(axis=others) / 127).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
        return self.constant(np.rint(weights / scales.reshape(shape)).astype(np.int8), scales, axis)

    def _product(self, step: Step, value: int) -> int:
        layer, schema = step.layer, self.schema
        assert step.bias is not None
        axis = {"conv": 0, "dw": 3, "fc": 0}[layer.kind]
        weights = self._weights(step, axis)
        inputs = [value, weights]
        if self.int8:
            read = float(self.tensors[value].quantization.scale[0])
            scales = self.tensors[weights].quantization.scale * np.float32(read)
            inputs.append(self.constant(np.zeros(len(step.bias), np.int32), scales))
        else:
            inputs.append(self.constant(step.bias))
        joined = 0 if step.last else _RELU
        out = self.activation(
            (1, step.gives[2]) if layer.kind == "fc" else (1, *step.gives), 0 if step.last else -128
        )  # fmt: skip
        if layer.kind == "fc":
            return self.operator(
                _FC, inputs, out, "FullyConnectedOptions", schema.FullyConnectedOptionsT(fusedActivationFunction=joined)
            )
        high = 1 if step.reads[0] == 1 else layer.stride
        if layer.kind == "dw":
            options = schema.DepthwiseConv2DOptionsT(
                strideW=layer.stride, strideH=high, depthMultiplier=1, fusedActivationFunction=joined
            )
            return self.operator(_DEPTHWISE, inputs, out, "DepthwiseConv2DOptions", options)
        options = schema.Conv2DOptionsT(strideW=layer.stride, strideH=high, fusedActivationFunction=joined)
        return self.operator(_CONV, inputs, out, "Conv2DOptions", options)


def tflite_bytes(net: Net, *, int8: bool) -> bytes:
    """Return a net as a .tflite file: [1, H, W, C] or [1, L] int32 -> [1, K].

    Raises:
        MissingExtraError: LiteRT, whose schema is read, is not installed.
    """
    import flatbuffers

    writer = _Writer(net, int8)
    schema = writer.schema
    first = writer.tensor((1, *net.shape), _INT32) if net.tokens else writer.activation((1, *net.shape))
    value = first
    for step in steps(net):
        value = writer.layer(step, value)
    graph = schema.SubGraphT(tensors=writer.tensors, inputs=[first], outputs=[value], operators=writer.operators)
    codes = [
        schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=_VERSIONS[code])
        for code in writer.codes
    ]
    model = schema.ModelT(
        version=3, operatorCodes=codes, subgraphs=[graph], buffers=writer.buffers, description=net.name.encode()
    )
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
