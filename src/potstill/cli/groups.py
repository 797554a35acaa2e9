"""The commands that stand in groups: devices, labels, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli._options import FingerprintOption, JsonOption, options

labels_app = typer.Typer(
    help="Check and repair stored soft labels and features.", no_args_is_help=True, rich_markup_mode=None
)
devices_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
cache_app = typer.Typer(help="See and clear what is kept between runs.", no_args_is_help=True, rich_markup_mode=None)


@devices_app.callback()
def devices(context: typer.Context, as_json: JsonOption = False) -> None:
    """List devices. Memory, runtimes, and what their modelled latency was off by on models held out."""
    if context.invoked_subcommand is None:
        from potstill.cli.devices import print_devices

        print_devices(as_json=as_json)


@devices_app.command("show")
def devices_show(
    name: Annotated[str, typer.Argument(help="A device, or a profile in YAML.", show_default=False)],
) -> None:
    """Show every fact of a device. With its status and source, and what its latencies rest on."""
    from potstill.cli.devices import print_device

    print_device(name)


@devices_app.command("measure")
def devices_measure(
    out: Annotated[Path, typer.Option(help="The profile to write; its rows go beside it.")] = Path("my_device.yaml"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer nets, one thread, a minute.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Time a set of nets on this machine and write its profile. Then: potstill fit MODEL --device FILE."""
    from potstill.cli.calibrate import measure

    measure(out, quick=quick, as_json=as_json)


@labels_app.command("check")
def labels_check(
    folder: Annotated[Path, typer.Argument(help="A store, or a run folder.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Read every byte of a store, or of a run's, and name the damage."""
    from potstill.cli.labels import check_store

    check_store(folder, as_json=as_json)


@labels_app.command("repair")
def labels_repair(
    folder: Annotated[Path, typer.Argument(help="A store, or a run folder.", show_default=False)],
    accept_fingerprint: FingerprintOption = False,
) -> None:
    """Label the damaged shards again, and only those."""
    from potstill.cli.labels import repair_store

    repair_store(folder, options(0, "cpu", accept_fingerprint))


@cache_app.command("ls")
def cache_ls(as_json: JsonOption = False) -> None:
    """List what the cache holds, least recently used first."""
    from potstill.cli.show import print_cache
    from potstill.pipeline.cache import ArtifactCache, default_root

    cache = ArtifactCache(default_root())
    print_cache(cache.root, list(cache.entries()), as_json=as_json)


@cache_app.command("gc")
def cache_gc(
    older_than_days: Annotated[float, typer.Option(help="Remove what was not used for so long.", min=0)] = 30,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Remove what is damaged instead; reads every byte.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything instead.")] = False,
) -> None:
    """Remove artifacts; a later run makes again what it needs."""
    from potstill.cli.show import print_removed
    from potstill.pipeline.cache import ArtifactCache, default_root

    cache = ArtifactCache(default_root())
    days = None if damaged or everything else older_than_days
    print_removed(cache.collect(everything=everything, damaged=damaged, older_than_days=days))
