"""Somebody else's ear: Google's speech embedding in ONNX, with a head trained here. Shapes: B rows, T samples, F frames, W windows,
D features, K classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core.errors import PotstillError, ShapeError, TeacherError
from potstill.core.samples import DataStats, SampleKind
from potstill.core.spec import InputPath
from potstill.core.tensorfile import open_arrays, write_arrays
from potstill.models import ModelIO
from potstill.models.inputs import AudioInput
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry

_RATE = 16_000
_FRAMES, _HOP, _MELS = 76, 7, 32
_SHORTEST_MS = 780
_HEAD = "head.safetensors"


@registry.register
class SpeechEmbeddingSpec(TeacherSpec):
    """Google's speech embedding (Lin et al. 2020, arXiv:2002.01322) as two ONNX files, run as they are by ONNX Runtime, and a
    logistic regression over its features, fitted here on the training labels.

    Each recording is heard alone: the published spectrogram cuts energies relative to the loudest of its whole batch.
    """

    kind: Literal["speech-embedding"] = "speech-embedding"
    melspectrogram: InputPath
    """ONNX file: [1, samples] at 16 kHz, in the range of 16-bit integers -> [1, 1, frames, 32]."""
    embedding: InputPath
    """ONNX file: [windows, 76, 32, 1] -> [windows, 1, 1, 96]."""
    penalty: float = Field(default=10.0, gt=0)
    """Of the squared weights of the head, over standardised features: larger is smoother."""
    views: int = Field(default=2, ge=0, le=32)
    """Augmented versions of each recording that the head is fitted to, beside the recording itself: it must know what it labels."""
    labels: Literal["labelled", "all"] = "labelled"
    """Labels that the head is fitted to: those the student may use, or all of them; the report then says so."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        if not (context.work / _HEAD).exists():
            self._fit(context)
        size = sum(path.stat().st_size for path in (self.melspectrogram, self.embedding, context.work / _HEAD))
        return {"model": "speech embedding and a logistic head", "file_bytes": size}

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        head = open_arrays(folder / _HEAD)
        return SpeechEmbeddingLabeller(Ear(self, io), np.array(head["weight"]), np.array(head["bias"]))

    def reads(self) -> SampleKind:
        return "audio"

    def fits(self) -> bool:
        return True

    def foreign(self) -> bool:
        return False

    def saw_hidden_labels(self) -> bool:
        return self.labels == "all"

    def _fit(self, context: TeacherContext) -> None:
        """Fit the head and leave it in the folder."""
        ear = Ear(self, context.io)
        parts = [(ear(inputs), labels) for inputs, labels in context.rows(self.labels, self.views)]
        features, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        num_classes = context.io.num_classes
        missing = sorted(set(range(num_classes)) - set(labels.tolist()))
        if missing:
            raise TeacherError(
                f"teacher: every class must have a training label for the head; class {missing[0]} has none."
            )
        weight_DK, bias_K = fit_head(features, labels, self.penalty)
        write_arrays(context.work / _HEAD, {"weight": weight_DK, "bias": bias_K})


def fit_head(
    features_ND: NDArray[Any], labels_N: NDArray[np.int64], penalty: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (weight [D, K], bias [K]) of a logistic regression over standardised features, the standardisation folded in; every
    class 0..K-1 must be there."""
    from sklearn.linear_model import LogisticRegression

    mean, std = features_ND.mean(axis=0), np.maximum(features_ND.std(axis=0), 1e-6)
    model = LogisticRegression(C=1 / penalty, max_iter=1000).fit((features_ND - mean) / std, labels_N)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # of two classes, one row says both
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / std
    return np.ascontiguousarray(weight.T, np.float32), (bias - weight @ mean).astype(np.float32)


class Ear:
    """The two files as one function.

    Args:
        spec: names them.
        io: of the data.

    Raises:
        ShapeError: the data is no sound, or its clips are too short.
        PotstillError: a file is not what it should be.
    """

    def __init__(self, spec: SpeechEmbeddingSpec, io: ModelIO) -> None:
        import torch

        from potstill.core.onnx_session import OnnxSession

        wave = AudioInput(features="wave", rate_hz=_RATE, scale=32768).resolved(io, DataStats((), ()))
        steps = wave.seen(io).steps
        if steps * 1000 < _SHORTEST_MS * _RATE:
            raise ShapeError(f"teacher: clips must have at least {_SHORTEST_MS} ms, which the speech embedding hears at once; got "
                             f"{1000 * steps / _RATE:g} ms. Set data.seconds: 1.0")  # fmt: skip
        self._preprocess, self._spec = wave.preprocess(io), spec
        threads = torch.get_num_threads()
        self._mel, self._embed = OnnxSession(spec.melspectrogram, threads), OnnxSession(spec.embedding, threads)

    def __call__(self, inputs_BT: NDArray[Any]) -> NDArray[np.float32]:
        """[B, T] in [-1, 1] at the data's rate -> [B, 96], the mean over windows."""
        import torch

        with torch.inference_mode():
            sound = self._preprocess(torch.from_numpy(inputs_BT)).numpy()
        return np.stack([self._one(row[None]) for row in sound])

    def _one(self, sound_1T: NDArray[Any]) -> NDArray[np.float32]:
        mel = self._mel(sound_1T)
        if mel.size % _MELS or mel.shape[-1] != _MELS:
            raise PotstillError(
                f"{self._spec.melspectrogram}: must give frames of {_MELS} bands; got {list(mel.shape)}."
            )
        frames = mel.reshape(-1, _MELS) / 10 + 2  # as the embedding was trained
        starts = range(0, len(frames) - _FRAMES + 1, _HOP)
        windows = np.stack([frames[s : s + _FRAMES] for s in starts])[..., None]
        found: NDArray[np.float32] = self._embed(windows).reshape(len(windows), -1).mean(axis=0)
        return found


class SpeechEmbeddingLabeller:
    """Embedding and head as a function of a batch as the data gives it."""

    output: OutputKind = "logits"

    def __init__(self, ear: Ear, weight_DK: NDArray[Any], bias_K: NDArray[Any]) -> None:
        self.ear, self.weight_DK, self.bias_K = ear, weight_DK, bias_K
        self.num_classes = len(bias_K)

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return logits [B, K] float32."""
        out: NDArray[Any] = self.ear(inputs_BX) @ self.weight_DK + self.bias_K
        return out.astype(np.float32)
