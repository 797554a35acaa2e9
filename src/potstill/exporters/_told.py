"""What exporters say, and what they keep to themselves."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from potstill.core.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from potstill.quant.spec import QuantSpec


@contextlib.contextmanager
def _unheard(descriptor: int) -> Iterator[None]:
    """Let what native code writes to a descriptor go nowhere."""
    try:
        kept = os.dup(descriptor)
    except OSError:  # closed: nothing is heard anyway
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


@contextlib.contextmanager
def quiet() -> Any:
    """Keep the exporter's chatter away from the user's terminal, Python's and that of native code."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _unheard(1),
            _unheard(2),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def culprit(err: BaseException, module: nn.Module) -> str:
    """Return what failed in a few words: the operator, or the submodule and what it said."""
    chain = [err]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    operator = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", "\n".join(map(str, chain)))
    if operator:
        return f"operator={operator[1]!r}"
    names = {id(m): name for name, m in module.named_modules() if name}
    where = ""
    for link in chain:
        trace = link.__traceback__
        while trace is not None:
            owner = trace.tb_frame.f_locals.get("self")
            if id(owner) in names:
                where = f"module={names[id(owner)]!r} ({type(owner).__name__}): "
            trace = trace.tb_next
    root = chain[-1]
    said = next((line.strip() for line in str(root).splitlines() if line.strip()), "")
    return f"{where}{type(root).__name__}: {said[:300]}"


def split(module: nn.Module, example_BX: Tensor) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return (what is done before, the model, what the model reads) of a quantised model.

    Raises:
        ExportError: it is no nn.Sequential of what is done before and the model.
    """
    import torch
    from torch import nn

    if not isinstance(module, nn.Sequential) or len(module) != 2:
        raise ExportError(
            f"export: a quantised model must be nn.Sequential(before, model); got {type(module).__name__}."
        )
    with torch.no_grad():
        return module[0], module[1], module[0](example_BX)


def contiguous(module: nn.Module) -> nn.Module:
    """Return the module with no weight channels last in memory, which the converters of LiteRT and ExecuTorch take for another tensor."""
    import torch

    twin = copy.deepcopy(module)
    return twin.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


def float_only(kind: str, quant: QuantSpec | None) -> None:
    """Raise ExportError of a quantised model, in a format that is written in float32 here."""
    if quant is not None:
        raise ExportError(
            f"export.{kind}: the model must be in float32; got scheme {quant.scheme!r}. Use kind: onnx or kind: litert, or leave "
            "the quantize step out."
        )
