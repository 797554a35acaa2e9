"""Resampling and log-mel spectrograms as torch modules of plain convolutions. Loads torch. Shapes: B rows, T samples, F frames,
M bands, K frequencies.

`torch.stft` gives complex numbers, which LiteRT does not have; a windowed Fourier transform written as a convolution exports
everywhere. In int8 it would be wrong: quantisers must leave it in float.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from potstill.core.mel import FLOOR, MelSpectrum
from potstill.models.inputs.preprocess import Preprocess


class Resample(Preprocess):
    """Sound at the data's rate -> at the model's, on the host: a polyphase windowed sinc, as a strided convolution.

    The filter is that of `scipy.signal.resample_poly`: Kaiser window, beta 5, 20 · max(up, down) + 1 taps.

    Args:
        inside: as `Preprocess`.
        from_hz: the data's rate.
        to_hz: the model's.
    """

    weight: Tensor

    def __init__(self, inside: nn.Module, from_hz: int, to_hz: int) -> None:
        super().__init__(inside)
        common = math.gcd(from_hz, to_hz)
        self.up, self.down = to_hz // common, from_hz // common
        if self.up == self.down:
            return
        from scipy.signal import firwin

        half = 10 * max(self.up, self.down)
        taps = self.up * firwin(2 * half + 1, 1 / max(self.up, self.down), window=("kaiser", 5.0))
        self.before = half // self.up
        last = ((self.up - 1) * self.down + half) // self.up
        phases, steps = np.arange(self.up)[:, None], np.arange(-self.before, last + 1)[None, :]
        index = phases * self.down - steps * self.up + half
        inside_filter = (index >= 0) & (index <= 2 * half)
        weight = np.where(inside_filter, taps[np.clip(index, 0, 2 * half)], 0.0)
        self.register_buffer("weight", torch.from_numpy(weight[:, None, :]).float(), persistent=False)

    def outside(self, inputs_BX: Tensor) -> Tensor:
        """[B, T] in [-1, 1] -> [B, ceil(T · up / down)]; ringing may pass 1 a little."""
        if self.up == self.down:
            return inputs_BX
        steps = -(-inputs_BX.shape[1] * self.up // self.down)
        blocks = -(-steps // self.up)
        needed = (blocks - 1) * self.down + self.weight.shape[2]
        after = max(0, needed - self.before - inputs_BX.shape[1])
        padded = F.pad(inputs_BX, (self.before, after))
        phases = F.conv1d(padded[:, None], self.weight, stride=self.down)[:, :, :blocks]
        return phases.transpose(1, 2).flatten(1)[:, :steps].contiguous()


class Scale(nn.Module):
    """x · factor.

    Args:
        factor: 32768 gives the range of 16-bit integers.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x_BT: Tensor) -> Tensor:
        """Return the same shape, scaled."""
        return x_BT * self.factor if self.factor != 1 else x_BT


class LogMel(nn.Module):
    """`MelSpectrum` of plain convolutions.

    Args:
        spectrum: its numbers.
    """

    transform: Tensor
    bands: Tensor

    def __init__(self, spectrum: MelSpectrum) -> None:
        super().__init__()
        self.spectrum = spectrum
        bands_KM = spectrum.bands
        used = np.flatnonzero(bands_KM.any(axis=1))  # frequencies outside every band cost nothing
        angle = 2 * math.pi * np.outer(used, np.arange(spectrum.window)) / spectrum.window
        basis = np.concatenate([np.cos(angle), np.sin(angle)]) * spectrum.hann
        self.num_hz = len(used)
        self.register_buffer("transform", torch.from_numpy(basis[:, None, :]).float(), persistent=False)
        self.register_buffer("bands", torch.from_numpy(bands_KM[used].T[:, :, None].copy()).float(), persistent=False)

    def forward(self, x_BT: Tensor) -> Tensor:
        """[B, T] -> [B, 1, F, M]."""
        floor = self.spectrum.floor
        parts = F.conv1d(x_BT.unsqueeze(1), self.transform, stride=self.spectrum.hop).square()
        power = parts[:, : self.num_hz] + parts[:, self.num_hz :]
        energy = F.conv1d(power, self.bands).transpose(1, 2).unsqueeze(1)
        if floor is None:
            return torch.log(energy + FLOOR)
        relative = energy / (energy.amax(dim=(1, 2, 3), keepdim=True) + FLOOR)
        return torch.log(relative + floor) * (-2 / math.log(floor)) + 1
