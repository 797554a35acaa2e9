"""Optional packages and external tools, loaded on use and named with the command that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from potstill.core.errors import MissingExtraError


def require(module: str, extra: str, what: str) -> Any:
    """Import an optional package.

    Raises:
        MissingExtraError: it is not installed; the message has the pip command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise MissingExtraError(
            f"{what}: needs the package {module.split('.')[0]!r}, which is not installed ({err}). "
            f"Install it: pip install 'potstill[{extra}]'"
        ) from err
