"""Take the README's picture of a report: its head and its verdict, light, 1280 wide at double density.

    .venv/bin/python scripts/take_picture.py runs/digits-few-labels [docs/images/report.png]

Needs Chromium. Builds the report from results.json first, so that the picture shows what the code says now.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from potstill.report import build

ROOT = Path(__file__).resolve().parent.parent
WIDTH, MARGIN, DENSITY = 1280, 24, 2
MOST_BYTES = 300_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VERDICT_ONLY = "<style>section~section{display:none}main{padding-bottom:0}</style>"


def shoot(page: Path, out: Path, work: Path) -> None:
    """Let a headless browser draw a page that is shorter than 2400 pixels."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"take_picture: needs one of {', '.join(BROWSERS)}; none is installed.")
    flags = (
        "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
        "--disable-component-update", "--hide-scrollbars", "--blink-settings=preferredColorScheme=1",
        f"--force-device-scale-factor={DENSITY}", f"--window-size={WIDTH},2400", f"--user-data-dir={work / 'profile'}",
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),
    )  # fmt: skip
    subprocess.run(
        [browser, *flags, f"--screenshot={out}", page.as_uri()], check=True, timeout=120, capture_output=True
    )


def trimmed(picture: Image.Image) -> Image.Image:
    """Return a picture without the empty ground below what it shows, in 128 colours."""
    ground = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    box = ImageChops.difference(picture, ground).getbbox()
    bottom = picture.height if box is None else min(picture.height, box[3] + MARGIN * DENSITY)
    return picture.crop((0, 0, picture.width, bottom)).quantize(128, dither=Image.Dither.NONE)


def main(run: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        page = work / "page.html"
        html = build(run).read_text()
        page.write_text(html.replace("</head>", f"{VERDICT_ONLY}</head>", 1))
        shoot(page, work / "full.png", work)
        with Image.open(work / "full.png") as picture:
            small = trimmed(picture.convert("RGB"))
    out.parent.mkdir(parents=True, exist_ok=True)
    small.save(out, optimize=True)
    size = out.stat().st_size
    print(f"{out}: {small.width} x {small.height}, {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        sys.exit(f"take_picture: the picture must be at most {MOST_BYTES / 1000:.0f} kB; got {size / 1000:.0f} kB.")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else ROOT / "docs" / "images" / "report.png")
