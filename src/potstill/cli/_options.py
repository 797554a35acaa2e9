"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from potstill.stages import RunOptions

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, one object a line.")]
FingerprintOption = Annotated[
    bool, typer.Option("--accept-fingerprint", help="Go on although versions, threads or machine differ.")
]


def options(threads: int, device: str, accept_fingerprint: bool) -> RunOptions:
    """Return where and how a run works. Raises PotstillError where this machine has no such device."""
    from potstill.core.errors import PotstillError
    from potstill.pipeline.cache import default_root
    from potstill.stages import RunOptions

    if device != "cpu" and not _is_here(device):
        raise PotstillError(f"--device: must be a device of this machine; got {device!r}. Allowed here: cpu.")
    return RunOptions(cache=default_root(), threads=threads, device=device, accept_fingerprint=accept_fingerprint)


def _is_here(device: str) -> bool:
    if device.split(":")[0] != "cuda":
        return False
    import torch

    return torch.cuda.is_available()
