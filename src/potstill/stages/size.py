"""How large an untrained model may be for a latency on this machine: sizes are exported as they will be, and timed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from potstill.compress._settings import PruneSettings
from potstill.compress.quant_specs import CalibrationSpec
from potstill.core import rng
from potstill.core.errors import BudgetError, PotstillError
from potstill.exporters import AnyExporter
from potstill.models import AnyModel, ModelSpec
from potstill.quant.spec import Scheme
from potstill.stages._artifacts import timed, timed_samples
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import data_io, gather, set_threads

if TYPE_CHECKING:
    from torch import nn

    from potstill.devices.lines import Verdict
    from potstill.models.tools.build import NewModel

_ROWS = 16
"""Of the training split, on which cuts are checked and ranges found."""
_PRECISION = 0.01
"""Of a width: finer than latencies are told apart."""
_FAR = 3.0
"""A size whose fastest call takes so many times the limit is not timed further."""


@dataclass(frozen=True)
class Timed:
    """What one sample takes, in milliseconds, with a bootstrap 95 % interval over blocks."""

    value: float
    low: float
    high: float


@registry.register
class SizeStage(StageSpec):
    """Data -> the largest untrained model that keeps to a latency in its own runtime: a width of its family, or a pruning ratio."""

    requires: ClassVar[tuple[str, ...]] = ("data",)
    provides: ClassVar[str] = "size"
    kind: Literal["size"] = "size"
    model: AnyModel
    """Whose size is looked for."""
    reference: AnyModel
    """Timed beside every size, in float32: what slows the machine down slows both."""
    latency_ms: float = Field(gt=0, examples=[1.0])
    """Most milliseconds of one sample; the upper end of the interval counts."""
    cut: PruneSettings | None = None
    """How the model is cut, its budget this latency; None: it is made narrower or wider."""
    scheme: Scheme | None = None
    """What is rounded before it is exported; None: it stays in float32."""
    float_layers: tuple[str, ...] = ()
    """Modules that stay in float32."""
    exporter: AnyExporter
    """Writes and opens the files."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of the runtime."""
    blocks: int = Field(default=30, ge=5)
    """Blocks in which a size and the reference are timed by turns."""
    machine: str = Field(examples=["a processor, 2 cores"])
    """The processor these figures belong to."""
    seed: int = 0
    """Of the untrained weights."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset

        set_threads(context.options.threads)
        clock = _Clock(self, context, Dataset.open(context.inputs["data"]))
        chosen = self._width(clock) if self.cut is None else self._ratio(clock, self.cut, context.name)
        return {"chosen": chosen, "reference_ms": clock.reference_ms, "tried": len(clock.found)}

    def _width(self, clock: _Clock) -> dict[str, Any]:
        """Return the numbers of the family that change, and what such a model takes."""
        from potstill.models.tools.scaled import widest

        model = self.model

        def fits(new: NewModel) -> bool:
            return clock.judge(new)[0] == "fits"

        try:
            found = widest(model, clock.io, clock.dataset.stats, fits, _PRECISION)
        except PotstillError as err:
            raise BudgetError(
                f"{err} It must take at most {self.latency_ms:g} ms; the recipe's own student takes {clock.reference_ms:.3g} ms."
            ) from err
        numbers = {name: value for name, value in dict(found).items() if value != getattr(model, name)}
        return {"numbers": numbers, "latency_ms": asdict(clock.latency(clock.new(found)))}

    def _ratio(self, clock: _Clock, cut: PruneSettings, where: str) -> dict[str, Any]:
        """Return the pruning ratio, and what is left takes."""
        import torch

        from potstill.compress.prune import plan_pruning, prune

        new = clock.new(self.model)
        with torch.no_grad():
            example = (new.preprocess(torch.from_numpy(clock.rows)),)
        plan = plan_pruning(
            new.module, example, cut, seed=self.seed, where=where,
            judge=lambda module: clock.judge(new, module),
        )  # fmt: skip
        prune(new.module, plan, example, where)
        return {"ratio": plan.ratio, "latency_ms": asdict(clock.latency(new))}


class _Clock:
    """Times models beside the reference."""

    def __init__(self, stage: SizeStage, context: StageContext, dataset: Any) -> None:
        self.stage, self.dataset, self.io = stage, dataset, data_io(dataset)
        self.lock = context.options.cache / "locks" / "measure.lock"
        split = dataset.splits["train"]
        self.rows = gather(split, rng.permutation(stage.seed, 0, len(split))[:_ROWS])[0]
        self.found: dict[str, Timed | None] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="potstill-size-")
        self._reference = self._call(self.new(stage.reference), None, None)
        self.reference_ms: float = self._timed({"float": self._reference})["float"]["median"]

    def new(self, spec: ModelSpec) -> NewModel:
        """Return the untrained model, the same each time."""
        import torch

        from potstill.models.tools.build import new_model

        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(rng.seed_of(self.stage.seed, "init"))
            return new_model(spec, self.io, self.dataset.stats)

    def judge(self, new: NewModel, module: nn.Module | None = None) -> tuple[Verdict, str]:
        """Return whether a model keeps to the limit, and what it takes, in words; `module` stands in its place."""
        found, limit = self.latency(new, module), self.stage.latency_ms
        if found is None:
            return "does not fit", f"more than {_FAR:g} times the {limit:g} ms"
        said = f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}] ms, measured untrained; at most {limit:g} ms"
        return ("fits" if found.high <= limit else "does not fit"), said

    def latency(self, new: NewModel, module: nn.Module | None = None) -> Any:
        """Return what a model takes; None where that is far over the limit. Each is timed once.

        The ratio to the reference, taken by turns, counts, times what the reference took at the beginning."""
        from potstill.verify.latency import calls_of

        module = new.module if module is None else module
        key = str([(name, list(value.shape)) for name, value in module.state_dict().items()])
        if key not in self.found:
            call = self._call(new, module, self.stage.scheme)
            if 1e3 * float(calls_of(call, 3).min()) > _FAR * self.stage.latency_ms:
                self.found[key] = None
            else:
                ratio = self._timed({"size": call, "float": self._reference})["size"]["ratio_float"]
                self.found[key] = Timed(*(ratio[name] * self.reference_ms for name in ("value", "low", "high")))
        return self.found[key]

    def _timed(self, calls: dict[str, Callable[[], object]]) -> dict[str, Any]:
        from potstill.verify.latency import interleaved

        return interleaved(calls, blocks=self.stage.blocks, lock=self.lock)

    def _call(self, new: NewModel, module: nn.Module | None, scheme: Scheme | None) -> Callable[[], object]:
        """Return what runs a model on one sample, exported as the export stage does it."""
        import torch
        from torch import nn

        from potstill.compress.quantize import quantise

        stage, module = self.stage, (new.module if module is None else module).eval()
        spec = None
        if scheme is not None:
            with torch.no_grad():
                read = new.preprocess(torch.from_numpy(self.rows))
            spec = quantise(module, read, scheme, CalibrationSpec(), stage.float_layers).spec
        whole = nn.Sequential(new.preprocess.inside, module).eval()
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        written = stage.exporter.export(whole, new.preprocess.outside_numpy(self.rows)[:4], folder, spec)
        artifact = stage.exporter.load(written.path, stage.threads)
        return timed(new.preprocess, artifact, timed_samples(self.dataset, new.preprocess))
