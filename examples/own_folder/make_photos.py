"""Make a small folder of pictures by class, of many sizes, as anybody's own would be: photos/<class>/*.jpg.

Usage: python make_photos.py FOLDER [PICTURES_OF_EACH_CLASS]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "cross", "square", "triangle")


def draw(name: str, rng: np.random.Generator) -> Image.Image:
    """Return one noisy picture of a shape, 30 to 48 pixels high and wide."""
    width, height = (int(v) for v in rng.integers(30, 49, 2))
    picture = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(0, 100, 3)))
    pen, colour = ImageDraw.Draw(picture), tuple(int(v) for v in rng.integers(120, 256, 3))
    x, y, r = rng.integers(11, width - 10), rng.integers(11, height - 10), rng.integers(5, 10)
    box = (x - r, y - r, x + r, y + r)
    if name == "circle":
        pen.ellipse(box, outline=colour, width=2)
    elif name == "square":
        pen.rectangle(box, outline=colour, width=2)
    elif name == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], outline=colour, width=2)
    else:
        pen.line((x - r, y - r, x + r, y + r), fill=colour, width=2)
        pen.line((x - r, y + r, x + r, y - r), fill=colour, width=2)
    noise = rng.normal(0, 30, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def main(folder: Path, per_class: int = 150) -> None:
    """Write the folder."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            draw(name, rng).save(folder / name / f"{i:03d}.jpg", quality=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
