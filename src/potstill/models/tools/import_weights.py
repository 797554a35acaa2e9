"""The one place that reads a PyTorch checkpoint: in a child process, weights only, turned into safetensors."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError

_SECONDS = 300
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")


def import_weights(file: Path, out: Path | None = None) -> dict[str, Any]:
    """Turn a checkpoint into safetensors and return what was done.

    Args:
        file: .pth or .pt.
        out: default beside it, with the suffix .safetensors.

    Returns:
        {"out", "tensors", "bytes", "unwrapped", "stripped", "dropped", "sha256"}.

    Raises:
        PotstillError: no such file, not a checkpoint, or one that holds more than tensors and plain values.
    """
    if not file.is_file():
        raise PotstillError(f"{file}: must be a checkpoint file; there is none.")
    out = out or file.with_suffix(".safetensors")
    if out.exists():
        raise PotstillError(f"{out}: must be new; it exists. Pass --out, or remove it.")
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "HOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")}
    command = [sys.executable, "-m", "potstill.models.tools.import_weights", str(file.resolve()), str(out.resolve())]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=env, check=False)
    except subprocess.TimeoutExpired as err:
        raise PotstillError(f"{file}: must be read within {_SECONDS} s; it was not.") from err
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}."])[-1][:300]
        raise PotstillError(f"{file}: must be a checkpoint of tensors and plain values; got: {reason}")
    facts: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return facts


def _convert(file: Path, out: Path) -> dict[str, Any]:
    """In the child: read, take out the tensors, write."""
    import torch
    from safetensors.torch import save

    from potstill.core import atomic
    from potstill.core.hashing import digest_bytes

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as err:
        raise SystemExit(_why(err)) from None
    unwrapped: list[str] = []
    while isinstance(found, dict) and not any(isinstance(v, torch.Tensor) for v in found.values()):
        key = next((k for k in _WRAPPERS if isinstance(found.get(k), dict)), None)
        if key is None:
            raise SystemExit(f"no tensors in it; it has {sorted(map(str, found))[:5]}.")
        found, unwrapped = found[key], [*unwrapped, key]
    if not isinstance(found, dict):
        raise SystemExit(f"a {type(found).__name__}, not a dict of tensors.")
    tensors = {str(k): v.detach().contiguous().clone() for k, v in found.items() if isinstance(v, torch.Tensor)}
    dropped = [str(k) for k, v in found.items() if not isinstance(v, torch.Tensor)]
    stripped = all(k.startswith("module.") for k in tensors)
    if stripped:
        tensors = {k.removeprefix("module."): v for k, v in tensors.items()}
    data = save(dict(sorted(tensors.items())))
    atomic.write_bytes(out, data)
    return {
        "out": str(out), "tensors": len(tensors), "bytes": len(data), "unwrapped": unwrapped,
        "stripped": "module." if stripped else "", "dropped": dropped, "sha256": digest_bytes(data),
    }  # fmt: skip


def _why(error: Exception) -> str:
    """Return in one line why PyTorch refused a file; its own messages tell people to trust it."""
    text = str(error)
    code = re.search(r"GLOBAL ([\w.]+)", text)
    if code:
        return (
            f"a name of code, {code[1]}, which was not run. Save the weights alone, torch.save(module.state_dict(), ...), "
            "where the file was made."
        )
    if isinstance(error, RuntimeError):
        return f"a file that PyTorch cannot read: {text.split('. ')[0].strip().rstrip('.')}."
    return "something else: no file of torch.save, or a pickle with more than weights in it. Nothing of it was run."


if __name__ == "__main__":
    size = os.path.getsize(sys.argv[1])
    limit = 8 * size + (16 << 30)  # torch itself maps several GB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    print(json.dumps(_convert(Path(sys.argv[1]), Path(sys.argv[2]))))
