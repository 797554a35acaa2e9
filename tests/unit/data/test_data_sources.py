"""Every source on real or made files, and every fault that a source names."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data._base import DataSpec
from potstill.data.arrays import arrays
from potstill.data.callable import CallableSpec
from potstill.data.dataset import Dataset, prepare
from potstill.data.digits import DigitsSpec
from potstill.data.idx import IdxSpec
from potstill.data.image_folder import ImageFolderSpec
from potstill.data.npz import NpzSpec
from potstill.data.parquet import ParquetSpec

FASHION = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (120, 9, 7, 3), dtype=np.uint8)
LABELS = np.arange(120) % 4


@pytest.fixture
def made(tmp_path: Path) -> Callable[[DataSpec], Dataset]:
    def run(spec: DataSpec) -> Dataset:
        prepare(spec, tmp_path, Progress("quiet"))
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "data.json", "test.safetensors", "train.safetensors", "validation.safetensors",
        ]  # fmt: skip
        return Dataset.open(tmp_path)

    return run


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def whole(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (ids, images, labels) of every row, in the source's order."""
    parts = [dataset.splits[n] for n in ("train", "validation", "test")]
    ids = np.concatenate([p.ids for p in parts])
    order = np.argsort(ids)
    return (
        ids[order],
        np.concatenate([p.samples for p in parts])[order],
        np.concatenate([p.labels for p in parts])[order],
    )


def test_digits(made: Any) -> None:
    from sklearn.datasets import load_digits

    dataset = made(DigitsSpec(test=0.35))
    ids, images, labels = whole(dataset)
    x, y = load_digits(return_X_y=True)
    assert np.array_equal(images.reshape(len(ids), 64), np.rint(x[ids] * 255 / 16).astype(np.uint8))
    assert np.array_equal(labels, y[ids])
    assert len(dataset.splits["test"]) == 629
    mean = dataset.splits["train"].samples[:].astype(np.float64).mean() / 255
    assert dataset.stats.mean[0] == pytest.approx(mean, abs=1e-12)


def test_npz_keeps_every_pixel_and_label(made: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez_compressed(path, x_train=PIXELS[:80], y_train=LABELS[:80], x_test=PIXELS[80:], y_test=LABELS[80:])
    dataset = made(NpzSpec(path=path, classes=("a", "b", "c", "d")))
    ids, images, labels = whole(dataset)
    assert np.array_equal(images, PIXELS[ids]) and np.array_equal(labels, LABELS[ids])
    assert dataset.classes == ["a", "b", "c", "d"] and dataset.shape == (9, 7, 3)


def test_float_arrays_must_lie_in_0_to_1() -> None:
    spec = arrays(PIXELS / 255.0, LABELS)
    (chunk,) = list(spec.open().splits["train"].chunks())
    assert np.array_equal(chunk[0], PIXELS)
    with pytest.raises(DataError, match=r"uint8 in 0\.\.255, or float in \[0, 1\]"):
        arrays(PIXELS.astype(np.float32), LABELS)
    with pytest.raises(DataError, match="one a picture"):
        arrays(PIXELS, LABELS[:-1])
    with pytest.raises(DataError, match="whole numbers"):
        arrays(PIXELS, LABELS / 2)
    assert arrays(PIXELS, LABELS).digest == arrays(PIXELS.copy(), LABELS).digest != arrays(PIXELS, LABELS[::-1]).digest


def write_idx(folder: Path, gz: bool) -> None:
    for stem, array in (("train-images-idx3-ubyte", PIXELS[:, :, :, 0]), ("train-labels-idx1-ubyte", LABELS)):
        head = struct.pack(">HBB", 0, 8, array.ndim) + b"".join(struct.pack(">I", d) for d in array.shape)
        data = head + array.astype(np.uint8).tobytes()
        (folder / (stem + ".gz" * gz)).write_bytes(gzip.compress(data) if gz else data)


@pytest.mark.parametrize("gz", [False, True])
def test_idx(made: Any, tmp_path_factory: pytest.TempPathFactory, gz: bool) -> None:
    folder = tmp_path_factory.mktemp("idx")
    write_idx(folder, gz)
    ids, images, labels = whole(made(IdxSpec(path=folder)))
    assert np.array_equal(images[..., 0], PIXELS[ids][..., 0]) and np.array_equal(labels, LABELS[ids])


@pytest.mark.parametrize("cut", [0, 3, 4, 15, 16, 500])
def test_a_truncated_idx_file_is_named(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, cut: int) -> None:
    for gz in (False, True):
        folder = tmp_path_factory.mktemp("idx")
        write_idx(folder, gz)
        path = next(folder.glob("train-images*"))
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(DataError, match="train-images"):
            prepare(IdxSpec(path=folder), tmp_path, Progress("quiet"))


def test_fashion_mnist(made: Any) -> None:
    if not FASHION.is_dir():
        pytest.skip("tool: needs the Debian package dataset-fashion-mnist")
    dataset = made(IdxSpec(path=FASHION, limit=3000, labelled=300))
    assert {n: len(s) for n, s in dataset.splits.items()} == {"train": 2970, "validation": 30, "test": 10000}
    assert int(dataset.splits["train"].labelled.sum()) == 270
    assert np.bincount(dataset.splits["test"].labels).tolist() == [1000] * 10
    assert dataset.stats.mean[0] == pytest.approx(0.286, abs=0.004), "the published mean of the training set"


def test_cifar_10_parquet(made: Any, shared_data: Path) -> None:
    folder = shared_data / "cifar10"
    dataset = made(ParquetSpec(train=folder / "test.parquet", limit=500, test=0.1))
    assert dataset.shape == (32, 32, 3) and len(dataset.classes) == 10
    table = pq.read_table(folder / "test.parquet")
    split = dataset.splits["train"]
    for i in (0, 100, 400):
        row = int(split.ids[i])
        expected = np.asarray(Image.open(io.BytesIO(table["image"][row].as_py()["bytes"])).convert("RGB"))
        assert np.array_equal(split.samples[i], expected) and split.labels[i] == table["label"][row].as_py()


def write_parquet(path: Path, images: list[Any], labels: list[Any], **columns: Any) -> ParquetSpec:
    pq.write_table(pa.table({"image": images, "label": labels, **columns}), path)
    return ParquetSpec(train=path)


def test_parquet_with_bytes_text_labels_and_rows_without_label(
    made: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = np.array(["dog", "cat", "emu", None], dtype=object)[LABELS]
    spec = write_parquet(tmp_path_factory.mktemp("p") / "a.parquet", [png(x) for x in PIXELS], list(names))
    dataset = made(spec)
    assert dataset.classes == ["cat", "dog", "emu"]
    ids, images, labels = whole(dataset)
    assert np.array_equal(images, PIXELS[ids])
    assert np.array_equal(labels, np.array([1, 0, 2, -1])[LABELS[ids]])
    assert (dataset.splits["test"].labels[:] >= 0).all() and (dataset.splits["validation"].labels[:] >= 0).all()


def test_image_folder_with_splits_sizes_and_unlabelled(made: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for split, rows in (("train", range(90)), ("test", range(90, 120))):
        for i in rows:
            name = "unlabelled" if split == "train" and i % 10 == 0 else f"class{LABELS[i]}"
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            (folder / split / name / f"{i:03d}.png").write_bytes(png(PIXELS[i]))
    dataset = made(ImageFolderSpec(path=folder, size=6))
    assert dataset.shape == (6, 6, 3) and dataset.classes == ["class0", "class1", "class2", "class3"]
    assert len(dataset.splits["test"]) == 30
    assert int((dataset.splits["train"].labels[:] == -1).sum()) == 9
    assert int(dataset.splits["train"].labelled.sum()) == int((dataset.splits["train"].labels[:] >= 0).sum())


def test_a_corrupt_picture_and_mixed_sizes_are_named(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        (folder / f"c{i % 2}").mkdir(exist_ok=True)
        (folder / f"c{i % 2}" / f"{i}.png").write_bytes(png(PIXELS[i]))
    bad = folder / "c1" / "7.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"7\.png: must be a whole picture"):
        prepare(ImageFolderSpec(path=folder), tmp_path, Progress("quiet"))
    bad.write_bytes(png(PIXELS[7][:4]))
    with pytest.raises(DataError, match=r"7\.png: pictures must all be 9×7; got 4×7"):
        prepare(ImageFolderSpec(path=folder), tmp_path, Progress("quiet"))
    bad.unlink()
    for path in (folder / "c0").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="c0: a class must have pictures"):
        ImageFolderSpec(path=folder).open()
    with pytest.raises(DataError, match="one folder of pictures a class"):
        ImageFolderSpec(path=tmp_path_factory.mktemp("empty")).open()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.where(np.arange(120) == 17, 9, LABELS), "row 17: label must be in 0..3"),
        (np.where(np.arange(120) == 17, -2, LABELS), "row 17: label must be in 0..3"),
        (np.where(LABELS == 2, 3, LABELS), "'c' .label 2. has none"),
        (np.zeros(120, int), "has none"),
    ],
)
def test_wrong_labels_are_named_with_their_row(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepare(arrays(PIXELS, labels, classes=["a", "b", "c", "d"]), tmp_path, Progress("quiet"))


def test_the_same_picture_in_training_and_test_is_named_or_left_out(tmp_path: Path) -> None:
    x_test = PIXELS[80:].copy()
    x_test[5] = PIXELS[33]
    spec = arrays(PIXELS[:80], LABELS[:80], x_test, LABELS[80:])
    with pytest.raises(DataError, match="train row 33: must not be in test too; the same sample is test row 5"):
        prepare(spec, tmp_path, Progress("quiet"))
    prepare(spec.model_copy(update={"overlap": "drop"}), tmp_path, Progress("quiet"))
    dataset = Dataset.open(tmp_path)
    assert 33 not in np.concatenate([dataset.splits["train"].ids, dataset.splits["validation"].ids])
    assert len(dataset.splits["test"]) == 40


def test_twins_never_fall_on_both_sides_of_our_own_split(made: Any) -> None:
    twins = np.concatenate([PIXELS, PIXELS])
    dataset = made(arrays(twins, np.concatenate([LABELS, LABELS])))
    sides = [{bytes(d) for d in np.asarray(dataset.splits[n].digests)} for n in ("train", "validation", "test")]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04", b"PAR1" * 9, b"\x93NUMPY\x01\x00" + b"\xff" * 40])
def test_junk_files_are_named(tmp_path: Path, junk: bytes) -> None:
    for name, spec in (("a.npz", NpzSpec), ("a.parquet", ParquetSpec)):
        path = tmp_path / name
        path.write_bytes(junk)
        with pytest.raises(DataError, match=name):
            spec(**{"path" if spec is NpzSpec else "train": path}).open()


def test_a_pickle_inside_an_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.array([{"a": 1}], dtype=object), y_train=LABELS)
    with pytest.raises(DataError, match="plain arrays"):
        NpzSpec(path=tmp_path / "a.npz").open()


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [png(x) for x in PIXELS[:8]], list(LABELS[:8]))
    with pytest.raises(DataError, match="Nearest: 'label'"):
        ParquetSpec(train=tmp_path / "a.parquet", label_column="labels").open()


def test_a_function_of_the_users(made: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    folder = tmp_path_factory.mktemp("code")
    (folder / "data_of_mine_for_test.py").write_text(
        "import numpy as np\n"
        "def make(num):\n    x = np.random.default_rng(0).integers(0, 256, (num, 5, 5), dtype=np.uint8)\n"
        "    return {'train': (x, np.arange(num) % 3)}\n"
        "def broken():\n    raise OSError('no such disk')\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    dataset = made(CallableSpec(factory="data_of_mine_for_test:make", arguments={"num": 60}))
    assert dataset.shape == (5, 5, 1)
    with pytest.raises(DataError, match="no such disk"):
        CallableSpec(factory="data_of_mine_for_test:broken").open()
