"""Which model family goes into which format, and what parity was found; or why it does not.

Usage:
    python benchmarks/exports.py run [--only FAMILY ...] [--format KIND ...]   # fills the record, cell by cell; a cell is done once
    python benchmarks/exports.py page                                          # writes docs/results/exports.md

A cell is one family of the zoo at the size of the contract tests' example, trained for twelve steps on tiny data, in one format and one
scheme: exported as the export stage does, with what stands before the model, and compared over 16 rows in the format's own runtime, in
float with the module, quantised with the module that rounds. A cell whose export is refused or fails parity keeps the reason.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _measure import RESULTS, machine, table, where

from potstill.core import atomic
from potstill.core.errors import PotstillError
from potstill.core.fingerprint import package_versions
from potstill.exporters import registry as exporters
from potstill.models import registry as models

FLOAT = "float32"
SCHEMES = {
    "onnx": ("float16", "int8_dynamic", "int8_static_per_channel"),
    "litert": ("float16", "int8_dynamic", "int8_static_per_channel"),
    "executorch": ("int8_static_per_channel",),
    "c": ("int8_static_per_channel",),
}
"""What a format takes beside float32; one that is not named takes nothing more."""
OWN = ("object", "torch")
"""Kinds that hold a user's own module: what goes into a format depends on it."""
PACKAGES = (
    "potstill",
    "torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "executorch",
    "tflite-micro",
)
ROWS = 16
_SHORT = {
    FLOAT: "float32",
    "float16": "float16",
    "int8_dynamic": "dynamic int8",
    "int8_static_per_channel": "static int8",
}
RECORD = RESULTS / "exports.json"


def families() -> list[str]:
    """Return the families of the zoo."""
    return [kind for kind in models.kinds() if kind not in OWN]


def columns() -> list[tuple[str, str]]:
    """Return each (format, scheme)."""
    kinds = [*SCHEMES, *sorted((k for k in exporters.kinds() if k not in SCHEMES), reverse=True)]
    return [
        (kind, scheme)
        for kind in kinds
        for scheme in (() if dict(exporters.items())[kind].integers else (FLOAT,)) + SCHEMES.get(kind, ())
    ]


def short(scheme: str) -> str:
    """Return what the page calls a scheme."""
    return _SHORT.get(scheme, scheme)


def name_of(column: tuple[str, str]) -> str:
    """Return what a column is called in the record."""
    return " ".join(column)


class Family:
    """A family's model after a few steps, quantised once a scheme."""

    def __init__(self, kind: str, folder: Path) -> None:
        from potstill.testing import tiny
        from potstill.testing.examples import example
        from potstill.testing.quantised import trained

        self.spec = example(models[kind], folder)
        self.new, self.x = trained(self.spec)
        self.inputs = self.new.preprocess.outside_numpy(tiny.inputs(self.spec.input.kind, ROWS))
        self._quantised: dict[str, Any] = {}

    def exported(self, kind: str, scheme: str, out: Path) -> dict[str, Any]:
        """Return what was found of one cell. Raises PotstillError with the reason where it is none."""
        from potstill.exporters.model import compare_model, export_model

        exporter: Any = exporters[kind].model_validate({})
        preprocess, module = self.new.preprocess.eval(), self.new.module.eval()
        if scheme == FLOAT:
            artifact = export_model(exporter, preprocess, module, self.inputs, out)
            parity = compare_model(preprocess, module, artifact, self.inputs, exporter.tolerance)
        else:
            artifact, parity = self._rounded(exporter, scheme, out)
        return {**asdict(parity), "bytes": sum(p.stat().st_size for p in out.iterdir())}

    def _rounded(self, exporter: Any, scheme: str, out: Path) -> tuple[Any, Any]:
        import torch
        from torch import nn

        from potstill.compress.quant_specs import CalibrationSpec
        from potstill.compress.quantize import quantise
        from potstill.exporters.parity import compare_rounded

        preprocess, module = self.new.preprocess.eval(), self.new.module.eval()
        if preprocess.writing is not None:
            raise PotstillError("a model that writes is exported in float32")
        if scheme not in self._quantised:
            x = preprocess.inside(torch.from_numpy(self.inputs.copy()))
            self._quantised[scheme] = quantise(module, x, scheme, CalibrationSpec())
        made = self._quantised[scheme]
        artifact = exporter.export(nn.Sequential(preprocess.inside, module).eval(), self.inputs[:4], out, made.spec)
        step = None if made.spec.output is None else made.spec.values[made.spec.output].scale
        whole, rounding = (nn.Sequential(preprocess.inside, m).eval() for m in (module, made.fake))
        return artifact, compare_rounded(whole, rounding, artifact, self.inputs, step)


def reason(err: Exception) -> str:
    """Return why a cell is empty, in one line; a file by its name."""
    return re.sub(r"(?<!\w)/\S*/", "", " ".join(str(err).split()))[:300]


def run(only: list[str], formats: list[str]) -> None:
    """Fill what is not filled; format by format, so that a run that is stopped has the same columns for all."""
    record = atomic.read_json(RECORD) if RECORD.exists() else {"cells": {}}
    kept: dict[str, Family] = {}
    with tempfile.TemporaryDirectory() as work:
        for column in columns():
            for kind in families():
                cells = record["cells"].setdefault(kind, {})
                if name_of(column) in cells or (only and kind not in only) or (formats and column[0] not in formats):
                    continue
                if kind not in kept:
                    folder = Path(work) / kind
                    folder.mkdir()
                    kept[kind] = Family(kind, folder)
                out = Path(tempfile.mkdtemp(dir=work))
                started = time.process_time()
                try:
                    found = {"passes": True, **kept[kind].exported(*column, out)}
                except (PotstillError, ValueError, RuntimeError) as err:
                    found = {"passes": False, "reason": reason(err)}
                cells[name_of(column)] = {**found, "seconds_cpu": round(time.process_time() - started, 1)}
                record["machine"] = {
                    **machine("0"),
                    "packages": {k: v for k, v in package_versions(PACKAGES).items() if k != "python"},
                }
                atomic.write_json(RECORD, record)
                print(kind, *column, "passes" if found["passes"] else found["reason"], flush=True)


def cell(found: dict[str, Any] | None) -> str:
    """Return a cell of the page."""
    if found is None:
        return "not run"
    if not found["passes"]:
        return "no"
    if found["codes_equal"] is not None:
        return f"{found['codes_equal']:.1%} of codes"
    if found["agrees"] != "top-1":
        return f"{found['max_abs_diff']:.0e}, same texts {found['top1_agreement']:.0%}"
    return f"{found['max_abs_diff']:.0e}"


def page(record: dict[str, Any]) -> str:
    """Return the page."""
    cells = record["cells"]
    head = ["family", *(f"{kind}, {short(scheme)}" for kind, scheme in columns())]
    rows = [[kind, *(cell(cells.get(kind, {}).get(name_of(c))) for c in columns())] for kind in families()]
    passed = [found["passes"] for kind in families() for found in cells.get(kind, {}).values()]
    reasons: dict[str, list[str]] = {}
    for kind in families():
        for column in columns():
            found = cells.get(kind, {}).get(name_of(column))
            if found is not None and not found["passes"]:
                reasons.setdefault(found["reason"], []).append(f"{kind} → {column[0]}, {short(column[1])}")
    lines = [
        "# Which family goes into which format",
        f"{sum(passed)} of {len(passed)} cells pass parity. A number is the largest difference of an output from the module's, over {ROWS} rows "
        "at batch 1, 2, 7 and 16 in the format's own runtime; of a quantised student it is the share of the output's codes that are those of the "
        "module that rounds in float32 (of schemes that answer in float, a 255th of the range counts as a code). Sizes are those of the contract "
        "tests: small models, trained for twelve steps on tiny data. `object` and `torch` hold a user's own module and are not asked here.",
        table(head, rows),
        "## Why a cell is empty",
        "\n".join(f"- {'; '.join(there)}: {why}" for why, there in reasons.items()) or "None is.",
        where("python benchmarks/exports.py run", record["machine"]),
    ]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "page"))
    parser.add_argument("--only", nargs="*", default=[], choices=families())
    parser.add_argument("--format", nargs="*", default=[], choices=exporters.kinds())
    given = parser.parse_args()
    if given.do == "run":
        run(given.only, given.format)
    atomic.write_bytes(RESULTS / "exports.md", page(atomic.read_json(RECORD)).encode())


if __name__ == "__main__":
    main()
