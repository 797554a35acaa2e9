"""The JSON card beside an artifact: what it takes and gives, what the host does before, and of which bytes that is true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.core import atomic
from potstill.core.child import ChildSession
from potstill.core.hashing import digest_file
from potstill.core.samples import SampleKind
from potstill.exporters._base import Artifact, ExporterSpec

if TYPE_CHECKING:
    from potstill.models.tools.saved import LoadedModel
    from potstill.quant.spec import QuantSpec

SCHEMA = 1
_VALUES: dict[SampleKind, str] = {
    "image": "pixels divided by 255, channels first",
    "series": "numbers as they are, variables first",
    "audio": "16-bit samples divided by 32768",
    "text": "UTF-8 bytes, zero where the text has ended",
}


def card_name(file: str) -> str:
    """Return the name of the card of an artifact whose first file has this name."""
    return f"{file}.json"


def write_card(
    exporter: ExporterSpec,
    artifact: Artifact,
    model: LoadedModel,
    inputs_BX: Any,
    quant: QuantSpec | None,
    task: str,
    classes: Sequence[str],
) -> Path:
    """Write the card beside an artifact and return its path.

    Args:
        exporter: its format.
        artifact: opened; all files of its folder are its own.
        model: that it came from.
        inputs_BX: what the artifact is called with.
        quant: numbers of a quantised model.
        task: its kind.
        classes: names in the order of the outputs; none where the model gives values.

    The card's "outside" lists what the host does to a sample, in order; "inside" what the file does itself. "inputs" and "outputs" say
    what stands at its two ends; a scale and a zero point there mean codes, x = (code - zero_point) * scale. "step" is the distance
    of one answer from the next of a model that answers in codes inside, whatever its file gives.
    """
    signature: dict[str, Any] = artifact.signature if isinstance(artifact, ChildSession) else {}
    outside, inside = model.spec.input.told(model.data_io)
    if "host" in signature:
        outside, inside = outside + inside, []
    floats = {"dtype": "float32", "scale": None, "zero_point": None}
    step = None if quant is None or quant.output is None else quant.values[quant.output].scale
    files = {
        path.name: {"sha256": digest_file(path), "bytes": path.stat().st_size}
        for path in sorted(artifact.path.parent.iterdir()) if path.is_file() and not atomic.is_partial(path)
    }  # fmt: skip
    shape = [None, *inputs_BX.shape[1:]]
    taken = {**floats, "dtype": inputs_BX.dtype.name, "shape": shape, **signature.get("inputs", {})}
    given = {**floats, **signature.get("outputs", {})}
    writes = model.preprocess.writing is not None
    card = {
        "schema": SCHEMA,
        "format": exporter.kind,
        "file": artifact.path.name,
        "files": files,
        "task": task,
        "classes": list(classes),
        "scheme": "float32" if quant is None else quant.scheme,
        "sample": {
            "kind": model.data_io.kind, "values": _VALUES[model.data_io.kind], "shape": list(model.data_io.shape),
            "rate_hz": model.data_io.rate_hz,
        },
        "outside": outside,
        "inputs": taken,
        "inside": inside,
        "outputs": {
            **({**given, "dtype": "int64"} if writes else given), "gives": "tokens" if writes else model.spec.gives[0],
            "shape": [None, *model.io.outputs], "step": step,
        },
    }  # fmt: skip
    path = artifact.path.parent / card_name(artifact.path.name)
    atomic.write_json(path, card)
    return path
