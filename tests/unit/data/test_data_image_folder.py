"""Folders as people have them: turned photos, other bit depths, stray files, and every layout that is not by class."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from potstill.core.errors import DataError
from potstill.core.hashing import StatCache
from potstill.core.progress import Progress
from potstill.data._decode import decode, probe
from potstill.data.dataset import Dataset, prepare
from potstill.data.image_folder import ImageFolderSpec

RNG = np.random.default_rng(0)


def encoded(image: Image.Image, kind: str, orientation: int | None = None) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def photo(height: int, width: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def fill(folder: Path, names: list[str], num: int = 8, side: int = 9, suffix: str = ".png") -> Path:
    """Write `num` pictures into each class folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).mkdir(exist_ok=True)
        for i in range(num):
            photo(side, side).save(folder / name / f"{i}{suffix}")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolderSpec(path=folder).open()
    return str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_set_upright(kind: str, orientation: int) -> None:
    data = encoded(photo(6, 11), kind, orientation)
    with Image.open(io.BytesIO(data)) as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    assert np.array_equal(decode(data, "x", 3, None), wanted)
    assert probe(data, "x") == wanted.shape == ((6, 11, 3) if orientation < 5 else (11, 6, 3))


@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\0\xff"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_leaves_the_pixels_as_they_are_stored(exif: bytes, kind: str) -> None:
    buffer = io.BytesIO()
    photo(6, 11).save(buffer, kind, exif=exif)
    assert decode(buffer.getvalue(), "x", 3, None).shape == probe(buffer.getvalue(), "x") == (6, 11, 3)


def test_a_large_jpeg_is_brought_to_a_size_as_a_whole_decoding_would() -> None:
    y, x = np.mgrid[:160, :200]
    pixels = np.stack([x / 200, y / 160, (np.sin(x / 9) * np.sin(y / 7) + 1) / 2], 2)
    data = encoded(Image.fromarray((pixels * 255).astype(np.uint8)), "JPEG")
    with Image.open(io.BytesIO(data)) as picture:
        wanted = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC), dtype=int)
    assert np.abs(decode(data, "x", 3, 32).astype(int) - wanted).max() <= 3


def test_sixteen_bit_grey_is_not_clipped_to_white() -> None:
    levels = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    data = encoded(Image.fromarray(levels), "PNG")
    assert np.array_equal(decode(data, "x", 1, None)[:, :, 0], levels >> 8)
    assert probe(data, "x") == (8, 8, 1)
    with pytest.raises(DataError, match=r"scan 3: must have 8 or 16 bits a channel"):
        decode(encoded(Image.fromarray(levels.astype(np.float32)), "TIFF"), "scan 3", 1, None)


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("P", 3), ("LA", 1), ("L", 1), ("1", 1)])
def test_every_mode_of_png_is_read(mode: str, channels: int) -> None:
    data = encoded(photo(5, 7).convert(mode), "PNG")
    assert probe(data, "x") == (5, 7, channels)
    assert decode(data, "x", channels, None).shape == (5, 7, channels)
    assert decode(data, "x", channels, 4).shape == (4, 4, channels)


def test_hidden_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", ["a", "b"])
    fill(folder / "a", [".ipynb_checkpoints"])
    fill(folder, ["__MACOSX", ".thumbnails"])
    for name in (".DS_Store", "README.txt", "a/.DS_Store", "a/._0.png", "b/labels.csv", "b/Thumbs.db"):
        (folder / name).write_bytes(b"not a picture")
    source = ImageFolderSpec(path=folder).open()
    assert source.classes == ["a", "b"] and source.splits["train"].num_rows == 16
    assert sum(len(chunk.labels) for chunk in source.splits["train"].chunks()) == 16


@pytest.mark.parametrize("suffix", [".JPG", ".Png", ".jfif", ".webp"])
def test_suffixes_in_any_case(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "p").mkdir()
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir()
        data = encoded(photo(5, 5), {".Png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG"))
        (tmp_path / "p" / name / f"1{suffix}").write_bytes(data)
    assert ImageFolderSpec(path=tmp_path / "p").open().splits["train"].num_rows == 2


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", ["a", "b"], 2)
    latin = os.fsdecode(b"caf\xe9")
    (folder / "a" / "0.png").rename(folder / "a" / f"{latin}.png")
    spec = ImageFolderSpec(path=folder)
    assert spec.open().splits["train"].num_rows == 4
    first = StatCache().digest(folder)
    (folder / "a" / f"{latin}.png").rename(folder / "a" / "0.png")
    assert len(first) == 64 and first != StatCache().digest(folder)
    (folder / "b").rename(folder / latin)
    assert r"must have a name in UTF-8; got 'caf\udce9'" in refused(folder)


def test_layouts_that_are_not_by_class_are_named(tmp_path: Path) -> None:
    assert "0 folders and no labelled picture" in refused(fill(tmp_path / "empty", []))
    flat = tmp_path / "flat"
    fill(tmp_path, ["flat"], 5)
    assert "5 pictures that lie in no class folder" in refused(flat) and "flat/cat/1.jpg" in refused(flat)
    assert "one class, 'cat'" in refused(fill(tmp_path / "one", ["cat"]))
    assert "no labelled picture" in refused(fill(tmp_path / "none", ["unlabelled"]))
    wrapped = tmp_path / "wrapped"
    fill(wrapped / "inner", ["cat", "dog"])
    assert f"Are these the classes: cat, dog? Then give {wrapped / 'inner'}" in refused(wrapped)


def test_a_folder_without_pictures_says_what_it_has(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", ["a", "b"])
    (folder / "c").mkdir()
    assert "c: a class must have pictures; it has none. Fill it" in refused(folder)
    (folder / "c" / "clip.MOV").write_bytes(b"x")
    assert "it has none (but .mov)" in refused(folder)
    (folder / "c" / "IMG_1.HEIC").write_bytes(b"x")
    (folder / "c" / "IMG_2.HEIC").write_bytes(b"x")
    assert "IMG_1.HEIC: must be in a format that Pillow reads; got .HEIC (2 such in c)" in refused(folder)


def test_photos_in_an_unreadable_format_are_not_left_out_in_silence(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", ["a", "b"])
    (folder / "b" / "raw.NEF").write_bytes(b"x")
    assert "raw.NEF" in refused(folder)


def test_split_folders(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    for split in ("Training", "valid", "TEST"):
        fill(folder / split, ["a", "b"], 4)
    source = ImageFolderSpec(path=folder).open()
    assert {name: reader.num_rows for name, reader in source.splits.items()} == {
        "train": 8, "validation": 8, "test": 8,
    }  # fmt: skip
    fill(folder, ["unlabelled"], 3)
    assert ImageFolderSpec(path=folder).open().splits["train"].num_rows == 11
    fill(folder, ["more"], 1)
    assert "more: must be train, validation or test" in refused(folder)
    fill(folder / "val", ["a", "b"], 1)
    assert "must be the only folder of the split validation" in refused(folder)


def test_folders_with_the_names_of_splits(tmp_path: Path) -> None:
    fill(tmp_path / "only_test" / "test", ["a", "b"])
    assert "must hold a folder train beside test" in refused(tmp_path / "only_test")
    assert "flat_splits/train/cat/1.jpg" in refused(fill(tmp_path / "flat_splits", ["train", "val"]))
    vehicles = fill(tmp_path / "vehicles", ["train", "bus"])
    assert ImageFolderSpec(path=vehicles).open().classes == ["bus", "train"], "a train may be a vehicle"


def test_headers_say_what_differs(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", ["a", "b"], 4, 30)
    alike = ImageFolderSpec(path=folder).headers()
    assert (alike.num, alike.shape, alike.num_grey, alike.num_oblong) == (8, (30, 30), 0, 0)
    photo(20, 50).convert("L").save(folder / "b" / "9.png")
    (folder / "a" / "8.jpg").write_bytes(encoded(photo(40, 60), "JPEG", 6))
    found = ImageFolderSpec(path=folder).headers()
    assert (found.num, found.shape, found.shortest, found.longest) == (10, None, 20, 60)
    assert (found.typical, found.num_grey, found.num_oblong) == (30, 1, 2)


def test_headers_are_read_of_some_pictures_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "p", ["a"], 60, 4)
    fill(folder, ["b"], 2, 5)
    read: list[str] = []

    def counted(path: Path, name: str) -> tuple[int, int, int]:
        read.append(name)
        return probe(path, name)

    monkeypatch.setattr("potstill.data.image_folder.probe", counted)
    assert ImageFolderSpec(path=folder).headers(most=12).shape is None, "the small class differs"
    assert len(read) == 12
    assert {Path(name).parent.name for name in read} == {"a", "b"}


def test_headers_name_what_is_no_picture(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", ["a", "b"], 5)
    for name in ("a/1.png", "b/2.png"):
        (folder / name).write_bytes(b"junk")
    with pytest.raises(DataError, match=r"a/1\.png: must be a picture.* one of 2 such files among 10"):
        ImageFolderSpec(path=folder).headers()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", ["a", "b"], 3)
    (folder / "b" / "2.png").unlink()
    (folder / "b" / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"b/2\.png: must be readable; got No such file"):
        prepare(ImageFolderSpec(path=folder), tmp_path, Progress("quiet"))


def test_one_picture_that_differs_is_named_without_size_and_read_with_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", ["a", "b"], 9)
    photo(9, 12).save(folder / "b" / "wide.png")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError, match=r"wide\.png: pictures must all be 9×9; got 9×12\. Set size"):
        prepare(ImageFolderSpec(path=folder), out, Progress("quiet"))
    for path in (out / "scratch").iterdir():
        path.unlink()
    prepare(ImageFolderSpec(path=folder, size=7), out, Progress("quiet"))
    assert Dataset.open(out).shape == (7, 7, 3)


def test_a_class_that_the_split_leaves_without_training_rows_is_named(tmp_path: Path) -> None:
    folder = fill(fill(tmp_path / "p", ["a"], 20), ["b"], 2)
    with pytest.raises(DataError, match=r"'b' .label 1. has 2 rows, and validation, test, .* leave none"):
        prepare(ImageFolderSpec(path=folder), tmp_path, Progress("quiet"))
