"""Write the student in a format, and compare it with the module over real samples before it is kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import ExportError
from potstill.exporters import AnyExporter
from potstill.exporters.card import write_card
from potstill.quant import spec as quant
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import gather, set_threads
from potstill.stages._quantised import answering

PARITY_ROWS = 256


@registry.register
class ExportStage(StageSpec):
    """Data and a student -> one artifact with its parity record and its card."""

    requires: ClassVar[tuple[str, ...]] = ("data", "student")
    provides: ClassVar[str] = "exported"
    kind: Literal["export"] = "export"
    exporter: AnyExporter
    """The format and its tolerance."""
    task: str = Field(examples=["image-classification"])
    """Kind of the task, for the card."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from torch import nn

        from potstill.data.dataset import Dataset
        from potstill.exporters.model import compare_model, export_model
        from potstill.exporters.parity import CODES, compare_rounded
        from potstill.models.tools.saved import load_model

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        model = load_model(context.inputs["student"])
        test = dataset.splits["test"]
        rows = np.arange(min(PARITY_ROWS, len(test)), dtype=np.int64)
        # Normalisation travels inside; what the host does does not: the artifact reads pixels at its own size, or tokens.
        inputs = model.preprocess.outside_numpy(gather(test, rows)[0])
        spec = quant.read(context.inputs["student"])
        if spec is None:
            artifact = export_model(self.exporter, model.preprocess, model.module, inputs, context.work)
            parity = compare_model(model.preprocess, model.module, artifact, inputs, self.exporter.tolerance)
        elif model.preprocess.writing is not None:
            raise ExportError(
                f"export.{self.exporter.kind}: a model that writes is exported in float32; got scheme {spec.scheme!r}. Leave the "
                "quantize step out."
            )
        else:
            module = nn.Sequential(model.preprocess.inside, model.module).eval()
            artifact = self.exporter.export(module, inputs[:4], context.work, spec)
            rounding = nn.Sequential(model.preprocess.inside, answering(context.inputs["student"])[0].module).eval()
            step = None if spec.output is None else spec.values[spec.output].scale
            allowed = self.exporter.tolerance if self.exporter.integers else CODES
            parity = compare_rounded(module, rounding, artifact, inputs, step, allowed)
        write_card(self.exporter, artifact, model, inputs, spec, self.task, dataset.classes)
        return {
            "format": self.exporter.kind,
            "file": artifact.path.relative_to(context.work).as_posix(),
            "parity": asdict(parity),
            **({} if spec is None else {"scheme": spec.scheme}),
        }
