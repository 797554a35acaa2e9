"""The Python interface: what `import potstill as ps` offers, beside the losses and the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from potstill.core.errors import ShapeError
from potstill.core.progress import Mode, Progress
from potstill.data import DataSpec
from potstill.exporters import Artifact, ExporterSpec
from potstill.models import ModelSpec
from potstill.objectives import ObjectiveSpec
from potstill.quant.spec import QuantSpec, Scheme
from potstill.teachers import TeacherSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from potstill.compress._planner import PruningPlan
    from potstill.devices.judge import Judgement
    from potstill.recipe.model import Recipe


@dataclass(frozen=True)
class Result:
    """What a run left."""

    folder: Path
    """Holds report.html, results.json, student.safetensors and the exported artifacts."""
    results: dict[str, Any]
    """results.json."""

    @property
    def verdict(self) -> str:
        """The verdict in one line for each control."""
        lines = [
            f"{g['verdict']}: {g['points']:+.2f} points [{g['low']:+.2f}, {g['high']:+.2f}] over {g['control']}"
            for g in self.results["gains"]
        ]
        return "\n".join(lines) or "No control was trained."

    def student(self) -> nn.Module:
        """Return the trained student, in eval mode; it reads pixels in [0, 1], [B, C, H, W], and gives logits. A quantised one
        rounds as its artifact does."""
        from torch import nn

        from potstill.stages._quantised import answering

        model, _ = answering(self.folder)
        return nn.Sequential(model.preprocess, model.module).eval()


def distill(
    data: DataSpec | Mapping[str, Any],
    *,
    teacher: nn.Module | TeacherSpec | Mapping[str, Any] | str | Path,
    student: nn.Module | Callable[[], nn.Module] | ModelSpec | Mapping[str, Any],
    objectives: Sequence[ObjectiveSpec | Mapping[str, Any]] | Literal["auto"] | None = None,
    out: str | Path = "runs/python",
    name: str | None = None,
    augment: Sequence[Mapping[str, Any]] = (),
    labels: Mapping[str, Any] | None = None,
    controls: Sequence[str] = ("hard-label",),
    seed: int = 0,
    seeds: int = 1,
    threads: int = 0,
    progress: Mode = "auto",
    **training: Any,
) -> Result:
    """Distil `teacher` into `student` and check the result, as `potstill run` does.

    Args:
        data: from `ps.arrays`, or a recipe's data section.
        teacher: your own module (takes normalised pixels, gives logits), a path to an ONNX file, or a recipe section.
        student: a callable that gives a new module (a class without arguments, say), a module to start from, or a
            recipe section.
        objectives: terms of the loss, or "auto"; default soft labels at T = 2 (weight 0.9) and hard labels (0.1).
        out: run folder.
        name: of the run; default the folder's name.
        augment: as in a recipe.
        labels: codec and views, as in a recipe.
        controls: trained beside the student; () for none.
        seed: first seed.
        seeds: trainings of each arm.
        threads: CPU cores; 0 takes all.
        progress: "auto", "plain", "json" or "quiet".
        training: epochs, batch_size, learning_rate and the other fields of a recipe's training section.

    Returns:
        The run, with its verdict and the student.

    Raises:
        PotstillError: as the command line.
    """
    import yaml

    from potstill.pipeline.cache import default_root
    from potstill.pipeline.run import run
    from potstill.report import build
    from potstill.stages import RunOptions

    folder = Path(out)
    recipe = _recipe(
        name=name or folder.name,
        data=data,
        teacher=_teacher(teacher),
        student=_student(student),
        augment=augment,
        labels=labels or {},
        controls=controls,
        seed=seed,
        seeds=seeds,
        steps=[{"kind": "distill", "objectives": objectives or _DEFAULT_OBJECTIVES, "training": training}],
    )
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    options = RunOptions(cache=default_root(), threads=threads)
    done = run(recipe, text, folder, options, Progress(progress))
    if done.changed or not (folder / "report.html").exists():
        build(folder)
    return Result(folder, done.results)


@dataclass(frozen=True)
class Comparison:
    """What a comparison left."""

    folder: Path
    """Holds compare.html and compare.json."""
    results: dict[str, Any]
    """compare.json."""

    @property
    def verdict(self) -> str:
        """Which arm wins where, and whether the intervals support it."""
        from potstill.report.compared import sentences

        return "\n".join(sentences(self.results))


def compare(
    recipe: str | Path,
    *,
    arms: Sequence[str] = (),
    seeds: int | None = None,
    weight_bytes: int | None = None,
    macs: int | None = None,
    latency_ms: float | None = None,
    out: str | Path | None = None,
    threads: int = 0,
    progress: Mode = "auto",
) -> Comparison:
    """Compare pruning, quantising and distilling under one budget, as `potstill compare` does.

    Args:
        recipe: a YAML file; its teacher, data and training are those of every arm.
        arms: each of prune, distill, quantize joined by +; () takes all six. The control always joins them.
        seeds: trainings of each arm; None takes the recipe's.
        weight_bytes: most bytes of weights as they are stored; without any budget: the student's in float32.
        macs: most MACs of one sample.
        latency_ms: most milliseconds of one sample in the artifact's own runtime, measured here.
        out: folder; None: runs/<name>-compare.
        threads: CPU cores; 0 takes all.
        progress: "auto", "plain", "json" or "quiet".

    Raises:
        PotstillError: as the command line.
    """
    from potstill.pipeline.arms import ARMS, CompareSpec
    from potstill.pipeline.cache import default_root
    from potstill.report.compared import compare_file
    from potstill.stages import RunOptions

    spec = CompareSpec(arms=tuple(arms) or ARMS, weight_bytes=weight_bytes, macs=macs, latency_ms=latency_ms)
    options = RunOptions(cache=default_root(), threads=threads)
    done = compare_file(Path(recipe), spec, seeds, None if out is None else Path(out), options, Progress(progress))
    return Comparison(done.folder, done.results)


def fit(
    model: str | Path, device: str, *, int8: bool = False, dims: Mapping[str, int] | None = None, **budget: float
) -> list[Judgement]:
    """Return whether a model file fits a device, a verdict for each of its runtimes, the best first; nothing is run.

    Args:
        model: .onnx or .tflite.
        device: a name as in `potstill devices`, or a profile in YAML.
        int8: judge a float model as it would be in integers.
        dims: sizes of open dimensions by name.
        budget: latency_ms, peak_memory_bytes, flash_bytes, energy_mj; each may be left out.

    Raises:
        DeviceError: the model cannot be counted, there is no such device or limit.
    """
    from potstill.devices.catalogue import profile_of
    from potstill.devices.judge import Question, judge_all
    from potstill.devices.lines import budget_of
    from potstill.devices.read import read_cost

    cost = read_cost(Path(model), dims)
    return judge_all(cost.as_int8() if int8 else cost, Question(profile_of(device), budget_of(budget)))


def plan_pruning(
    module: nn.Module,
    example: Tensor | tuple[Any, ...],
    *,
    loss: Callable[[nn.Module], Tensor] | None = None,
    seed: int = 0,
    first: nn.Module | None = None,
    **settings: Any,
) -> PruningPlan:
    """Return what `prune` would cut, layer by layer, and what cannot be cut; the module is left as it is.

    Args:
        module: any module that autograd can follow, on the CPU.
        example: what it is called with: real rows, at least two; a tuple for several arguments.
        loss: module -> a loss, whose gradient importance "taylor" reads.
        seed: of chance, for importance "random".
        first: the module that nothing was cut from, where an earlier cut left this one; ratio and shares are of it.
        settings: ratio or budget, and importance, scope, round_to and protect, as in a recipe's prune step.

    Raises:
        PotstillError: a setting is wrong, or nothing can be cut; says why.
        BudgetError: the budget cannot be reached; says the least that can.
        DeviceError: it is not known whether the least that can be left fits the budget's device.
        MissingExtraError: the extra `prune` is not installed.
    """
    from torch import nn

    from potstill.compress import prune as pruning
    from potstill.verify.on_device import device_judge

    gradients = None if loss is None else pruning.gradients_of(loss)
    wanted, arguments = pruning.settings_of(settings), _arguments(example)
    on_device = wanted.budget is not None and wanted.budget.device is not None
    inputs = [x.detach().cpu().numpy() for x in arguments] if on_device else []
    judge = device_judge(wanted.budget, nn.Identity(), inputs)
    return pruning.plan_pruning(module, arguments, wanted, gradients=gradients, seed=seed, first=first, judge=judge)


def prune(
    module: nn.Module,
    example: Tensor | tuple[Any, ...],
    *,
    loss: Callable[[nn.Module], Tensor] | None = None,
    calibration: Sequence[Tensor | tuple[Any, ...]] = (),
    seed: int = 0,
    first: nn.Module | None = None,
    **settings: Any,
) -> tuple[nn.Module, PruningPlan]:
    """Return a smaller copy of a module, whole channels, units and heads taken away, and what was cut.

    A cut is checked on `example`: channels set to zero and channels taken away must give the same outputs. Then the statistics of
    BatchNorm are taken again. Train the result: it has lost what these channels knew.

    Args:
        module: as for `plan_pruning`.
        example: likewise.
        loss: likewise.
        calibration: batches for BatchNorm's statistics; () takes the example.
        seed: as for `plan_pruning`.
        first: likewise.
        settings: likewise: ratio=0.5, budget={"macs": 0.5}, importance="taylor", ...

    Raises:
        PotstillError: as `plan_pruning`, or the outputs differ.
    """
    import copy

    from potstill.compress import prune as pruning

    plan = plan_pruning(module, example, loss=loss, seed=seed, first=first, **settings)
    smaller = copy.deepcopy(module)
    pruning.prune(smaller, plan, _arguments(example))
    pruning.recalibrate(smaller, [_arguments(batch) for batch in calibration or (example,)])
    return smaller.eval(), plan


def _arguments(example: Any) -> tuple[Any, ...]:
    return tuple(example) if isinstance(example, (tuple, list)) else (example,)


_DEFAULT_OBJECTIVES = (
    {"kind": "soft-label", "temperature": 1.0, "weight": 0.9},
    {"kind": "hard-label", "weight": 0.1},
)


def _recipe(**sections: Any) -> Recipe:
    from pydantic import ValidationError

    from potstill.core.errors import RecipeError
    from potstill.recipe.load import check, faults_of
    from potstill.recipe.model import Recipe
    from potstill.recipe.positions import Document

    try:
        recipe = Recipe.model_validate(sections, context={"base": Path.cwd()})
    except ValidationError as err:
        document = Document("arguments", sections)
        raise RecipeError([f.replace("arguments:1:1 ", "") for f in faults_of(err, document)]) from err
    check(recipe)
    return recipe


def _teacher(value: Any) -> Any:
    if isinstance(value, (str, Path)):
        return {"kind": "onnx", "path": str(value)}
    if isinstance(value, (TeacherSpec, Mapping)):
        return value
    from potstill.teachers.object import object_teacher

    return object_teacher(value)


def _student(value: Any) -> Any:
    if isinstance(value, (ModelSpec, Mapping)):
        return value
    from potstill.models.object import object_model

    return object_model(value)


def quantize(
    model: nn.Module,
    calibration_inputs: Any,
    scheme: Scheme = "int8_static_per_channel",
    *,
    method: Literal["min-max", "percentile", "mse"] = "min-max",
    percentile: float = 99.99,
    float_layers: Sequence[str] = (),
) -> QuantizedModel:
    """Quantise a trained module of your own, its weights as they are (PTQ).

    Args:
        model: [B, *X] -> [B, *Y]; left as it is, in eval mode.
        calibration_inputs: [N, *X] array or tensor, at least 2 rows, as the model reads them: ranges are found on all of them.
        scheme: float16, int8_dynamic, int8_static_per_channel or int4_conv, as in a recipe.
        method: how ranges are found.
        percentile: of `percentile`, in percent.
        float_layers: paths of modules that stay in float32.

    Returns:
        The quantised model: call it, read its numbers, export it.

    Raises:
        PotstillError: the model cannot be quantised so; says what to use instead.
    """
    import torch

    from potstill.compress.quant_specs import CalibrationSpec
    from potstill.compress.quantize import quantise

    rows = torch.as_tensor(calibration_inputs)
    if rows.ndim < 2 or len(rows) < 2:
        raise ShapeError(f"quantize.calibration_inputs: must be [N, ...] of at least 2 rows; got {list(rows.shape)}.")
    spec = CalibrationSpec(method=method, rows=len(rows), percentile=percentile)
    made = quantise(model, rows, scheme, spec, tuple(float_layers))
    return QuantizedModel(made.module, made.fake, made.spec, rows[:2].numpy())


@dataclass(frozen=True)
class QuantizedModel:
    """A module and the numbers it is quantised with; called, it answers as the quantised model does."""

    module: nn.Module
    """In float32."""
    rounding: nn.Module
    """Computes in float32 what a runtime computes in integers."""
    spec: QuantSpec
    """Scales and zero points, by the names of places and weights."""
    example: Any
    """[2, *X], as the module reads it."""

    def __call__(self, inputs: Any) -> Any:
        """Return [B, *Y], of a tensor [B, *X]."""
        import torch

        with torch.no_grad():
            return self.rounding(inputs)

    def export(self, folder: str | Path, exporter: ExporterSpec | None = None) -> Artifact:
        """Write the quantised model into a folder, with `quant.json`, and return the artifact, which is callable.

        Args:
            folder: made if need be.
            exporter: a format; default ONNX.
        """
        from torch import nn

        from potstill.exporters.onnx import OnnxSpec

        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        self.spec.write(out)
        return (exporter or OnnxSpec()).export(nn.Sequential(nn.Identity(), self.module), self.example, out, self.spec)
