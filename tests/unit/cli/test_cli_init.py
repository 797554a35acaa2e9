"""`potstill init` on the data that people have: the recipe it writes loads, fits its models, and says what was found."""

from __future__ import annotations

import io
import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from potstill.cli.init import _Found, _recipe, write_recipe
from potstill.core.errors import PotstillError
from potstill.core.samples import DataStats
from potstill.models import ModelIO, ModelSpec
from potstill.recipe.load import from_text, load
from potstill.recipe.model import Recipe

RNG = np.random.default_rng(0)
TASK = "image-classification"
X, Y = RNG.integers(0, 256, (120, 28, 28), dtype=np.uint8), np.arange(120) % 4


def photo(height: int, width: int, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def fill(folder: Path, names: list[str], num: int, sides: Callable[[int], tuple[int, int]], suffix: str = ".png",
         mode: str = "RGB") -> Path:  # fmt: skip
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(num):
            photo(*sides(i), mode).save(folder / name / f"IMG_{i:04d}{suffix}")
    return folder


def init(data: Path, out: Path | None = None) -> tuple[Recipe, str, str]:
    """Return (the recipe, its text, what was said)."""
    out = out or data.parent / "recipe.yaml"
    said = write_recipe(TASK, data, out, force=False)
    return load(out), out.read_text(), said


def section(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["data"]
    return found


def refused(data: Path, out: Path | None = None) -> str:
    out = out or data.parent / "recipe.yaml"
    with pytest.raises(PotstillError) as caught:
        write_recipe(TASK, data, out, force=False)
    assert caught.value.exit_code == 2
    assert not out.is_file(), "no recipe of what was refused"
    return str(caught.value)


def cost(recipe: Recipe) -> tuple[float, float, float]:
    """Build both models for the recipe's data and return (parameters, MACs: teacher over student; student's MACs)."""
    from potstill.models.tools.build import new_model
    from potstill.models.tools.profile import profile

    source = recipe.data.open()
    assert source.classes
    height, width, channels = source.shape
    data_io = ModelIO((len(source.classes),), (channels, height, width))
    found = []
    for spec in (recipe.teacher.model, recipe.student):  # type: ignore[attr-defined]
        assert isinstance(spec, ModelSpec)
        new = new_model(spec, data_io, DataStats((0.5,) * channels, (0.25,) * channels))
        found.append(profile(new.module, new.io))
    return found[0].params / found[1].params, found[0].macs / found[1].macs, found[1].macs


def test_photos_of_many_sizes_are_brought_to_one(tmp_path: Path) -> None:
    data = fill(tmp_path / "photos", ["cat", "dog"], 6, lambda i: (300 + 50 * i, 400), ".jpg")
    recipe, text, said = init(data)
    assert section(text)["size"] == 64 == recipe.data.open().shape[0]
    assert "# pictures of 300 to 550 pixels are brought to this size" in text
    assert "# 10 of 12 looked at are not square and are stretched to it" in text
    assert "Found 2 classes: cat, dog\n" in said and "12 pictures to learn from; 300 to 550 pixels, colour" in said
    assert said.splitlines()[-1] == f"Next: potstill plan {tmp_path / 'recipe.yaml'}"
    assert recipe.seeds == 3 and recipe.controls == ("hard-label",)
    params, macs, student_macs = cost(recipe)
    assert params > 5 and macs > 5, "the teacher is the stronger one"
    assert student_macs < 5e6, "the student is for small devices"


def test_large_pictures_all_alike_are_brought_to_one_size(tmp_path: Path) -> None:
    _, text, _ = init(fill(tmp_path / "p", ["a", "b"], 3, lambda _: (120, 120)))
    assert section(text)["size"] == 64 and "# pictures of 120×120 pixels" in text and "stretched" not in text


@pytest.mark.parametrize("side", [8, 16, 28, 32, 48, 64, 96])
def test_small_pictures_all_alike_stay_as_they_are(tmp_path: Path, side: int) -> None:
    recipe, text, _ = init(fill(tmp_path / "p", ["a", "b"], 3, lambda _: (side, side)))
    assert "size" not in section(text) and recipe.data.open().shape == (side, side, 3)
    params, macs, _ = cost(recipe)
    assert params > (10 if side >= 16 else 5) and macs > 5
    assert recipe.student.downsample == (2 if side >= 16 else 1)  # type: ignore[attr-defined]


def test_small_pictures_of_many_sizes_are_not_blown_up(tmp_path: Path) -> None:
    _, text, _ = init(fill(tmp_path / "p", ["a", "b"], 5, lambda i: (30 + 2 * i, 37)))
    assert section(text)["size"] == 32


def test_a_photo_that_is_stored_turned_counts_upright(tmp_path: Path) -> None:
    data = fill(tmp_path / "p", ["a", "b"], 3, lambda _: (20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(30, 20).save(data / "a" / "turned.jpg", exif=exif)
    assert "size" not in section(init(data)[1])


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("P", 3), ("L", 1)])
def test_modes_of_png(tmp_path: Path, mode: str, channels: int) -> None:
    recipe, text, _ = init(fill(tmp_path / "p", ["a", "b"], 3, lambda _: (28, 28), mode=mode))
    assert recipe.data.open().shape == (28, 28, channels) and "grey" not in section(text)
    cost(recipe)


def test_grey_pictures_among_colour_ones_take_no_colour_away(tmp_path: Path) -> None:
    data = fill(tmp_path / "p", ["a", "b"], 3, lambda _: (20, 20))
    photo(20, 20, "L").save(data / "a" / "AAA.png")
    recipe, text, _ = init(data)
    assert section(text)["grey"] is False and "1 of 7 looked at are grey" in text
    assert recipe.data.open().shape == (20, 20, 3)


def test_folders_with_their_own_split(tmp_path: Path) -> None:
    for split, num in (("train", 6), ("val", 3), ("test", 2)):
        fill(tmp_path / "p" / split, ["a", "b"], num, lambda _: (16, 16))
    recipe, text, said = init(tmp_path / "p")
    assert set(section(text)) == {"kind", "path"}, "no share of what is there already"
    assert set(recipe.data.open().splits) == {"train", "validation", "test"}
    assert "12 pictures to learn from, 6 for the validation, 4 for the test" in said


def test_pictures_without_a_label_are_counted(tmp_path: Path) -> None:
    data = fill(tmp_path / "p", ["a", "b", "unlabelled"], 5, lambda _: (16, 16))
    _, _, said = init(data)
    assert "15 pictures to learn from, 5 of them without a label" in said and "2 classes: a, b" in said


def test_a_class_of_few_pictures_is_said(tmp_path: Path) -> None:
    data = fill(fill(tmp_path / "p", ["a"], 12, lambda _: (16, 16)), ["b"], 3, lambda _: (16, 16))
    assert "Note: class 'b' has 3 pictures" in init(data)[2]
    fill(data, ["b"], 10, lambda _: (16, 16))
    assert "Note" not in init(data, tmp_path / "other.yaml")[2]


@pytest.mark.parametrize(
    "name", ["2023", "my photos: #1", "föt ös", "-x", "[a]", "null", "a'b\"c", "tab\there", "0x1f"]
)
def test_any_name_of_a_folder_can_be_written(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / name, ["a", "b"], 2, lambda _: (16, 16))
    monkeypatch.chdir(tmp_path)
    recipe, text, said = init(Path(name), Path(f"{name}.yaml"))
    assert recipe.data.path == tmp_path / name  # type: ignore[attr-defined]
    assert section(text)["path"] == name
    assert shlex.split(said.splitlines()[-1])[-1] == f"{name}.yaml"


def test_paths_are_relative_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "data" / "p", ["a", "b"], 2, lambda _: (16, 16))
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    recipe, text, _ = init(Path("p"), tmp_path / "recipes" / "r.yaml")
    assert section(text)["path"] == "../data/p" and recipe.name == "p"


def test_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", x_train=X[:80], y_train=Y[:80], x_test=X[80:], y_test=Y[80:])
    recipe, text, said = init(tmp_path / "mnist.npz")
    assert section(text) == {"kind": "npz", "path": "mnist.npz", "validation": 0.1} and recipe.name == "mnist"
    assert "Found 4 classes: 0, 1, 2, 3\n" in said and "80 pictures to learn from, 40 for the test" in said
    assert "28×28 pixels, grey" in said
    cost(recipe)


def test_labels_in_a_column_are_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "med.npz", train_images=X, train_labels=Y[:, None])
    assert init(tmp_path / "med.npz")[0].data.open().classes == ["0", "1", "2", "3"]


def test_large_arrays_are_brought_to_a_size_by_the_models(tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", images=RNG.integers(0, 256, (8, 224, 224, 3), dtype=np.uint8), labels=Y[:8])
    recipe, _, _ = init(tmp_path / "large.npz")
    assert recipe.student.input.size == recipe.teacher.model.input.size == 64  # type: ignore[attr-defined]
    assert cost(recipe)[2] < 5e6


@pytest.mark.parametrize("dot", ["-", "."], ids=["dash", "dot"])
def test_idx_in_both_spellings(tmp_path: Path, dot: str) -> None:
    (tmp_path / "idx").mkdir()
    for stem, array in (("train-images", X), ("train-labels", Y), ("t10k-images", X[:9]), ("t10k-labels", Y[:9])):
        head = struct.pack(">HBB", 0, 8, array.ndim) + b"".join(struct.pack(">I", d) for d in array.shape)
        name = f"{stem}{dot}idx{array.ndim}-ubyte"
        (tmp_path / "idx" / name).write_bytes(head + array.astype(np.uint8).tobytes())
    recipe, text, said = init(tmp_path / "idx")
    assert section(text)["kind"] == "idx" and "Found 4 classes" in said
    assert recipe.data.open().splits["test"].num_rows == 9


def write_parquet(path: Path, labels: list[Any], side: int = 16, names: tuple[str, str] = ("image", "label")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for _ in labels:
        buffer = io.BytesIO()
        photo(side, side).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({names[0]: pa.array(rows, kind), names[1]: labels}), path)


def test_parquet_files_are_used_for_what_their_names_say(tmp_path: Path) -> None:
    for name, num in (("train", 8), ("validation", 4), ("test", 6)):
        write_parquet(tmp_path / "p" / f"{name}.parquet", [0, 1] * (num // 2))
    recipe, text, said = init(tmp_path / "p")
    assert section(text) == {
        "kind": "parquet", "train": "p/train.parquet", "validation_file": "p/validation.parquet",
        "test_file": "p/test.parquet",
    }  # fmt: skip
    assert {k: v.num_rows for k, v in recipe.data.open().splits.items()} == {"train": 8, "validation": 4, "test": 6}
    assert "Found 2 classes: 0, 1" in said


def test_parquet_shards_with_other_columns(tmp_path: Path) -> None:
    for i in range(2):
        name = f"train-0000{i}-of-00002.parquet"
        write_parquet(tmp_path / "p" / "data" / name, ["x", "y"] * 3, 100 + i, ("img", "species"))
    recipe, text, _ = init(tmp_path / "p")
    found = section(text)
    assert found["train"] == [f"p/data/train-0000{i}-of-00002.parquet" for i in range(2)]
    assert (found["image_column"], found["label_column"], found["size"]) == ("img", "species", 64)
    assert recipe.data.open().splits["train"].num_rows == 12


def test_a_single_parquet_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "all.parquet", [0, 1] * 3)
    assert section(init(tmp_path / "all.parquet")[1])["train"] == "all.parquet"


def test_parquet_files_whose_names_do_not_say_what_they_are(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_parquet(tmp_path / "p" / f"{name}.parquet", [0, 1])
    assert "one.parquet: must have train, validation or test in its name" in refused(tmp_path / "p")
    (tmp_path / "p" / "one.parquet").rename(tmp_path / "p" / "test.parquet")
    (tmp_path / "p" / "two.parquet").unlink()
    assert "must hold a parquet file with train in its name" in refused(tmp_path / "p")


def test_what_is_no_data_is_named_with_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path / "photos", ["a", "b"], 2, lambda _: (16, 16))
    assert "Nearest: 'photos'" in refused(tmp_path / "fotos")
    assert "Give the folder that it is in" in refused(tmp_path / "photos" / "a" / "IMG_0000.png")
    for name, words in (("a.zip", "Unpack it first"), ("a.csv", "got a file .csv"), ("Makefile", "without a suffix")):
        (tmp_path / name).write_text("x")
        assert words in refused(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert "must hold one folder of pictures a class" in refused(tmp_path / "empty")
    (tmp_path / "empty" / "arrays.npz").write_text("x")
    assert f"--data {tmp_path / 'empty' / 'arrays.npz'}" in refused(tmp_path / "empty")
    fill(tmp_path / "$HOME", ["a", "b"], 2, lambda _: (16, 16))
    assert "must have no $" in refused(tmp_path / "$HOME")
    (tmp_path / "photos" / "b" / "IMG_0001.png").write_text("junk")
    assert "IMG_0001.png: must be a picture" in refused(tmp_path / "photos")


def test_a_recipe_that_is_there_is_kept(tmp_path: Path) -> None:
    data = fill(tmp_path / "p", ["a", "b"], 2, lambda _: (16, 16))
    out = tmp_path / "recipe.yaml"
    out.write_text("mine")
    with pytest.raises(PotstillError, match=r"must be new; it exists\. .*--force"):
        write_recipe(TASK, data, out, force=False)
    assert out.read_text() == "mine"
    write_recipe(TASK, data, out, force=True)
    assert load(out).name == "p"
    assert "must be a file; it is a folder" in refused(data, data)
    with pytest.raises(PotstillError, match="Nearest: 'image-classification'"):
        write_recipe("image-clasification", data, tmp_path / "other.yaml", force=False)


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"),
    [(20, 100, 16), (499, 100, 32), (500, 60, 32), (5000, 30, 128), (50_000, 15, 128)],
)
def test_more_rows_need_fewer_passes(rows: int, epochs: int, batch: int, tmp_path: Path) -> None:
    found = _Found(["kind: digits"], ["a", "b"], rows, {}, "", 32, None)
    recipe = from_text(_recipe("x", found), "r.yaml", tmp_path)
    for training in (recipe.teacher.training, recipe.steps[0].training):  # type: ignore[attr-defined]
        assert (training.epochs, training.batch_size) == (epochs, batch)
