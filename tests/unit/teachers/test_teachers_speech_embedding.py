"""Somebody else's speech embedding: as ONNX Runtime gives it, each recording alone, a head fitted to the training labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import resample_poly

from potstill.core.errors import PotstillError, ShapeError, TeacherError
from potstill.models import ModelIO
from potstill.teachers import TeacherContext
from potstill.teachers.gate import run_gate
from potstill.teachers.speech_embedding import Ear, SpeechEmbeddingSpec
from potstill.testing import tiny
from potstill.testing.speech import embedding_of, melspectrogram_of

IO = ModelIO((3,), (8000,), "audio", 8000.0)
STATS = tiny.stats_for("audio")


@pytest.fixture
def spec(tmp_path: Path) -> SpeechEmbeddingSpec:
    return SpeechEmbeddingSpec(melspectrogram=melspectrogram_of(tmp_path), embedding=embedding_of(tmp_path))


def words(num: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Tones of three pitches in noise."""
    rng, labels = np.random.default_rng(seed), np.arange(num) % 3
    t = np.arange(8000) / 8000
    clean = 0.3 * np.sin(2 * np.pi * (300 + 400 * labels[:, None]) * t + rng.uniform(0, 6, (num, 1)))
    return (clean + rng.normal(scale=0.02, size=clean.shape)).astype(np.float32), labels


def context(work: Path, inputs: Any, labels: Any, asked: list[str] | None = None) -> TeacherContext:
    def rows(which: str, views: int) -> Iterator[tuple[Any, Any]]:
        (asked if asked is not None else []).append(which)
        return iter([(inputs[:20], labels[:20]), (inputs[20:], labels[20:])])

    return TeacherContext(work, IO, STATS, 0, lambda *_: None, rows)


def test_the_head_is_the_logistic_regression_that_it_says(spec: SpeechEmbeddingSpec, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    work = tmp_path / "work"
    work.mkdir()
    inputs, labels = words(60)
    facts = spec.prepare(context(work, inputs, labels))
    labeller = spec.load(work, IO, STATS)
    test, truth = words(64, seed=1)
    features = Ear(spec, IO)(inputs)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=0.1, max_iter=1000).fit(scaler.transform(features), labels)
    wanted = model.decision_function(scaler.transform(Ear(spec, IO)(test)))
    assert np.abs(labeller(test) - wanted).max() < 1e-3
    assert run_gate(labeller, test, truth, ["a", "b", "c"], foreign=False).accuracy > 0.9
    sizes = [p.stat().st_size for p in (spec.melspectrogram, spec.embedding, work / "head.safetensors")]
    assert facts["file_bytes"] == sum(sizes)


def test_two_classes_have_a_column_each(spec: SpeechEmbeddingSpec, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    inputs, labels = words(60)
    two = ModelIO((2,), (8000,), "audio", 8000.0)
    given = context(work, inputs[labels < 2], labels[labels < 2])
    spec.prepare(TeacherContext(work, two, STATS, 0, given.fit, given.rows))
    out = spec.load(work, two, STATS)(inputs)
    assert out.shape == (60, 2) and (out.argmax(1) == labels)[labels < 2].mean() > 0.9


def test_a_recording_is_heard_alone_and_at_sixteen_kilohertz(spec: SpeechEmbeddingSpec) -> None:
    ear, (inputs, _) = Ear(spec, IO), words(4)
    assert np.abs(ear(inputs)[2:3] - ear(inputs[2:3])).max() < 1e-5
    fast = resample_poly(inputs.astype(np.float64), 2, 1, axis=1).astype(np.float32)
    wide = Ear(spec, ModelIO((3,), (16000,), "audio", 16000.0))
    assert np.abs(wide(fast) - ear(inputs)).max() < 1e-3 * np.abs(wide(fast)).max()


def test_hidden_labels_are_used_only_where_the_recipe_says_so(spec: SpeechEmbeddingSpec, tmp_path: Path) -> None:
    asked: list[str] = []
    inputs, labels = words(40)
    for name, one in (("labelled", spec), ("all", spec.model_copy(update={"labels": "all"}))):
        (tmp_path / name).mkdir()
        one.prepare(context(tmp_path / name, inputs, labels, asked))
        assert one.saw_hidden_labels() == (name == "all")
    assert asked == ["labelled", "all"]


def test_what_it_cannot_work_with_is_named(spec: SpeechEmbeddingSpec, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"clips must have at least 780 ms.*got 500 ms"):
        Ear(spec, ModelIO((3,), (4000,), "audio", 8000.0))
    with pytest.raises(ShapeError, match="must read what the data gives, image"):
        Ear(spec, tiny.IO)
    inputs, labels = words(40)
    with pytest.raises(TeacherError, match="every class must have a training label for the head; class 2 has none"):
        spec.prepare(context(tmp_path, inputs, np.minimum(labels, 1)))
    swapped = SpeechEmbeddingSpec(melspectrogram=spec.embedding, embedding=spec.melspectrogram)
    with pytest.raises(PotstillError, match=r"embedding\.onnx"):
        Ear(swapped, IO)(inputs)


@pytest.mark.data
def test_googles_embedding_knows_digits_of_an_unseen_speaker(shared_data: Path, tmp_path: Path) -> None:
    from potstill.data.audio_table import AudioTableSpec

    source = AudioTableSpec(train=shared_data / "spoken_digits" / "all.parquet", seconds=1.0, group_column="speaker",
                            test_groups=("theo",)).open()  # fmt: skip
    parts = {name: [(c.samples, c.labels) for c in reader.chunks()] for name, reader in source.splits.items()}
    sounds = {
        n: (np.concatenate([x for x, _ in p])[::5] / np.float32(32768), np.concatenate([y for _, y in p])[::5])
        for n, p in parts.items()
    }
    folder = shared_data / "models" / "speech_embedding"
    spec = SpeechEmbeddingSpec(melspectrogram=folder / "melspectrogram.onnx", embedding=folder / "embedding_model.onnx")
    io = ModelIO((10,), (8000,), "audio", 8000.0)
    spec.prepare(TeacherContext(tmp_path, io, STATS, 0, lambda *_: None, lambda *_: iter([sounds["train"]])))
    test, labels = sounds["test"]
    assert (spec.load(tmp_path, io, STATS)(test).argmax(1) == labels).mean() > 0.9
