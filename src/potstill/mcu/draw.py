"""A plan of memory as a picture: calls from left to right, the arena from bottom to top, one box a tensor."""

from __future__ import annotations

from html import escape

from potstill.mcu.plan import Plan

_WIDTH, _HEIGHT, _LEFT, _FOOT = 900.0, 360.0, 70.0, 30.0


def drawn(plan: Plan, num_calls: int) -> str:
    """Return an SVG of when and where each block lies; its titles say name and bytes."""
    across, up = _WIDTH / (num_calls + 2), _HEIGHT / max(1, plan.arena)
    boxes = []
    for i, (block, offset) in enumerate(zip(plan.blocks, plan.offsets, strict=True)):
        x, width = _LEFT + (block.first + 1) * across, (block.last - block.first + 1) * across
        y, height = _HEIGHT - (offset + block.size) * up, block.size * up
        boxes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="hsl({i * 47 % 360},55%,70%)" stroke="#333" '
            f'stroke-width=".5"><title>{escape(block.name)}: {block.size} bytes at {offset}, calls {block.first} to {block.last}</title></rect>'
        )
    texts = f'<text x="4" y="12">{plan.arena} B</text><text x="{_LEFT}" y="{_HEIGHT + 20}">calls 0 to {num_calls - 1}; the least any plan needs is {plan.bound} bytes</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH:.0f} {_HEIGHT + _FOOT:.0f}" font-family="sans-serif" font-size="12">\n'
        + "\n".join(boxes) + f"\n{texts}\n</svg>\n"
    )  # fmt: skip
