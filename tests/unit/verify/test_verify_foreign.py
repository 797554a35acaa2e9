"""An ONNX file against a prepared test split: ours with its preprocessing inside, and anybody's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from potstill.core.errors import PotstillError, ShapeError
from potstill.core.progress import Progress
from potstill.data.arrays import arrays
from potstill.data.dataset import Dataset, prepare
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.verify.foreign import verify_alone, verify_model

CLASSES = ["dark", "bright"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """4 by 4 pictures of one channel: dark ones (below 100) and bright ones (above 150); test rows 30 and 30."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")

    def split(num: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(num) % 2
        images = rng.integers(0, 100, (num, 4, 4, 1)) + 150 * labels[:, None, None, None]
        return images.astype(np.uint8), labels

    prepare(arrays(*split(80), *split(60), classes=CLASSES), folder, Progress("quiet"))
    return Dataset.open(folder)


def brightness_model(
    path: Path, *, threshold: float, size: int | None = 4, channels: int = 1, classes: int = 2, ours: bool = False,
    beside: bool = False, last: bool = False,
) -> Path:  # fmt: skip
    """Write a model that calls a picture bright where its mean pixel is above `threshold`, in the model's own scale."""
    weight, bias = np.zeros((1, classes)), np.zeros(classes)
    weight[0, 1], bias[1] = 1.0, -threshold
    tensors = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in (("w", weight), ("b", bias))]
    pixels: list[int | str] = [size or "h", size or "w_"]
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
            helper.make_node("Gemm", ["column", "w", "b"], ["y"]),
        ],
        "brightness",
        [
            helper.make_tensor_value_info(
                "x", TensorProto.FLOAT, ["n", *pixels, channels] if last else ["n", channels, *pixels]
            )
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", classes])],
        [*tensors, axes, numpy_helper.from_array(np.array([1]), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if ours:
        entry = model.metadata_props.add()
        entry.key, entry.value = "potstill", "pixels in [0, 1], normalisation inside"
    if beside:  # the weight alone: a runtime needs the axes in the file
        onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    onnx.save(model, str(path))
    return path


def measure(path: Path, dataset: Dataset, scale: float = 1.0) -> dict:
    return verify_model(
        path, dataset, ImageClassificationSpec(), threads=1, scale=scale, lock=path.parent / "measure.lock"
    )


@pytest.mark.parametrize(("threshold", "scale"), [(0.5, 1.0), (127.0, 255.0)])
def test_a_foreign_model_in_its_own_scale_is_right(
    threshold: float, scale: float, dataset: Dataset, tmp_path: Path
) -> None:
    path = brightness_model(tmp_path / "m.onnx", threshold=threshold)
    found = measure(path, dataset, scale)
    assert found["accuracy"]["value"] == 1.0
    assert found["rows"] == 60
    assert [c["name"] for c in found["per_class"]] == CLASSES
    assert [c["support"] for c in found["per_class"]] == [30, 30]
    for name in ("accuracy", "latency_ms", "peak_memory_bytes"):
        assert found[name]["source"] == "measured", name
    assert found["file_bytes"] == path.stat().st_size
    json.dumps(found, allow_nan=False)


def test_the_scale_decides(dataset: Dataset, tmp_path: Path) -> None:
    """In [0, 1] nothing is above 127: every picture is called dark."""
    found = measure(brightness_model(tmp_path / "m.onnx", threshold=127.0), dataset)
    assert found["accuracy"]["value"] == 0.5
    assert [c["recall"] for c in found["per_class"]] == [1.0, 0.0]


@pytest.mark.parametrize("size", [8, 2, None])
def test_pictures_are_brought_to_the_models_size(size: int | None, dataset: Dataset, tmp_path: Path) -> None:
    assert measure(brightness_model(tmp_path / "m.onnx", threshold=0.5, size=size), dataset)["accuracy"]["value"] == 1.0


def test_ours_says_so_and_takes_no_other_scale(dataset: Dataset, tmp_path: Path) -> None:
    path = brightness_model(tmp_path / "m.onnx", threshold=0.5, ours=True)
    assert measure(path, dataset)["preprocessing"] == "inside"
    with pytest.raises(PotstillError, match="scale=255"):
        measure(path, dataset, 255.0)


def test_weights_that_are_not_numbers_are_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"nan\.onnx: must give finite numbers; got NaN or Inf in row 0, 60 of 60"):
        measure(brightness_model(tmp_path / "nan.onnx", threshold=float("nan")), dataset)


def test_what_crashes_a_runtime_crashes_it_in_a_child(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from potstill.core import onnx_session

    def crash(path: Path, threads: int) -> None:
        raise AssertionError("opened in this process")

    monkeypatch.setattr(onnx_session, "_opened", crash)
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x3a\x03xyz")
    with pytest.raises(PotstillError, match=r"m\.onnx: must be an ONNX model"):
        measure(tmp_path / "m.onnx", dataset)


def test_weights_beside_the_file_count(dataset: Dataset, tmp_path: Path) -> None:
    path = brightness_model(tmp_path / "m.onnx", threshold=0.5, beside=True)
    beside = tmp_path / "weights.bin"
    assert measure(path, dataset)["file_bytes"] == path.stat().st_size + beside.stat().st_size > path.stat().st_size


def test_channels_may_come_last(dataset: Dataset, tmp_path: Path) -> None:
    model = brightness_model(tmp_path / "m.onnx", threshold=0.5, size=8, last=True)
    assert measure(model, dataset)["accuracy"]["value"] == 1.0


def test_a_file_is_measured_without_data(tmp_path: Path) -> None:
    path = brightness_model(tmp_path / "m.onnx", threshold=0.5, size=8, last=True)
    found = verify_alone(path, threads=1, scale=1.0, lock=tmp_path / "lock")
    assert found["inputs"] == {"shape": [None, 8, 8, 1], "dtype": "float32"}
    assert found["outputs"] == {"shape": [None, 2], "dtype": "float32"}
    assert found["accuracy"] == {"value": None, "source": "unknown"}
    assert found["latency_ms"]["source"] == found["peak_memory_bytes"]["source"] == "measured"
    assert found["file_bytes"] == path.stat().st_size


def test_open_dimensions_need_data(tmp_path: Path) -> None:
    path = brightness_model(tmp_path / "m.onnx", threshold=0.5, size=None)
    with pytest.raises(PotstillError, match=r"must have fixed dimensions .*\[None, 1, None, None\].*--data"):
        verify_alone(path, threads=1, scale=1.0, lock=tmp_path / "lock")


def test_other_channels_or_classes_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="1 channels"):
        measure(brightness_model(tmp_path / "a.onnx", threshold=0.5, channels=3), dataset)
    with pytest.raises(ShapeError, match="2 classes"):
        measure(brightness_model(tmp_path / "b.onnx", threshold=0.5, classes=5), dataset)


def test_a_file_that_is_not_there_is_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"none\.onnx"):
        measure(tmp_path / "none.onnx", dataset)


def test_a_program_of_foreign_origin_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "m.ts"
    path.write_bytes(b"PK\x03\x04 whatever it does")
    with pytest.raises(PotstillError, match=r"is a program.*--run-program"):
        measure(path, dataset)


def test_only_what_an_export_stage_wrote_here_was_made_here(tmp_path: Path) -> None:
    from potstill.core import artifact
    from potstill.pipeline.cache import ArtifactCache
    from potstill.pipeline.check import made_here

    cache = ArtifactCache(tmp_path / "cache")
    for stage, data in (("export", b"ours"), ("teach", b"weights")):
        folder = cache.root / "artifacts" / stage
        folder.mkdir(parents=True)
        (folder / "student.ts").write_bytes(data)
        artifact.seal(folder, {"stage": stage})
    for data, ours in ((b"ours", True), (b"weights", False), (b"ours too", False)):
        (tmp_path / "m.ts").write_bytes(data)
        assert made_here(cache, tmp_path / "m.ts") is ours
