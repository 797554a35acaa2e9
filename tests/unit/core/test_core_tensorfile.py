"""Safetensors files: what is written comes back, and a header that lies is an error, never a crash."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from potstill.core.errors import StoreError
from potstill.core.tensorfile import TensorWriter, open_arrays, read_header, write_arrays

DTYPES = ["?", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"]
ARRAYS = st.dictionaries(
    st.text("abc/.é", min_size=1, max_size=5),
    st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))),
    max_size=4,
)  # fmt: skip


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


@given(ARRAYS)
def test_both_ways_with_the_reference_library(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("t")
    write_arrays(folder / "ours", arrays, {"note": "é"})
    assert same(open_arrays(folder / "ours"), arrays)
    assert same(load_file(folder / "ours"), arrays)
    save_file({k: v.copy() for k, v in arrays.items()}, folder / "theirs")
    assert same(open_arrays(folder / "theirs"), arrays)
    for name, array in open_arrays(folder / "ours").items():
        assert not array.flags.writeable, name
        assert array.size == 0 or array.ctypes.data % array.dtype.itemsize == 0, (
            "a tensor starts at its own item's size"
        )


def test_rows_in_any_interleaving_give_the_same_bytes(tmp_path: Path) -> None:
    arrays = {"a": np.arange(12, dtype="<i8").reshape(6, 2), "b": np.arange(6, dtype="u1"), "c": np.ones((6, 3), "<f2")}
    write_arrays(tmp_path / "whole", arrays)
    with TensorWriter(tmp_path / "parts", {k: (v.dtype, v.shape) for k, v in reversed(arrays.items())}) as writer:
        for start, stop in ((0, 1), (1, 5), (5, 6)):
            for name in ("c", "a", "b"):
                writer.append(name, arrays[name][start:stop])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


def test_too_many_or_too_few_rows_are_our_own_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more rows"), TensorWriter(tmp_path / "a", {"x": ("u1", (2,))}) as writer:
        writer.append("x", np.zeros(3, "u1"))
    with (
        pytest.raises(ValueError, match=r"rows missing in .'x'"),
        TensorWriter(tmp_path / "a", {"x": ("u1", (2,))}) as writer,
    ):
        writer.append("x", np.zeros(1, "u1"))


def file_with(path: Path, header: bytes, data: bytes, length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def opens_or_is_named(path: Path) -> bool:
    """Open, read every value, and return whether that worked; a StoreError that names the file is the only other end."""
    try:
        for array in open_arrays(path).values():
            array.tobytes()
    except StoreError as err:
        assert path.name in str(err)
        return False
    return True


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([2**31, 2**63, 2**64, 2**70, 10**400, -1]), st.floats(),
    st.text(max_size=3), st.lists(st.integers(-1, 2**70), max_size=9), st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)  # fmt: skip


@given(
    edits=st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets"]), ODD, max_size=2),
    data=st.integers(0, 20),
    second=st.none() | ODD,
)
@example(edits={"data_offsets": [0.0, 16.0]}, data=16, second=None)
@example(edits={"data_offsets": [False, 16]}, data=16, second=None)
@example(edits={"shape": [True, 4]}, data=16, second=None)
@example(edits={"shape": [2**70, 0], "data_offsets": [0, 0]}, data=0, second=None)
@example(edits={"shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}, data=0, second=None)
@example(edits={"shape": [0, *[2**40] * 7], "data_offsets": [0, 0]}, data=0, second=None)
@example(edits={"shape": [1] * 70 + [4]}, data=16, second=None)
@example(edits={"shape": {}, "data_offsets": [0, 4]}, data=4, second=None)
@example(edits={"shape": "22"}, data=16, second=None)
@example(edits={"shape": [-2, -2]}, data=16, second=None)
def test_a_header_that_lies_is_named(
    tmp_path_factory: pytest.TempPathFactory, edits: dict[str, Any], data: int, second: Any
) -> None:
    header = {"a": {**ENTRY, **edits}, **({} if second is None else {"b": second})}
    path = file_with(tmp_path_factory.mktemp("t") / "x.safetensors", json.dumps(header).encode(), bytes(data))
    opened = opens_or_is_named(path)
    if opened and second is None:
        shape = header["a"]["shape"]
        assert int(np.prod(shape)) * np.dtype("u1" if data == 4 else "f4").itemsize in (data, 4 * data)


@given(
    st.binary(max_size=60) | st.just(b"[" * 5000) | st.just(b"{}" + b" " * 30), st.integers(0, 2**64 - 1) | st.none()
)
def test_a_header_that_is_no_header_is_named(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, length: int | None
) -> None:
    opens_or_is_named(file_with(tmp_path_factory.mktemp("t") / "x.safetensors", header, b"", length))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("t") / "whole"
    write_arrays(path, {"a": np.arange(20, dtype="<f4").reshape(5, 4), "b": np.arange(3, dtype="<i8")}, {"k": "v"})
    return path


def test_every_truncation_and_every_tail_is_named(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    path = tmp_path / "x.safetensors"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert not opens_or_is_named(path), length
    path.write_bytes(data + b"\0")
    assert not opens_or_is_named(path)


@given(at=st.integers(0, 180), to=st.integers(0, 255))
def test_a_changed_byte_of_the_header_never_crashes(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, at: int, to: int
) -> None:
    data = bytearray(whole.read_bytes())
    data[at] = to
    path = tmp_path_factory.mktemp("t") / "x.safetensors"
    path.write_bytes(bytes(data))
    opens_or_is_named(path)


@pytest.mark.parametrize("spans", [([0, 16], [8, 24]), ([0, 16], [17, 33]), ([16, 32], [0, 15]), ([8, 24], [24, 40])])
def test_spans_must_tile_the_data(tmp_path: Path, spans: tuple[list[int], list[int]]) -> None:
    header = {name: {**ENTRY, "data_offsets": span} for name, span in zip("ab", spans, strict=True)}
    last = max(span[1] for span in spans)
    with pytest.raises(StoreError, match="header must describe the file"):
        read_header(file_with(tmp_path / "x", json.dumps(header).encode(), bytes(last)))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(StoreError, match=path.name):
            open_arrays(path)
