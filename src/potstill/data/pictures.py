"""Pictures of samples, for people to look at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core import atomic


def write_png(path: Path, image_HWC: NDArray[Any]) -> None:
    """Write [H, W, C] uint8, C of 1 or 3 (other counts show their first channel), as PNG."""
    from PIL import Image

    image = image_HWC if image_HWC.shape[2] == 3 else image_HWC[:, :, 0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    atomic.write_bytes(path, buffer.getvalue())
