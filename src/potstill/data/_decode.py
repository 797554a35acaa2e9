"""Pictures from encoded bytes. Shapes: H, W pixels, C channels."""

from __future__ import annotations

import io
import statistics
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MAX_PIXELS = 50_000_000
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Headers:
    """What the headers of some pictures of one source say together."""

    num: int
    """Pictures looked at."""
    shape: tuple[int, int] | None
    """H, W where all are alike, else None."""
    shortest: int
    """Shortest side of any, in pixels."""
    longest: int
    """Longest side of any, in pixels."""
    typical: int
    """Median of the pictures' shorter sides, in pixels."""
    num_grey: int
    """Pictures with one channel."""
    num_oblong: int
    """Pictures that are not square."""


def decode(data: bytes, name: str, channels: int, size: int | None) -> NDArray[Any]:
    """Return [H, W, C] uint8, turned as its EXIF orientation says.

    Args:
        data: of a PNG, JPEG or any format Pillow reads; of 16-bit grey the upper eight bits are kept.
        name: of the row, for errors.
        channels: 1 (grey) or 3 (RGB; transparency is left out).
        size: bring to this height and width (bicubic), a large JPEG by way of an eighth of its size or so; None keeps
            the picture's.

    Raises:
        DataError: not a whole picture, 32-bit, or larger than 50 million pixels.
    """
    from PIL import Image

    try:
        with _opened(data) as picture:
            if size is not None:
                picture.draft(picture.mode, (2 * size, 2 * size))
            if picture.width * picture.height > _MAX_PIXELS:
                raise DataError(
                    f"{name}: must have at most {_MAX_PIXELS} pixels; got {picture.width}×{picture.height}."
                )
            picture.load()
            upright = _upright(
                _eight_bit(picture, name).convert("L" if channels == 1 else "RGB"), _orientation(picture)
            )
            if size is not None and upright.size != (size, size):
                upright = upright.resize((size, size), Image.Resampling.BICUBIC)
            out = np.asarray(upright)
    except DataError:
        raise
    except Exception as err:
        raise DataError(f"{name}: must be a whole picture; got {type(err).__name__}: {err}.") from err
    return out[:, :, None] if channels == 1 else out


def probe(data: bytes | Path, name: str) -> tuple[int, int, int]:
    """Return (H, W, C) of a picture from its header, turned as its EXIF orientation says; C is 1 for grey ones, else 3.

    Raises:
        DataError: it is no picture, or a file that cannot be read.
    """
    try:
        with _opened(data) as picture:
            grey = picture.mode in ("1", "L", "LA", "La", "F") or picture.mode.startswith("I")
            height, width = picture.height, picture.width
            if _orientation(picture) >= 5:
                height, width = width, height
            return height, width, 1 if grey else 3
    except Exception as err:
        raise DataError(f"{name}: must be a picture; got {type(err).__name__}: {err}.") from err


def read_file(path: Path) -> bytes:
    """Return a file's bytes. Raises DataError naming it where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise DataError(f"{path}: must be readable; got {err.strerror}.") from err


def summarise(shapes: Iterable[tuple[int, int, int]]) -> Headers:
    """Return what (H, W, C) of at least one picture say together."""
    found = list(shapes)
    alike = {(height, width) for height, width, _ in found}
    return Headers(
        num=len(found),
        shape=next(iter(alike)) if len(alike) == 1 else None,
        shortest=min(min(s) for s in alike),
        longest=max(max(s) for s in alike),
        typical=int(statistics.median_low(min(height, width) for height, width, _ in found)),
        num_grey=sum(channels == 1 for _, _, channels in found),
        num_oblong=sum(height != width for height, width, _ in found),
    )


@contextmanager
def _opened(data: bytes | Path) -> Iterator[Picture]:
    """Open a picture without Pillow's warnings: what they are about is an error here, or does not matter."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(data if isinstance(data, Path) else io.BytesIO(data)) as picture:
            yield picture


def _orientation(picture: Picture) -> int:
    """Return EXIF's orientation, 1 to 8; 1 (as stored) where there is none or it cannot be read."""
    if "exif" not in picture.info:  # so it is with TIFF, which Pillow turns itself
        return 1
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF beside whole pixels
        return 1
    return found if found in range(1, 9) else 1


def _upright(picture: Picture, orientation: int) -> Picture:
    from PIL.Image import Transpose

    turns = (
        None, Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM, Transpose.TRANSPOSE,
        Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90,
    )  # fmt: skip
    turn = turns[orientation - 1]
    return picture if turn is None else picture.transpose(turn)


def _eight_bit(picture: Picture, name: str) -> Picture:
    """Pillow would clip more bits at 255, and nearly every pixel would be white."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise DataError(f"{name}: must have 8 or 16 bits a channel; got 32. Convert it first, so that nothing is scaled by guess.")  # fmt: skip
    return picture
