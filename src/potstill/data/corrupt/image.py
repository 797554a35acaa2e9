"""What happens to cameras: light, haze, noise, focus, something in the way, compression. Shapes: H, W pixels, C channels."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from potstill.data.corrupt._draws import level, uniform

Corruption = Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]
"""(sample [H, W, C] uint8, severity 1 to 5, seed) -> the same shape and type; a pure function."""

BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
"""Added to pixels in [0, 1]."""
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
"""Share of each pixel's distance from the picture's mean that is left."""
NOISE = (0.04, 0.06, 0.08, 0.09, 0.1)
"""Standard deviation of Gaussian noise, pixels in [0, 1]."""
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)
"""Standard deviation of a Gaussian in pixels of a picture of 32 by 32; larger pictures are blurred by as much of their side."""
OCCLUSION = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Side of a grey square, as a share of the picture's."""
JPEG = (80, 65, 58, 50, 40)
"""Quality of the encoder, 1 to 95."""
_SIDE = 32


def brightness(sample_HWC: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Add light, as CIFAR-10-C does (Hendrycks and Dietterich 2019, arXiv:1903.12261), to each channel alike.

    Args:
        sample_HWC: [H, W, C] uint8.
        severity: 1 to 5: 0.05 to 0.3 of the whole range.
        seed: not used.

    Returns:
        [H, W, C] uint8, cut at white.

    Raises:
        ValueError: no such severity.
    """
    return _bytes(sample_HWC / 255 + level(BRIGHTNESS, severity))


def contrast(sample_HWC: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Bring every pixel nearer to its channel's mean.

    Args:
        sample_HWC: [H, W, C] uint8.
        severity: 1 to 5: 75 to 15 % of the distance is left.
        seed: not used.

    Returns:
        [H, W, C] uint8.

    Raises:
        ValueError: no such severity.
    """
    pixels = sample_HWC / 255
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _bytes((pixels - mean) * level(CONTRAST, severity) + mean)


def noise(sample_HWC: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Add Gaussian noise, of its own in each pixel and channel.

    Args:
        sample_HWC: [H, W, C] uint8.
        severity: 1 to 5: standard deviation 0.04 to 0.1 of the whole range.
        seed: of the noise.

    Returns:
        [H, W, C] uint8, cut at black and white.

    Raises:
        ValueError: no such severity.
    """
    from scipy.special import ndtri

    strength = level(NOISE, severity)
    draws = _uniform(seed, "noise", sample_HWC.size).reshape(sample_HWC.shape)
    return _bytes(sample_HWC / 255 + strength * ndtri(np.clip(draws, 1e-12, 1 - 1e-12)))


def blur(sample_HWC: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Blur with a Gaussian, edges held.

    Args:
        sample_HWC: [H, W, C] uint8.
        severity: 1 to 5: standard deviation 0.4 to 1 pixel of a picture of 32 by 32, of a larger one as much of its shorter side.
        seed: not used.

    Returns:
        [H, W, C] uint8.

    Raises:
        ValueError: no such severity.
    """
    from scipy.ndimage import gaussian_filter

    sigma = level(BLUR, severity) * max(1.0, min(sample_HWC.shape[:2]) / _SIDE)
    return _bytes(gaussian_filter(sample_HWC / 255, (sigma, sigma, 0), mode="nearest"))


def occlusion(sample_HWC: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Hide a square behind middle grey.

    Args:
        sample_HWC: [H, W, C] uint8.
        severity: 1 to 5: its side is 10 to 50 % of the picture's shorter one, at least a pixel.
        seed: of where it lies, wholly within the picture.

    Returns:
        [H, W, C] uint8.

    Raises:
        ValueError: no such severity.
    """
    height, width = sample_HWC.shape[:2]
    side = max(1, round(level(OCCLUSION, severity) * min(height, width)))
    draws = _uniform(seed, "occlusion", 2)
    top, left = int(draws[0] * (height - side + 1)), int(draws[1] * (width - side + 1))
    out = sample_HWC.copy()
    out[top : top + side, left : left + side] = 128
    return out


def jpeg(sample_HWC: NDArray[np.uint8], severity: int, seed: int) -> NDArray[np.uint8]:
    """Encode and decode as JPEG.

    Args:
        sample_HWC: [H, W, C] uint8, C of 1 or 3; of other counts each channel by itself.
        severity: 1 to 5: quality 80 to 40.
        seed: not used.

    Returns:
        [H, W, C] uint8.

    Raises:
        ValueError: no such severity.
    """
    quality = int(level(JPEG, severity))
    if sample_HWC.shape[2] == 3:
        return _recoded(sample_HWC, quality)
    return np.stack([_recoded(sample_HWC[..., c], quality) for c in range(sample_HWC.shape[2])], axis=2)


CORRUPTIONS: dict[str, Corruption] = {
    "brightness": brightness, "contrast": contrast, "noise": noise, "blur": blur, "occlusion": occlusion, "jpeg": jpeg,
}  # fmt: skip


def _recoded(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _bytes(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _uniform(seed: int, op: str, num: int) -> NDArray[np.float64]:
    return uniform(seed, f"image-{op}", num)
