"""Whether a module would fit a device: exported, and judged by the graph of that file; nothing is run. Loads torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from potstill.compress._settings import PruneBudget
from potstill.core.errors import PotstillError, ShapeError
from potstill.devices.catalogue import profile_of
from potstill.devices.cost import Cost
from potstill.devices.judge import Question, device_verdict, judge_all
from potstill.devices.lines import Budget, Limits, Verdict
from potstill.devices.read import read_cost
from potstill.devices.say import stops
from potstill.exporters.c import CSpec
from potstill.exporters.onnx import OnnxSpec
from potstill.mcu.estimate import Estimate
from potstill.mcu.export import SOURCE

if TYPE_CHECKING:
    from torch import nn

    from potstill.compress._planner import Judge
    from potstill.quant.spec import QuantSpec


def exported_cost(
    inside: nn.Module,
    module: nn.Module,
    inputs_BX: NDArray[Any],
    quant: QuantSpec | None = None,
    as_c: CSpec | None = None,
) -> Cost:
    """Return the cost of a module as it would be exported.

    Args:
        inside: what is exported before it.
        module: as it is; left in eval mode.
        inputs_BX: what the host gives, at least 2 rows.
        quant: the numbers that the module is quantised with.
        as_c: says that it is exported as the .tflite file that becomes C; as ONNX where it is None.

    Raises:
        ExportError: it cannot be exported so; says why.
    """
    from torch import nn

    whole = nn.Sequential(inside, module).eval()
    with tempfile.TemporaryDirectory(prefix="potstill-cost-") as made:
        if as_c is None:
            return read_cost(OnnxSpec().export(whole, inputs_BX, Path(made), quant).path)
        path = Path(made) / SOURCE
        path.write_bytes(as_c.tflite(whole, inputs_BX, quant)[0])
        return read_cost(path)


def device_judge(
    budget: PruneBudget | None,
    inside: nn.Module,
    inputs: Sequence[NDArray[Any]],
    runtimes: tuple[str, ...] | None = None,
) -> Judge | None:
    """Return module -> (whether it would surely fit the budget's device, under which of its runtimes and what stops it or binds, in words);
    None where no device is named.

    Args:
        budget: of a cut.
        inside: as for `exported_cost`.
        inputs: one array [B, *X], what the host gives, at least 2 rows.
        runtimes: what the names of the device's runtimes begin with that will take the file; None: any of them.

    Raises:
        ShapeError: there are several inputs.
    """
    if budget is None or budget.device is None:
        return None
    if len(inputs) != 1:
        raise ShapeError(
            f"prune.budget.device: must be of a module that is called with one tensor; got {len(inputs)}. Wrap it, or give params, macs or bytes."
        )
    limits = Budget(**{name: getattr(budget, name) for name in Limits.model_fields})
    asked, int8 = Question(profile_of(budget.device), limits, runtimes), budget.int8
    taken = (entry for entry in asked.profile.runtimes if runtimes is None or entry.runtime.startswith(runtimes))
    becomes_c = int8 and any(entry.counted for entry in taken)

    def judge(module: nn.Module) -> tuple[Verdict, str]:
        cost = exported_cost(inside, module, inputs[0])
        if int8:
            cost = cost.as_int8()
        if becomes_c:
            cost = replace(cost, generated=_generated(inside, module, inputs[0]))
        found = judge_all(cost, asked)
        best, verdict = found[0], device_verdict(found)
        missed = [line for line in best.lines if line.verdict not in ("fits", None)]
        if verdict == "unknown" and missed and all(line.word != "unknown" for line in missed):
            verdict = "does not fit"  # not surely: the limit lies within what is known
        limited = [line for line in best.lines if line.verdict is not None]
        return verdict, f"under {best.runtime}: {stops(limited if verdict == 'fits' else missed or best.lines)}"

    return judge


def _generated(inside: nn.Module, module: nn.Module, inputs_BX: NDArray[Any]) -> Estimate | str:
    """Return what a module takes as generated C, its ranges those of the rows at hand, which cost nothing; or why that is not known."""
    import torch

    from potstill.compress.quant_specs import CalibrationSpec
    from potstill.compress.quantize import quantise

    try:
        with torch.no_grad():
            read = inside(torch.from_numpy(inputs_BX))
            quant = quantise(module, read, "int8_static_per_channel", CalibrationSpec()).spec
        return exported_cost(inside, module, inputs_BX, quant, CSpec()).generated
    except PotstillError as err:
        return str(err)
