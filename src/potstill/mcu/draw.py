"""A plan of memory as a picture: calls from left to right, the arena from bottom to top, one box a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _FOOT = 900.0, 300.0, 78.0, 30.0


def drawn(report: Mapping[str, Any]) -> str:
    """Return an SVG of when and where each block of a generated folder's report lies; its titles say name and bytes."""
    blocks, arena = report["memory"], int(report["arena_bytes"])
    last = max((int(b["last"]) for b in blocks), default=0)
    across, up = _WIDTH / (last + 2), _HEIGHT / max(1, arena)
    boxes = []
    for i, block in enumerate(blocks):
        size, offset, begin, end = (int(block[name]) for name in ("bytes", "offset", "first", "last"))
        x, width = _LEFT + (begin + 1) * across, (end - begin + 1) * across
        y, height = _HEIGHT - (offset + size) * up, size * up
        boxes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="hsl({i * 47 % 360},55%,70%)" stroke="#333" '
            f'stroke-width=".5"><title>{escape(str(block["name"]))}: {size} bytes at {offset}, calls {begin} to {end}</title></rect>'
        )
    texts = (
        f'<text x="4" y="12">{arena:,} B</text><text x="4" y="{_HEIGHT:.0f}">0</text><text x="{_LEFT:.0f}" y="{_HEIGHT + 20:.0f}">'
        f"calls 0 to {last}; the least any plan needs is {int(report['arena_bound_bytes']):,} bytes</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH:.0f} {_HEIGHT + _FOOT:.0f}" font-family="sans-serif" font-size="12" '
        'role="img" aria-label="Plan of the memory">\n' + "\n".join(boxes) + f"\n{texts}\n</svg>\n"
    )  # fmt: skip
