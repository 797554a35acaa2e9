"""Optional packages and external tools, loaded on use and named with the command that installs them."""

from __future__ import annotations

import importlib
import importlib.util
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
        raise _missing(module.split(".")[0], extra, what, f" ({err})") from err


def check_present(package: str, extra: str, what: str) -> None:
    """Raise MissingExtraError, as `require` does, where there is no such package; nothing is imported."""
    if importlib.util.find_spec(package) is None:
        raise _missing(package, extra, what)


def _missing(package: str, extra: str, what: str, why: str = "") -> MissingExtraError:
    return MissingExtraError(
        f"{what}: needs the package {package!r}, which is not installed{why}. Install it: pip install 'potstill[{extra}]'"
    )
