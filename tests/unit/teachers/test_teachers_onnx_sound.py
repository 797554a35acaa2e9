"""Anybody's ONNX file that reads samples: at its own rate and range, from the data's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from potstill.core.errors import PotstillError
from potstill.models import ModelIO
from potstill.models.inputs import AudioInput
from potstill.teachers.onnx import OnnxTeacherSpec
from potstill.testing import tiny

IO = ModelIO((3,), (8000,), "audio", 8000.0)
WAVE = AudioInput(features="wave", rate_hz=16000, scale=32768.0)


def black_box(path: Path, steps: int = 16000) -> tuple[Path, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Write [batch, steps] -> [batch, 3], a matrix product; return (its path, the matrix)."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(steps, 3)).astype(np.float32) / 2**15
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", ["b", steps]), ("y", ["b", 3]))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")]
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )
    return path, weight


def test_it_is_given_its_own_rate_and_range(tmp_path: Path) -> None:
    path, weight = black_box(tmp_path / "box.onnx")
    spec = OnnxTeacherSpec(path=path, input=WAVE)
    assert spec.reads() == "audio"
    sound = tiny.inputs("audio", 4)
    wanted = 32768 * resample_poly(sound.astype(np.float64), 2, 1, axis=1) @ weight
    found = spec.load(tmp_path, IO, tiny.stats_for("audio"))(sound)
    assert found.shape == (4, 3) and np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_a_file_for_clips_of_another_length_is_refused(tmp_path: Path) -> None:
    path, _ = black_box(tmp_path / "box.onnx", steps=12000)
    with pytest.raises(PotstillError, match=r"box\.onnx: must take input \[4, 16000\]"):
        OnnxTeacherSpec(path=path, input=WAVE).load(tmp_path, IO, tiny.stats_for("audio"))(tiny.inputs("audio", 4))
