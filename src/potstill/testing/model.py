"""The contract of a model family. Shapes: B rows, C channels, H, W pixels, K classes."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from pydantic import ValidationError

from potstill.models import ModelIO, ModelSpec, registry
from potstill.testing import tiny
from potstill.testing._claims import Claims, claims_of
from potstill.testing.spec import check_spec

if TYPE_CHECKING:
    from torch import Tensor, nn

SIZES = ("width", "dim", "depth")
"""Fields that say how large a model is: each larger value makes more parameters or more work."""

MCU_OPERATORS = {
    # aten operator: what TensorFlow Lite Micro runs it with
    "convolution": "CONV_2D, DEPTHWISE_CONV_2D", "addmm": "FULLY_CONNECTED", "mm": "FULLY_CONNECTED", "bmm": "BATCH_MATMUL",
    "native_batch_norm": "folded", "_native_batch_norm_legit_no_training": "folded", "cudnn_batch_norm": "folded",
    "native_layer_norm": "MEAN, SQUARED_DIFFERENCE, RSQRT, MUL, ADD", "relu": "RELU", "relu_": "RELU", "hardtanh": "RELU6",
    "hardtanh_": "RELU6", "clamp": "MAXIMUM, MINIMUM", "mean": "MEAN", "sum": "SUM", "add": "ADD", "add_": "ADD", "sub": "SUB",
    "mul": "MUL", "div": "DIV", "max_pool2d_with_indices": "MAX_POOL_2D", "avg_pool2d": "AVERAGE_POOL_2D",
    "_adaptive_avg_pool2d": "MEAN", "_softmax": "SOFTMAX", "sigmoid": "LOGISTIC", "tanh": "TANH", "hardswish": "HARD_SWISH",
    "constant_pad_nd": "PAD", "cat": "CONCATENATION", "slice": "STRIDED_SLICE", "select": "STRIDED_SLICE", "split": "SPLIT",
    "transpose": "TRANSPOSE", "permute": "TRANSPOSE", "t": "TRANSPOSE", "view": "RESHAPE", "_unsafe_view": "RESHAPE",
    "reshape": "RESHAPE", "expand": "BROADCAST_TO", "unsqueeze": "EXPAND_DIMS", "squeeze": "SQUEEZE", "clone": "nothing",
    "detach": "nothing", "alias": "nothing", "empty": "nothing", "_to_copy": "nothing",
}  # fmt: skip
"""Operators that exist there (tflite-micro, micro_mutable_op_resolver.h); BatchNorm goes into the convolution before it."""


def check_model(spec: ModelSpec, io: ModelIO | None = None) -> None:
    """Check that a family builds what it says: logits of each row alone, reproducible, saved and loaded bit for bit.

    Fields named `width`, `dim` and `depth` must make the model larger.

    Args:
        spec: valid for `io`.
        io: of the data that it is built for; None takes the tiny data of its kind.

    Raises:
        AssertionError: something does not hold; says what.
    """
    import torch

    check_spec(spec, registry, "model")
    claims = claims_of("model", spec)
    kind = spec.input.kind
    data_io = io or tiny.io_for(kind, spec.gives[0])
    given = torch.from_numpy(tiny.inputs(kind))
    stated, spec = spec, spec.model_copy(update={"input": spec.input.resolved(data_io, tiny.stats_for(kind))})
    io, pixels = spec.input.seen(data_io), spec.input.preprocess(data_io)(given)
    claims.that(tuple(pixels.shape[1:]) == io.shape and str(pixels.dtype) == f"torch.{io.dtype}",
                "input.seen must say what input.preprocess gives", seen=io, given=(list(pixels.shape), pixels.dtype))  # fmt: skip
    module = _built(spec, io)
    _check_training(claims, module, pixels, io)
    _check_rows(claims, module, pixels, io)
    _check_seeds(claims, spec, io)
    _check_size(claims, spec, io)
    _check_promises(claims, spec, io, pixels)
    _check_saved(claims, stated, data_io, given)


def _built(spec: ModelSpec, io: ModelIO, seed: int = 0) -> nn.Module:
    import torch

    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        return spec.build(io)


def _check_training(claims: Claims, module: nn.Module, pixels: Tensor, io: ModelIO) -> None:
    import torch

    logits = module.train()(pixels)
    claims.that(isinstance(logits, torch.Tensor) and logits.shape == (len(pixels), *io.outputs), f"must turn [B, {io.shape}] into [B, {io.outputs}]", shape=list(getattr(logits, "shape", [])))  # fmt: skip
    claims.that(logits.dtype == torch.float32, "must give float32", dtype=logits.dtype)
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=logits.shape).astype(np.float32))
    (logits * weights).sum().backward()
    idle = [n for n, p in module.named_parameters() if p.requires_grad and (p.grad is None or not bool(p.grad.any()))]
    claims.that(not idle, "every parameter must learn", without_gradient=idle[:5])


def _check_rows(claims: Claims, module: nn.Module, pixels: Tensor, io: ModelIO) -> None:
    import torch

    module.eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with torch.no_grad():
        whole = module(pixels)
        claims.finite(whole, "logits must be finite")
        for rows in (slice(0, 1), slice(2, 4), slice(0, 7)):
            claims.close(module(pixels[rows]), whole[rows], "a row's logits must be its own in eval mode", 1e-3, 1e-4)
    claims.that(float(whole.std(dim=0).max()) > 0, "logits must depend on the pixels")
    for name, value in module.state_dict().items():
        claims.equal(value, before[name], f"{name} must stay as it is in eval mode")


def _check_seeds(claims: Claims, spec: ModelSpec, io: ModelIO) -> None:
    import torch

    first, again = _built(spec, io), _built(spec, io)
    for name, value in first.state_dict().items():
        claims.equal(again.state_dict()[name], value, f"{name} must be the same for the same seed")
    start = {k: v.clone() for k, v in first.state_dict().items()}
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    for name, value in _built(spec, io).state_dict().items():
        claims.equal(
            value, start[name], f"{name} must be new in every build: one training must not start where another ended"
        )


def _check_size(claims: Claims, spec: ModelSpec, io: ModelIO) -> None:
    from potstill.models.tools.profile import profile

    own = profile(_built(spec, io), io)
    counted = sum(p.numel() for p in _built(spec, io).parameters())
    claims.that(
        own.params == counted > 0, "params must be the number of parameters", params=own.params, counted=counted
    )
    claims.that(own.macs > 0, "must report its multiply-accumulates", macs=own.macs)
    least = 4 * math.prod(io.shape)
    claims.that(
        own.peak_activation_bytes >= least, "must report at least its input as peak", peak=own.peak_activation_bytes
    )
    for name in SIZES:
        if name in type(spec).model_fields:
            larger = _larger(spec, name)
            claims.that(larger is not None, f"must take a larger {name}", value=getattr(spec, name))
            assert larger is not None
            found = profile(_built(larger, io), io)
            grown = found.params > own.params and found.macs > own.macs
            claims.that(
                grown,
                f"must have more parameters and MACs with {name}={getattr(larger, name)}",
                before=own,
                after=found,
            )


def _larger(spec: ModelSpec, name: str) -> ModelSpec | None:
    """Return the spec with the next larger value of a field: twice as much, or the next that is allowed."""
    given = {n: getattr(spec, n) for n in type(spec).model_fields}
    for value in (
        given[name] * 2,
        *sorted(v for v in get_args(type(spec).model_fields[name].annotation) if v > given[name]),
    ):
        try:
            return type(spec).model_validate({**given, name: value})
        except ValidationError:
            continue
    return None


def _check_saved(claims: Claims, spec: ModelSpec, io: ModelIO, pixels: Tensor) -> None:
    import torch

    from potstill.models.tools.build import new_model
    from potstill.models.tools.saved import load_model, save_model

    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(1)
        new = new_model(spec, io, tiny.stats_for(spec.input.kind))
    with torch.no_grad():
        new.module.train()(new.preprocess(pixels))  # statistics that are not those of a new model
        expected = new.module.eval()(new.preprocess(pixels))
        with tempfile.TemporaryDirectory() as folder:
            classes = [f"class {k}" for k in range(io.num_classes)]
            save_model(Path(folder), new.module, new.spec, io, classes)
            first = (Path(folder) / "student.safetensors").read_bytes()
            loaded = load_model(Path(folder))
            save_model(Path(folder), loaded.module, loaded.spec, loaded.data_io, classes)
            claims.that(
                (Path(folder) / "student.safetensors").read_bytes() == first, "must be saved to the same bytes again"
            )
        claims.equal(
            loaded.module(loaded.preprocess(pixels)), expected, "must give the same bits once saved and loaded"
        )


def _check_promises(claims: Claims, spec: ModelSpec, io: ModelIO, pixels: Tensor) -> None:
    """`channels_last` and `for_mcu` must be true where they say so."""
    import torch

    module = _built(spec, io).eval()
    with torch.no_grad():
        if spec.channels_last:
            strided = [n for n, m in module.named_modules() if type(m) is torch.nn.Conv2d and _is_strided_1x1(m)]
            claims.that(
                not strided,
                "must use models._blocks.Projection in channels-last memory, where PyTorch's strided 1×1 "
                "convolution writes past its buffers",
                found=strided,
            )
            twin: Any = _built(spec, io).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            try:
                found = twin(pixels.contiguous(memory_format=torch.channels_last))
            except RuntimeError as err:
                raise AssertionError(f"{claims.what}: must run with channels last, as it says; got {err}.") from err
            claims.close(found, module(pixels), "must give the same with channels last", 1e-3, 1e-4)
        claims.that(type(spec.for_mcu()) is bool, "for_mcu() must say true or false")
        if spec.for_mcu():
            foreign = sorted(_operators(module, pixels[:1]) - set(MCU_OPERATORS))
            claims.that(not foreign, "for_mcu() must be true only if TFLite Micro has every operator", without=foreign)


def _is_strided_1x1(conv: nn.Conv2d) -> bool:
    return set(conv.kernel_size) == {1} and set(conv.stride) != {1}


def _operators(module: nn.Module, pixels: Tensor) -> set[str]:
    """Return the aten operators of one forward pass."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: set[str] = set()

    class Listener(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with Listener():  # type: ignore[no-untyped-call]
        module(pixels)
    return seen
