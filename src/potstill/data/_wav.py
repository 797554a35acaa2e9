"""Sound from WAV bytes: 8, 16, 24 and 32 bits a sample, integer or float. NumPy only. Shapes: T samples, C channels.

The standard library's `wave` reads no float, so the chunks are walked here. Reference: Microsoft and IBM 1991, Multimedia
Programming Interface; Microsoft 1994, WAVEFORMATEXTENSIBLE.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN = (0, 0xFFFFFFFF)
"""Lengths that a program writes which cannot go back to its header."""
_LOUDEST = 1.01
"""Float samples up to here are clipped to 1: a filter may ring so far."""
_OTHERS = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"\xff\xfb": "MP3", b"FORM": "AIFF", b"RF64": "RF64"}


@dataclass(frozen=True)
class WavHeader:
    """What a WAV file says of itself."""

    rate_hz: int
    channels: int
    bits: int
    """Of one sample: 8, 16, 24, 32 or 64."""
    is_float: bool
    start: int
    """First byte of the samples."""
    num_frames: int
    """Samples of each channel."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.num_frames / self.rate_hz


def read_header(data: bytes, name: str) -> WavHeader:
    """Return the header of a WAV file; its samples are not looked at.

    Args:
        data: of the whole file.
        name: of the row, for errors.

    Raises:
        DataError: not a whole WAV file, or one that is compressed.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        found = next((kind for magic, kind in _OTHERS.items() if data.startswith(magic)), None)
        raise DataError(f"{name}: must be a WAV file; got {found or 'something else'}. Convert it, for instance by "
                        "ffmpeg -i FILE -ac 1 -c:a pcm_s16le OUT.wav.")  # fmt: skip
    form, at = None, 12
    while at + 8 <= len(data):
        tag, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        at += 8
        if tag == b"fmt ":
            form = _format(data[at : at + length], name)
        elif tag == b"data":
            return _header(form, data, at, length, name)
        at += length + length % 2
    raise DataError(f"{name}: must be a whole WAV file; it ends before its samples.")


def decode_wav(data: bytes, name: str) -> tuple[int, NDArray[np.float64]]:
    """Return (rate in Hz, samples [T, C] in [-1, 1]).

    Raises:
        DataError: not a whole WAV file, compressed, without samples, or with floats that are no samples.
    """
    header = read_header(data, name)
    size = header.bits // 8
    raw = data[header.start : header.start + header.num_frames * header.channels * size]
    flat = _numbers(raw, header)
    if header.is_float:
        if not np.isfinite(flat).all():
            raise DataError(f"{name}: samples must be finite; got NaN or Inf at {int(np.argmin(np.isfinite(flat)))}.")
        peak = float(np.abs(flat).max())
        if peak > _LOUDEST:
            raise DataError(f"{name}: float samples must lie in [-1, 1]; got {peak:.4g}. Scale them first, so that nothing is clipped "
                            "by guess.")  # fmt: skip
        flat = np.clip(flat, -1, 1)
    return header.rate_hz, flat.reshape(-1, header.channels)


def _format(chunk: bytes, name: str) -> tuple[int, int, int, int]:
    """Return (format, channels, rate, bits) of a "fmt " chunk."""
    if len(chunk) < 16:
        raise DataError(f"{name}: must be a whole WAV file; its format chunk has {len(chunk)} bytes, not 16.")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack_from("<H", chunk, 24)[0]
    allowed = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(kind, ())
    if bits not in allowed:
        what = {2: "ADPCM", 6: "A-law", 7: "µ-law", 17: "ADPCM", 85: "MP3"}.get(kind, f"format {kind}")
        raise DataError(f"{name}: must be PCM of 8, 16, 24 or 32 bits, or float; got {'' if kind in (1, 3) else what + ' of '}{bits} "
                        "bits. Convert it.")  # fmt: skip
    if channels < 1 or rate < 1:
        raise DataError(f"{name}: must have channels and a rate; got {channels} channels at {rate} Hz.")
    return kind, channels, rate, bits


def _header(form: tuple[int, int, int, int] | None, data: bytes, at: int, length: int, name: str) -> WavHeader:
    if form is None:
        raise DataError(f"{name}: must be a whole WAV file; its samples come before their format.")
    kind, channels, rate, bits = form
    left = len(data) - at
    if length in _UNKNOWN and left:
        length = left
    if length > left:
        raise DataError(f"{name}: must be a whole WAV file; it says {length} bytes of samples and has {left}.")
    frame = channels * bits // 8
    if length < frame:
        raise DataError(f"{name}: must hold sound; it has no samples. Drop it.")
    return WavHeader(rate, channels, bits, kind == _FLOAT, at, length // frame)


def _numbers(raw: bytes, header: WavHeader) -> NDArray[np.float64]:
    """Return every sample, channels in turn, full scale 1."""
    if header.is_float:
        return np.frombuffer(raw, f"<f{header.bits // 8}").astype(np.float64)
    if header.bits == 8:  # the only one without a sign
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
    if header.bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        flat: NDArray[Any] = wide.view("<i4")[:, 0]
        return flat / float(1 << 31)
    return np.frombuffer(raw, f"<i{header.bits // 8}") / float(1 << (header.bits - 1))


def encode_wav(samples_T: NDArray[np.int16], rate_hz: int) -> bytes:
    """Return the bytes of a mono 16-bit WAV file."""
    body = np.ascontiguousarray(samples_T, "<i2").tobytes()
    head = struct.pack("<HHIIHH", _PCM, 1, rate_hz, rate_hz * 2, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" \
        + struct.pack("<I", len(body)) + body  # fmt: skip
