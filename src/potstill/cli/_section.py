"""A section of a recipe, as a spec and as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.data import DataSpec


def spec_of(section: dict[str, Any], base: Path) -> DataSpec:
    """Return the data section as a spec; its paths are relative to `base`."""
    from pydantic import TypeAdapter

    from potstill.data import AnyData

    spec: DataSpec = TypeAdapter(AnyData).validate_python(section, context={"base": base})
    return spec


def yaml_of(value: Any) -> str:
    """Return a value as YAML on one line, quoted where it must be."""
    import yaml

    text: str = yaml.safe_dump(value, allow_unicode=True, width=1 << 20, default_flow_style=True)
    return text.removesuffix("...\n").strip()
