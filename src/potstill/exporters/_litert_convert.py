"""From a module to the bytes of a .tflite file, in float or with the QuantSpec's own numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from potstill.exporters._told import contiguous, split
from potstill.quant.spec import STATIC

if TYPE_CHECKING:
    from torch import Tensor, nn

    from potstill.quant.spec import QuantSpec


@dataclass(frozen=True)
class Prepared:
    """What is converted."""

    module: nn.Module
    example_1X: Tensor
    """What it takes."""
    host: dict[str, Any] | None = None
    """What is left to the host: mean and std of each channel, or the numbers of a log-mel spectrogram."""


def prepared(module: nn.Module, quant: QuantSpec, example_BX: Tensor, *, leaves: str = "normalise") -> Prepared:
    """Return the model with its last part in few bits. What is done before is done in float before the first codes, but for what is left to
    the host: a model of integers throughout then reads codes of what the host made.

    Args:
        module: nn.Sequential of what is done before and the model.
        quant: its numbers.
        example_BX: what it takes.
        leaves: what a model of integers leaves to the host: `normalise`, since codes of pixels cannot be those of normalised ones, or
            `log-mel`, where there is no float to make a spectrogram in.

    Raises:
        ExportError: it is no nn.Sequential of what is done before and the model.
    """
    from torch import nn

    from potstill.models.inputs.preprocess import Normalise
    from potstill.models.inputs.sound import LogMel
    from potstill.quant.decomposed import decomposed
    from potstill.quant.real import faked

    before, model, read = split(module, example_BX)
    make = faked if quant.scheme == "float16" else decomposed
    few = make(model, quant, read)
    if quant.scheme == "float16":
        few = contiguous(few)
    if quant.scheme in STATIC:
        if leaves == "normalise" and isinstance(before, Normalise):
            numbers = {"mean": before.mean.flatten().tolist(), "std": before.std.flatten().tolist()}
            return Prepared(few.eval(), read[:1], {"do": leaves, **numbers})
        if leaves == "log-mel" and isinstance(before, LogMel):
            host = {"do": leaves, "takes": list(example_BX.shape[1:]), **before.spectrum.as_dict()}
            return Prepared(few.eval(), read[:1], host)
    return Prepared(nn.Sequential(before, few).eval(), example_BX[:1])


def converted(module: nn.Module, example_1X: Tensor, quant: QuantSpec | None) -> bytes:
    """Return a .tflite file that takes one row."""
    import litert_torch
    from litert_torch.quantize import pt2e_quantizer
    from litert_torch.quantize.quant_config import QuantConfig

    config: Any = None
    if quant is not None and quant.scheme != "float16":
        numbers = pt2e_quantizer.get_symmetric_quantization_config(is_dynamic=quant.scheme not in STATIC)
        config = QuantConfig(pt2e_quantizer=pt2e_quantizer.PT2EQuantizer().set_global(numbers))
    found: Any = litert_torch.convert(named(module), sample_kwargs={"inputs": example_1X}, quant_config=config)
    data: bytes = found.model_content()
    return _halved(data) if quant is not None and quant.scheme == "float16" else data


def _halved(data: bytes) -> bytes:
    """Return the file with the weights of its layers as float16, which they are already but for their type."""
    from ai_edge_quantizer import qtyping, quantizer

    writer = quantizer.Quantizer(bytearray(data))
    names = qtyping.TFLOperationName
    for layer in (names.FULLY_CONNECTED, names.CONV_2D, names.DEPTHWISE_CONV_2D, names.EMBEDDING_LOOKUP):
        writer.add_weight_only_config(
            ".*", layer, 16, algorithm_key=quantizer.algorithm_manager.AlgorithmName.FLOAT_CASTING
        )
    return bytes(writer.quantize(enable_progress_report=False).quantized_model)


def named(module: nn.Module) -> nn.Module:
    """Return the module with names for what it takes and gives."""
    from torch import nn

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return {"outputs": self.inner(inputs)}

    return Named().eval()
