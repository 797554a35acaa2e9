"""Pictures from encoded bytes. Shapes: H, W pixels, C channels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError

_MAX_PIXELS = 50_000_000


def decode(data: bytes, name: str, channels: int, size: int | None) -> NDArray[Any]:
    """Return [H, W, C] uint8.

    Args:
        data: of a PNG, JPEG or any format Pillow reads.
        name: of the row, for errors.
        channels: 1 (grey) or 3 (RGB).
        size: bring to this height and width (bicubic); None keeps the picture's.

    Raises:
        DataError: not a whole picture, or larger than 50 million pixels.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise DataError(
                    f"{name}: must have at most {_MAX_PIXELS} pixels; got {picture.width}×{picture.height}."
                )
            picture.load()
            converted = picture.convert("L" if channels == 1 else "RGB")
            if size is not None and converted.size != (size, size):
                converted = converted.resize((size, size), Image.Resampling.BICUBIC)
            out = np.asarray(converted)
    except DataError:
        raise
    except Exception as err:
        raise DataError(f"{name}: must be a whole picture; got {type(err).__name__}: {err}.") from err
    return out[:, :, None] if channels == 1 else out


def probe(data: bytes, name: str) -> tuple[int, int, int]:
    """Return (H, W, C) of a picture; C is 1 for grey ones, else 3. Raises DataError if it is none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            grey = picture.mode in ("1", "L", "I;16", "I", "F")
            return picture.height, picture.width, 1 if grey else 3
    except Exception as err:
        raise DataError(f"{name}: must be a picture; got {type(err).__name__}: {err}.") from err
