"""A model with what stands before it, as an artifact that is compared with it. Shapes: B rows, N rows that are compared, X the shape of
one input, L tokens, K tokens to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import ExportError, ParityError
from potstill.exporters._base import Artifact, ExporterSpec, Parity, Part
from potstill.exporters.parity import AGREEMENT, batches_of, compare

if TYPE_CHECKING:
    from torch import Tensor, nn

    from potstill.models.inputs.preprocess import Preprocess

_ROWS = {"rows": (1, 1 << 20)}


def export_model(
    exporter: ExporterSpec, preprocess: Preprocess, module: nn.Module, inputs_BX: NDArray[Any], out: Path
) -> Artifact:
    """Write what the host does not do: what is `inside`, and the model.

    Args:
        exporter: the format.
        preprocess: the model's own.
        module: in eval mode.
        inputs_BX: what the host gives it, at least 2 rows.
        out: folder.

    Raises:
        ExportError: the model cannot be expressed in this format.
    """
    if preprocess.writing is None:
        return exporter.export(_whole(preprocess, module), inputs_BX[:4], out)
    return exporter.export_parts(_parts(module, inputs_BX), preprocess.writing, out)


def compare_model(
    preprocess: Preprocess, module: nn.Module, artifact: Artifact, inputs_NX: NDArray[Any], tolerance: float
) -> Parity:
    """Compare over real samples at batch 1, 2, 7 and N: outputs, and of a model that writes also its texts.

    Raises:
        ParityError: as `compare`, a text being what the top class is there.
    """
    if preprocess.writing is None:
        return compare(_whole(preprocess, module), artifact, inputs_NX, tolerance)
    return _compare_texts(preprocess, module, artifact, inputs_NX, tolerance)


def _whole(preprocess: Preprocess, module: nn.Module) -> nn.Module:
    from torch import nn

    return nn.Sequential(preprocess.inside, module).eval()


def _parts(module: nn.Module, ids_B2L: NDArray[Any]) -> list[Part]:
    """Return what reads and what writes a token, or the model as it is where it has no memory (see `models._parts`)."""
    import torch

    from potstill.models._parts import parts_of

    if not hasattr(module, "parts"):
        ids = torch.from_numpy(ids_B2L[:2].copy())
        return [Part("", module, (ids,), ["inputs"], ["outputs"], ({0: "rows"},), _ROWS)]
    reader, step = parts_of(module)
    length = ids_B2L.shape[2]
    if length < 4:
        raise ExportError(
            f"export: input.max_tokens must be at least 4 for a model that writes; got {length}. Raise it."
        )
    source = torch.ones(2, length, dtype=torch.int32)
    last = torch.ones(2, dtype=torch.int32)
    with torch.no_grad():
        read, shorter = list(reader(source)), list(reader(source[:, 1:]))
        kept: list[list[Tensor]] = [step.nothing(2)]
        for _ in range(2):
            kept.append(list(step(last, read, kept[-1])[1:]))
    of_read, of_kept = _open(read, shorter, "read"), _open(kept[2], kept[1], "written")
    names, now = [f"read_{i}" for i in range(len(read))], [f"kept_{i}" for i in range(len(kept[0]))]
    bounds = {**_ROWS, "read": (1, length)}
    return [
        Part("", reader, (source,), ["inputs"], names, ({0: "rows", 1: "read"},), bounds),
        Part(
            ".step", step, (last, read, kept[2]), ["last", *names, *now], ["outputs", *(f"{n}_now" for n in now)],
            ({0: "rows"}, of_read, of_kept), {**bounds, "written": (0, length - 1)},
        ),
    ]  # fmt: skip


def _open(some: Sequence[Tensor], others: Sequence[Tensor], name: str) -> list[dict[int, str]]:
    """Return which dimensions are open: rows, and the one in which the two differ."""
    return [
        {0: "rows", **{i: name for i in range(1, a.ndim) if a.shape[i] != b.shape[i]}}
        for a, b in zip(some, others, strict=True)
    ]


def _compare_texts(
    preprocess: Any, module: nn.Module, artifact: Any, ids_N2L: NDArray[Any], tolerance: float
) -> Parity:
    """Compare what is written, row by row, and the logits of each place, fed what the module wrote."""
    import torch

    num, name = len(ids_N2L), artifact.path.name
    batches, largest, total, count, agreement = batches_of(num), 0.0, 0.0, 0, 1.0
    for batch in batches:
        kept, same = num if batch == num else min(num, batch * 8), 0
        for part in (ids_N2L[i : min(kept, i + batch)] for i in range(0, kept, batch)):
            with torch.inference_mode():
                wrote = preprocess.tokens(module, torch.from_numpy(part.copy()))
                fed = preprocess.told(torch.from_numpy(part.copy()), wrote)
                ours = module(fed).float().numpy()
            same += int((artifact(part) == wrote.numpy()).all(axis=1).sum())
            theirs = np.stack(list(artifact.fed(fed.numpy())), axis=1)
            if theirs.shape != ours.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
                raise ParityError(
                    f"{name}: must give {list(ours.shape)} finite logits, as the module; got {list(theirs.shape)}."
                )
            difference = np.abs(theirs - ours)
            largest, total, count = (
                max(largest, float(difference.max())),
                total + float(difference.sum()),
                count + difference.size,
            )
            allowed = tolerance * max(1.0, float(np.abs(ours).max()))
            if difference.max() > allowed:
                raise ParityError(f"{name}: must give what the module gives; at batch {batch} logits differ by up to "
                                  f"{difference.max():.3g} (allowed {allowed:.3g}). Nothing was exported.")  # fmt: skip
        agreement = min(agreement, same / kept)
        if agreement < AGREEMENT:
            raise ParityError(f"{name}: must write what the module writes; at batch {batch} it does for {agreement:.1%} of {kept} rows. "
                              "Nothing was exported.")  # fmt: skip
    return Parity(largest, total / count, agreement, batches, num, tolerance, agrees="what is written")
