"""The commands."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from potstill.cli._options import FingerprintOption, JsonOption, options
from potstill.cli.groups import cache_app, devices_app, labels_app
from potstill.cli.mcu import export_c


class _Group(TyperGroup):
    """Typer turns Ctrl-C into "Aborted"; the user should read what is kept instead."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted: what is finished is kept; the same command goes on from there.", err=True)
            raise SystemExit(130) from None


app = typer.Typer(
    cls=_Group,
    help="Distil a big model into one that fits your device, and prove that it fits.",
    epilog="Begin with: potstill init --data ./photos (one folder of pictures a class)",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
RecipeArgument = Annotated[Path, typer.Argument(help="A recipe in YAML.", show_default=False)]
SamplesOption = Annotated[bool, typer.Option(help="Put test pictures into the report.")]


class Integers(str, Enum):
    """What a model is judged as."""

    int8 = "int8"


class Logger(str, Enum):
    """A log beside the JSON lines."""

    csv = "csv"
    tensorboard = "tensorboard"


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"potstill {version('potstill')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    task: Annotated[str, typer.Argument(help="What is learnt; see: potstill list tasks.")] = "image-classification",
    data: Annotated[
        Path,
        typer.Option(help="A folder of pictures by class, .parquet, .npz, a folder of IDX files; for series .csv too."),
    ] = Path("."),
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the recipe if there is one.")] = False,
) -> None:
    """Write a recipe for your own data. It looks at the data first, and says what it found."""
    from potstill.cli.init import write_recipe

    typer.echo(write_recipe(task, data, out, force=force))


@app.command()
def plan(recipe: RecipeArgument, as_json: JsonOption = False) -> None:
    """Show what a run would do, and compute nothing. Lists both models, each stage and why it runs, time and disk."""
    from potstill.cli.show import print_plan
    from potstill.pipeline.plan import make_plan
    from potstill.recipe.load import load

    print_plan(make_plan(load(recipe)), as_json=as_json)


@app.command()
def run(
    recipe: RecipeArgument,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<name>.", show_default=False)] = None,
    threads: Annotated[int, typer.Option(help="CPU cores to use; 0 takes all.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda where the machine has it.")] = "cpu",
    log: Annotated[
        list[Logger] | None,
        typer.Option(
            metavar="KIND", help="csv or tensorboard beside the JSON lines; may be repeated.", show_default=False
        ),
    ] = None,
    samples: SamplesOption = True,
    accept_fingerprint: FingerprintOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe, or go on where it was stopped. Teacher, soft labels, student, controls, export, checks, report."""
    from potstill.cli.run import run_recipe

    run_recipe(
        recipe, out, options(threads, device, accept_fingerprint), mode="json" if as_json else "auto", samples=samples,
        loggers=tuple(entry.value for entry in log or ()), cores=threads,
    )  # fmt: skip


@app.command()
def compare(
    recipe: RecipeArgument,
    arms: Annotated[
        str,
        typer.Option(help="Arms, by commas, each of prune, distill, quantize joined by +.", show_default="all six"),
    ] = "",
    seeds: Annotated[
        int | None, typer.Option(help="Trainings of each arm; default the recipe's.", min=1, show_default=False)
    ] = None,
    weight_bytes: Annotated[
        int | None,
        typer.Option(help="Most bytes of weights; default the student's in float32.", min=1, show_default=False),
    ] = None,
    macs: Annotated[int | None, typer.Option(help="Most MACs of one sample.", min=1, show_default=False)] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(help="Most milliseconds of one sample, measured here.", min=1e-6, show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<name>-compare.", show_default=False)] = None,
    threads: Annotated[int, typer.Option(help="CPU cores to use; 0 takes all.", min=0)] = 0,
    accept_fingerprint: FingerprintOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare pruning, quantising and distilling under one budget. Same teacher, data and training; a control beside."""
    from potstill.cli.compare import compare_recipe

    compare_recipe(
        recipe, arms, seeds, weight_bytes, macs, latency_ms, out, options(threads, "cpu", accept_fingerprint),
        mode="json" if as_json else "auto",
    )  # fmt: skip


@app.command()
def taps(recipe: RecipeArgument, as_json: JsonOption = False) -> None:
    """List places in both models, with shapes and pairs. What objectives on features can read, and what auto pairs."""
    from potstill.cli.taps import print_taps
    from potstill.core.progress import Progress
    from potstill.pipeline.taps import tap_report
    from potstill.recipe.load import load

    print_taps(tap_report(load(recipe), Progress("quiet")), as_json=as_json)


@app.command()
def verify(
    model: Annotated[
        Path,
        typer.Argument(help="A model file (.onnx, .tflite, ...), ours or anybody's; or a run.", show_default=False),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="The recipe whose test split is used; without it, no accuracy.", show_default=False),
    ] = None,
    from_device: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Take what a bundle's run.py wrote on a device into the run.", show_default=False
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Generated C: run it on this core, or a device with it, emulated.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option(help="With --device: rows that the core answers.", min=1)] = 20,
    threads: Annotated[int, typer.Option(help="CPU threads of the runtime.", min=1)] = 1,
    scale: Annotated[float, typer.Option(help="A foreign model's pixel range: 1 or 255.")] = 1.0,
    run_program: Annotated[
        bool, typer.Option("--run-program", help="Run a file that is a program (.ts, .pt2) though no run made it here.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a model file on a recipe's test samples. Accuracy, latency, memory and size, each measured here.

    With --device a model.c is built and run on an emulated Cortex-M (cortex-m3, -m4, -m7, -m55, or a device that has one) and compared with
    TensorFlow Lite Micro code by code; --data is then optional. Exit codes: 3 it does not fit the device, 4 a code differs, 5 a tool is
    missing, 6 it faults or hangs.
    """
    if device is not None:
        from potstill.cli.mcu import verify_device_file

        verify_device_file(
            model, device, data, rows=rows, scale=scale, run_program=run_program, as_json=as_json
        )  # fmt: skip
        return
    from potstill.cli.bundle import take_result
    from potstill.cli.run import verify_file

    if from_device is not None:
        take_result(model, from_device, as_json=as_json)
        return
    verify_file(model, data, threads=threads, scale=scale, run_program=run_program, as_json=as_json)


@app.command()
def bundle(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    export: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Which of its exports; default the first that can.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option(help="Test rows that go with it.", min=2)] = 256,
    out: Annotated[Path | None, typer.Option(help="Folder; default in the run's.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a folder that measures a run's artifact on a device. With test rows and a runner that needs the runtime alone."""
    from potstill.cli.bundle import make_bundle

    make_bundle(run, export, rows, out, as_json=as_json)


@app.command()
def fit(
    models: Annotated[list[Path], typer.Argument(help="Model files, .onnx or .tflite.", show_default=False)],
    device: Annotated[
        list[str] | None,
        typer.Option(help="A device, or a profile in YAML; may be repeated.", show_default="all devices"),
    ] = None,
    all_devices: Annotated[
        bool, typer.Option("--all-devices", help="Judge on every device; none is then named.")
    ] = False,
    latency_ms: Annotated[float | None, typer.Option(help="Most milliseconds of a sample.", show_default=False)] = None,
    peak_memory_bytes: Annotated[float | None, typer.Option(help="Most RAM it may take.", show_default=False)] = None,
    flash_bytes: Annotated[float | None, typer.Option(help="Most flash it may take.", show_default=False)] = None,
    energy_mj: Annotated[float | None, typer.Option(help="Most millijoules of a sample.", show_default=False)] = None,
    dtype: Annotated[
        Integers | None, typer.Option("--as", help="Judge a float model as it would be.", show_default=False)
    ] = None,
    dim: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", help="Size of an open dimension; may be repeated.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which devices can run a model. What stops the others; modelled from published figures; exit 3 if a named one cannot."""
    from potstill.cli.devices import dims_of, print_fit
    from potstill.devices.lines import budget_of

    print_fit(
        models, [] if all_devices else device or [],
        budget_of({"latency_ms": latency_ms, "peak_memory_bytes": peak_memory_bytes, "flash_bytes": flash_bytes, "energy_mj": energy_mj}),
        dtype.value if dtype else None, dims_of(dim or []), as_json=as_json,
    )  # fmt: skip


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)], samples: SamplesOption = True
) -> None:
    """Write the page and the card of a finished run again."""
    from potstill.cli.run import write_report

    write_report(run, samples=samples)


@app.command(name="list")
def list_kinds(
    family: Annotated[
        str | None,
        typer.Argument(help="Such as models, objectives or data; without it, all families.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what a recipe can name."""
    from potstill.cli.show import print_families, print_kinds

    if family is None:
        print_families(as_json=as_json)
    else:
        print_kinds(family, as_json=as_json)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from potstill.recipe.model import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=1))


app.command(name="export-c")(export_c)
app.add_typer(devices_app, name="devices")
app.add_typer(labels_app, name="labels")
app.add_typer(cache_app, name="cache")


@app.command(name="import-weights")
def import_weights(
    file: Annotated[Path, typer.Argument(help="A PyTorch checkpoint (.pth, .pt).", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Default: beside it, as .safetensors.", show_default=False)] = None,
) -> None:
    """Turn a PyTorch checkpoint into safetensors. In a child process, which runs no code from it."""
    from potstill.cli.show import print_facts
    from potstill.models.tools.import_weights import import_weights as convert

    print_facts(convert(file, out))
