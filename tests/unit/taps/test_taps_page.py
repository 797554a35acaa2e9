"""The code that the page on features shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "features.md"


def test_a_loop_of_ones_own_as_the_page_writes_it() -> None:
    (code,) = re.findall(r"^```python run\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    found: dict[str, object] = {}
    exec(compile(code, PAGE.name, "exec"), found)
    assert found["joint"].says in code  # type: ignore[attr-defined]
