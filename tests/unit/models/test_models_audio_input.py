"""Sound brought to a model: the spectrogram against NumPy's own transform, the exported one too; rates against SciPy's filter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.signal import resample_poly
from torch import nn

from potstill.core.errors import ShapeError
from potstill.exporters.onnx import OnnxSpec
from potstill.exporters.parity import compare
from potstill.models import ImageInput, ModelIO
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.inputs import AudioInput
from potstill.models.inputs.sound import Resample
from potstill.models.mobilenet_v2 import MobileNetV2Spec
from potstill.models.resnet import ResNetSpec
from potstill.models.tools.build import new_model
from potstill.testing import check_model, tiny

IO = tiny.io_for("audio")
STATS = tiny.stats_for("audio")


def sound(num: int = 5, seed: int = 0) -> NDArray[np.float32]:
    """Chirps in noise, each louder than the one before; the last is silent."""
    rng = np.random.default_rng(seed)
    t = np.arange(IO.steps) / 8000
    rows = [
        0.02 * 3**i * np.sin(2 * np.pi * (200 + 100 * i + 900 * t) * t) + rng.normal(scale=1e-3, size=t.size)
        for i in range(num - 1)
    ]
    return np.stack([*rows, np.zeros(t.size)]).clip(-1, 1).astype(np.float32)


def reference(
    sound_BT: NDArray[Any], rate: int, window: int, hop: int, mels: int, low: float, high: float
) -> NDArray[np.float64]:
    """Band energies by a loop over frames, `rfft` and triangles drawn one by one."""
    to_mel, back = lambda f: 2595 * math.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)
    edges = [back(to_mel(low) + (to_mel(high) - to_mel(low)) * k / (mels + 1)) for k in range(mels + 2)]
    hz = np.fft.rfftfreq(window, 1 / rate)
    bands = np.stack([np.interp(hz, edges[k : k + 3], [0, 1, 0]) for k in range(mels)], 1)
    taper = np.hanning(window + 1)[:-1]
    starts = range(0, sound_BT.shape[1] - window + 1, hop)
    frames = np.stack([sound_BT[:, s : s + window].astype(np.float64) * taper for s in starts], 1)
    out: NDArray[np.float64] = np.abs(np.fft.rfft(frames, axis=2)) ** 2 @ bands
    return out[:, None]


@pytest.mark.parametrize("mels", [20, 40])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_log_mel_agrees_with_numpy(mels: int, rate: int) -> None:
    spec = AudioInput(mels=mels, rate_hz=rate, low_hz=60.0, high_hz=3800.0, range_db=None).resolved(IO, STATS)
    read = resample_poly(sound().astype(np.float64), rate // 8000, 1, axis=1)
    window = rate * 32 // 1000
    wanted = np.log(reference(read, rate, window, window // 2, mels, 60.0, 3800.0) + 1e-6)
    found = spec.preprocess(IO)(torch.from_numpy(sound())).numpy()
    assert found.shape == wanted.shape == (5, *spec.seen(IO).shape)
    assert np.abs(found - wanted).max() < 2e-3
    assert np.abs(spec.spectrum()(read) - wanted).max() < 1e-5


def test_a_range_takes_away_loudness_and_ends_in_minus_one() -> None:
    spec = AudioInput(range_db=40.0).resolved(IO, STATS)
    energy = reference(sound(), 8000, 256, 128, 40, 50.0, 4000.0)
    relative = energy / (energy.max(axis=(1, 2, 3), keepdims=True) + 1e-6)
    wanted = 1 + 2 * np.log10(relative + 1e-4) / 4
    found = spec.preprocess(IO)(torch.from_numpy(sound())).numpy()
    assert np.abs(found - wanted).max() < 1e-3 and found.max() < 1 + 1e-3 and np.abs(found[-1] + 1).max() < 1e-5
    louder = spec.preprocess(IO)(torch.from_numpy(sound() * 4)).numpy()
    assert np.abs(louder - found)[2:-1].max() < 1e-3


@pytest.mark.parametrize(
    ("given", "wanted"), [(8000, 16000), (16000, 8000), (44100, 16000), (8000, 11025), (22050, 8000)]
)
def test_rates_change_as_by_scipys_polyphase_filter(given: int, wanted: int) -> None:
    common = math.gcd(given, wanted)
    for steps in (8000, 4001):
        x = sound()[:, :steps]
        found = Resample(nn.Identity(), given, wanted).outside(torch.from_numpy(x)).numpy()
        truth = resample_poly(x.astype(np.float64), wanted // common, given // common, axis=1)
        assert found.shape == truth.shape and np.abs(found - truth).max() < 1e-5
    tone = np.sin(2 * np.pi * 440 * np.arange(given) / given).astype(np.float32)[None]
    found = Resample(nn.Identity(), given, wanted).outside(torch.from_numpy(tone)).numpy()[0]
    inside = slice(200, -200)
    assert np.abs(found - np.sin(2 * np.pi * 440 * np.arange(len(found)) / wanted))[inside].max() < 5e-3


def test_teacher_and_student_read_the_same_sample_at_rates_of_their_own() -> None:
    batch = torch.from_numpy(sound())
    before = batch.clone()
    teacher = new_model(ResNetSpec(depth=8, width=4, input=AudioInput(rate_hz=16000, mels=32)), IO, STATS)
    student = new_model(DsCnnSpec(width=4, depth=2, input=AudioInput(rate_hz=4000, mels=16)), IO, STATS)
    raw = AudioInput(features="wave", rate_hz=16000, scale=32768.0).resolved(IO, STATS)
    assert teacher.preprocess.outside(batch).shape == (5, 16000) and student.preprocess.outside(batch).shape == (
        5,
        4000,
    )
    assert teacher.io.shape == (1, 61, 32) and student.io.shape == (1, 61, 16)
    for model in (teacher, student):
        assert model.module.eval()(model.preprocess(batch)).shape == (5, 10)
    heard = raw.preprocess(IO)(batch).numpy()
    wanted = 32768 * resample_poly(sound().astype(np.float64), 2, 1, axis=1)
    assert heard.shape == (5, *raw.seen(IO).shape) and np.abs(heard - wanted).max() < 0.2
    assert torch.equal(batch, before)


@pytest.mark.parametrize("spec", [
    DsCnnSpec(width=4, depth=2, input=AudioInput(mels=20)), ResNetSpec(depth=8, width=4, input=AudioInput(rate_hz=4000)),
    MobileNetV2Spec(input=AudioInput(mels=24, range_db=None)),
], ids=["ds-cnn", "resnet", "mobilenet-v2"])  # fmt: skip
def test_families_of_pictures_read_spectrograms(spec: Any) -> None:
    check_model(spec, IO)


def test_the_exported_student_computes_the_spectrogram_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = new_model(DsCnnSpec(width=8, depth=2, input=AudioInput(mels=24)), IO, STATS)
    whole = nn.Sequential(model.preprocess.inside, model.module).eval()
    example = model.preprocess.outside_numpy(sound())
    artifact = OnnxSpec().export(whole, example, tmp_path)
    parity = compare(whole, artifact, example, 1e-4)
    assert parity.top1_agreement == 1.0 and parity.max_abs_diff < 1e-4
    features = nn.Sequential(model.preprocess.inside, nn.Identity())  # and the spectrogram alone, against NumPy
    (tmp_path / "mel").mkdir()
    mel = OnnxSpec().export(features, example, tmp_path / "mel")(example)
    energy = reference(sound(), 8000, 256, 128, 24, 50.0, 4000.0)
    wanted = 1 + 2 * np.log10(energy / (energy.max(axis=(1, 2, 3), keepdims=True) + 1e-6) + 1e-5) / 5
    assert np.abs(mel - wanted).max() < 1e-3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"high_hz": 5000.0}, "input.high_hz: must be above low_hz 50 and at most half the rate, 4000"),
        ({"low_hz": 3000.0, "high_hz": 2000.0}, "input.high_hz"), ({"window_ms": 1000.0, "rate_hz": 4001}, "filters do"),
        ({"mels": 128}, "input.mels: every band must hold a frequency"), ({"window_ms": 900.0, "rate_hz": 8000}, ""),
    ],
)  # fmt: skip
def test_numbers_that_do_not_fit_the_data_are_refused(fields: dict[str, Any], said: str) -> None:
    if not said:
        assert AudioInput(**fields).resolved(IO, STATS).seen(IO).shape == (1, 7, 40)
        return
    with pytest.raises(ShapeError, match=said):
        AudioInput(**fields).resolved(IO, STATS)


def test_a_clip_shorter_than_a_frame_and_other_kinds_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"window_ms: must be at most the clip, 20 ms"):
        AudioInput().resolved(ModelIO((2,), (160,), "audio", 8000.0), STATS)
    with pytest.raises(ShapeError, match="must read what the data gives, audio; it reads image"):
        new_model(DsCnnSpec(input=ImageInput()), IO, STATS)
    with pytest.raises(ShapeError, match=r"input\.rate_hz"):
        AudioInput().resolved(ModelIO((2,), (8000,), "audio", None), STATS)


def test_a_picture_model_cannot_read_the_wave_itself() -> None:
    with pytest.raises(ValidationError, match="features must be log-mel"):
        DsCnnSpec(input=AudioInput(features="wave"))
