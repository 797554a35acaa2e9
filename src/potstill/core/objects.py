"""Objects of the user's own process (modules, arrays), named by digest so that a Spec can refer to them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError

_objects: dict[str, Any] = {}


def keep(digest: str, value: Any) -> str:
    """Remember `value` under `digest` for this process and return the digest."""
    _objects[digest] = value
    return digest


def get(digest: str) -> Any:
    """Return the object kept under `digest`. Raises PotstillError if this process has none."""
    if digest not in _objects:
        raise PotstillError(
            f"object {digest[:12]}: must be given by this process; got none. It came from a Python script: "
            "run that script again instead of the saved recipe."
        )
    return _objects[digest]


def load_attribute(path: str) -> Any:
    """Import `module:attribute`; the folder that the user stands in is searched too.

    Raises:
        PotstillError: the module or the attribute is not there, or importing it failed.
    """
    module_name, _, attribute = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        value: Any = importlib.import_module(module_name)
    except Exception as err:
        raise PotstillError(f"{path}: module must be importable; got {type(err).__name__}: {err}.") from err
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = ", ".join(n for n in vars(value) if not n.startswith("_"))[:200]
            raise PotstillError(f"{path}: must name an attribute of {module_name!r}; it has: {names}.")
        value = getattr(value, part)
    return value
