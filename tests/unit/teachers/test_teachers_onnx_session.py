"""The ONNX session: equal to the formula, checked before it opens a file, and no file makes it crash."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from _teacher_parts import as_onnx, outside, teacher_weights, unseen
from onnx import TensorProto, helper, numpy_helper

from potstill.core.errors import PotstillError
from potstill.core.onnx_session import OnnxSession, external_locations


def expected(num: int) -> Any:
    return teacher_weights().logits(unseen()[0][:num])


# What it gives


def test_outputs_are_the_formulas(tmp_path: Path) -> None:
    session = OnnxSession(as_onnx(teacher_weights(), tmp_path / "m.onnx"))
    out = session(unseen()[0])
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected(300), atol=2e-5)
    assert (session.input_name, session.input_shape) == ("pixels", (None, 1, 8, 8))
    np.testing.assert_array_equal(out, session(unseen()[0]))


@pytest.mark.parametrize("num", [1, 7, 8, 9, 20])
def test_a_fixed_batch_is_run_as_often_as_it_takes(num: int, tmp_path: Path) -> None:
    session = OnnxSession(as_onnx(teacher_weights(), tmp_path / "m.onnx", (8, 1, 8, 8)))
    assert session.input_shape == (8, 1, 8, 8)
    np.testing.assert_allclose(session(unseen()[0][:num]), expected(num), atol=2e-5)


@pytest.mark.parametrize("batch", ["n", 8])
def test_no_rows_give_no_rows(batch: str | int, tmp_path: Path) -> None:
    session = OnnxSession(as_onnx(teacher_weights(), tmp_path / "m.onnx", (batch, 1, 8, 8)))
    assert session(unseen()[0][:0]).shape == (0, 10)


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_pixels_are_given_in_the_models_own_type(dtype: int, tmp_path: Path) -> None:
    session = OnnxSession(as_onnx(teacher_weights(), tmp_path / "m.onnx", dtype=dtype))
    np.testing.assert_allclose(session(unseen()[0][:20]), expected(20), atol=2e-2)


def test_bytes_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    """255 times a pixel in float32 often lies just below the byte it came from, and resizing leaves fractions."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "same",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    session = OnnxSession(tmp_path / "m.onnx")
    every = np.arange(256, dtype=np.float32).reshape(64, 1, 2, 2)
    np.testing.assert_array_equal(session(every / np.float32(255) * np.float32(255)).ravel(), every.ravel())
    given = np.array([[[[2.6, 2.4], [-3, 300]]]], np.float32)
    assert session(given).tolist() == [[3, 2, 0, 255]]
    assert session(given.astype(np.uint8)[:, :, :1].repeat(2, axis=2)).tolist() == [[2, 2, 2, 2]]


def test_the_output_named_is_read(tmp_path: Path) -> None:
    def more(model: onnx.ModelProto) -> None:
        model.graph.output.append(helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["n", 10]))
        model.graph.output.append(helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", 256]))

    path = as_onnx(teacher_weights(), tmp_path / "m.onnx", softmax=True, edit=more)
    x = unseen()[0][:5]
    assert OnnxSession(path)(x).sum(axis=1) == pytest.approx(1)
    np.testing.assert_allclose(OnnxSession(path, output="raw")(x), expected(5), atol=2e-5)
    assert OnnxSession(path, output="hidden")(x).shape == (5, 256)
    with pytest.raises(PotstillError, match=r"one of \['scores', 'raw', 'hidden'\]; got 'logits'"):
        OnnxSession(path, output="logits")


# What it refuses


def bare(path: Path, inputs: list[Any], nodes: list[Any], output: Any) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, [output])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )
    return path


def info(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize(
    "inputs",
    [
        [info("x", ["n"])],
        [info("x", ["n", 1, 2, 2], TensorProto.BOOL)],
        [info("x", ["n", 1, 2, 2]), info("z", ["n", 1, 2, 2])],
    ],
    ids=["rank 1", "bool", "two"],
)
def test_other_inputs_are_refused(inputs: list[Any], tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), helper.make_node("Flatten", ["f"], ["y"])]
    with pytest.raises(PotstillError, match="one input of numbers, of rank 2 or more"):
        OnnxSession(bare(tmp_path / "m.onnx", inputs, nodes, info("y", ["n", "k"])))


@pytest.mark.parametrize(
    "kind", [TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT], ids=["int32", "int64", "float"]
)
def test_tokens_and_series_are_read_in_the_files_own_type(kind: int, tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    session = OnnxSession(bare(tmp_path / "m.onnx", [info("x", ["n", 4], kind)], [node], info("y", ["n", 4])))
    tokens = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert session(tokens).tolist() == tokens.tolist()


def test_an_output_of_one_dimension_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    session = OnnxSession(bare(tmp_path / "m.onnx", [info("x", ["n", 4])], [node], info("y", [])))
    with pytest.raises(PotstillError, match=r"output 'y' must be \[rows, \.\.\.\]; got \[\]"):
        session(np.zeros((3, 4), np.float32))


def test_one_row_for_all_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("ReduceMax", ["f"], ["y"], keepdims=1),
    ]
    session = OnnxSession(bare(tmp_path / "m.onnx", [info("x", ["n", 1, 2, 2])], nodes, info("y", ["a", "b"])))
    with pytest.raises(PotstillError, match=r"\[rows, \.\.\.\]; got \[1, 1\]"):
        session(np.zeros((3, 1, 2, 2), np.float32))


@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 1, 9, 8), (3, 64)], ids=str)
def test_pixels_that_do_not_fit_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    session = OnnxSession(as_onnx(teacher_weights(), tmp_path / "m.onnx"))
    with pytest.raises(PotstillError, match=re.escape(f"must take input {list(shape)} float32")):
        session(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got 0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "ONNX Runtime can run"),
        (b"import os\n" * 20, "ONNX Runtime can run"),
        (b"\x00\x00\x00\x00ORTM" + bytes(64), "ONNX Runtime can run"),
    ],
    ids=["empty", "picture", "text", "another format of the runtime"],
)
def test_foreign_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(PotstillError, match=message) as caught:
        OnnxSession(path)
    assert str(path) in str(caught.value)


def test_no_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"none\.onnx: must be an ONNX file that can be read; got No such file"):
        OnnxSession(tmp_path / "none.onnx")
    with pytest.raises(PotstillError, match="must be an ONNX file; got a folder"):
        OnnxSession(tmp_path)


def test_a_file_beyond_what_protobuf_holds_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with open(path, "wb") as handle:
        handle.truncate(3 << 30)  # sparse: takes no room
    with pytest.raises(PotstillError, match=rf"at most {2 << 30} bytes; got {3 << 30}"):
        OnnxSession(path)


# External data


RAW = teacher_weights().second.tobytes()


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin", "parts/weights.bin", "parts/../weights.bin"])
def test_weights_in_the_models_folder_are_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / location).write_bytes(RAW)
    session = OnnxSession(as_onnx(teacher_weights(), tmp_path / "m.onnx", external=location))
    np.testing.assert_allclose(session(unseen()[0][:20]), expected(20), atol=2e-5)


def test_a_link_to_the_model_has_the_models_folder(tmp_path: Path) -> None:
    """The check and the runtime must mean the same folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "real/weights.bin").write_bytes(RAW)
    (tmp_path / "links/weights.bin").write_bytes(bytes(len(RAW)))
    as_onnx(teacher_weights(), tmp_path / "real/m.onnx", external="weights.bin")
    (tmp_path / "links/m.onnx").symlink_to(tmp_path / "real/m.onnx")
    session = OnnxSession(tmp_path / "links/m.onnx")
    np.testing.assert_allclose(session(unseen()[0][:20]), expected(20), atol=2e-5)


def refused(path: Path) -> str:
    """Refused by our own check, before the runtime sees the file."""
    with pytest.raises(PotstillError, match=r"external data must (be a file|lie) in the model's own folder") as caught:
        OnnxSession(path)
    return str(caught.value)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside the model's folder, of the right length."""
    path = tmp_path / "secret.bin"
    path.write_bytes(RAW)
    (tmp_path / "model").mkdir()
    return path


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "{secret}", "./../secret.bin", "x/../../secret.bin", "./" * 3000 + "../secret.bin", "", ".",
     "weights.bin\0/../../secret.bin", "absent.bin", "*/_ORT_MEM_ADDR_/*"],
    ids=lambda v: v[:20] or "empty",
)  # fmt: skip
def test_other_places_are_refused(location: str, secret: Path) -> None:
    location = location.format(secret=secret)
    message = refused(as_onnx(teacher_weights(), secret.parent / "model/m.onnx", external=location))
    assert len(message) < 1000


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_out_of_the_folder_are_refused(what: str, secret: Path) -> None:
    folder = secret.parent / "model"
    (folder / "link").symlink_to(secret if what == "file" else secret.parent)
    refused(as_onnx(teacher_weights(), folder / "m.onnx", external="link" if what == "file" else "link/secret.bin"))


def test_a_pipe_is_no_data(secret: Path) -> None:
    """Reading one would wait for ever."""
    os.mkfifo(secret.parent / "model/pipe")
    refused(as_onnx(teacher_weights(), secret.parent / "model/m.onnx", external="pipe"))


def hidden(where: str, location: str) -> Any:
    """Return an edit that puts an external tensor somewhere deep."""
    tensor = outside(numpy_helper.from_array(np.zeros((2, 2), np.float32), "t"), location)
    inner = helper.make_graph([], "inner", [], [info("t", [2, 2])], [tensor])

    def edit(model: onnx.ModelProto) -> None:
        graph = model.graph
        if where == "constant":
            graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))
        elif where == "branch":
            graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
            graph.node.append(helper.make_node("If", ["yes"], ["u"], then_branch=inner, else_branch=inner))
        elif where == "function":
            node = helper.make_node("Constant", [], ["t"], value=tensor)
            model.functions.append(helper.make_function("own", "F", [], ["t"], [node], [helper.make_opsetid("", 18)]))
        elif where == "sparse":
            sparse = graph.sparse_initializer.add()
            sparse.values.CopyFrom(tensor)
        elif where == "tensors":
            node = helper.make_node("Identity", ["raw"], ["u"])
            node.attribute.append(helper.make_attribute("list", [tensor]))
            graph.node.append(node)

    return edit


@pytest.mark.parametrize("where", ["constant", "branch", "function", "sparse", "tensors"])
def test_no_tensor_is_overlooked(where: str, secret: Path) -> None:
    refused(as_onnx(teacher_weights(), secret.parent / "model/m.onnx", edit=hidden(where, "../secret.bin")))


def varint(value: int, length: int = 1) -> bytes:
    """Return a varint, padded to a number of bytes as parsers allow."""
    out = bytearray()
    while value > 127 or len(out) + 1 < length:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes, length: int = 1) -> bytes:
    return varint(number << 3 | 2, length) + varint(len(value)) + value


GROUP = varint(100 << 3 | 3) + varint(100 << 3 | 4)  # an unknown group, empty: parsers skip it
PAIR = (field(1, b"location"), field(2, b"../secret.bin"))
ENTRIES = {
    "plain": PAIR[0] + PAIR[1],
    "value first": PAIR[1] + PAIR[0],
    "group first": GROUP + PAIR[0] + PAIR[1],
    "group with a harmless value": PAIR[0] + PAIR[1] + varint(803) + field(2, b"ok.bin") + varint(804),
    "key twice": field(1, b"length") + PAIR[0] + PAIR[1],
    "value twice": PAIR[0] + field(2, b"ok.bin") + PAIR[1],
    "long tags": field(1, b"location", 5) + field(2, b"../secret.bin", 5),
    "tags beyond 32 bits": varint((1 << 3 | 2) + (1 << 32), 5) + field(1, b"location")[1:] + PAIR[1],
    "unknown numbers": varint(7 << 3) + varint(1) + varint(9 << 3 | 1) + bytes(8) + varint(8 << 3 | 5) + bytes(4)
    + PAIR[0] + PAIR[1],
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("group", [b"", GROUP], ids=["", "behind a group"])
def test_no_spelling_of_protobuf_hides_a_location(name: str, group: bytes) -> None:
    """Every entry is one that protobuf's own parser reads as location = ../secret.bin."""
    from google.protobuf.message import DecodeError

    entry = ENTRIES[name]
    try:
        parsed = onnx.StringStringEntryProto.FromString(entry)
        assert (parsed.key, parsed.value) == ("location", "../secret.bin")
    except DecodeError:  # a parser that is stricter than the runtime's
        assert name == "tags beyond 32 bits"
    tensor = field(8, b"t") + group + field(13, entry)
    model = group + field(7, group + field(5, tensor))
    assert "../secret.bin" in external_locations(model)


def test_a_name_is_not_a_place(tmp_path: Path) -> None:
    """Detection models have outputs, values and metadata called `location`."""

    def edit(model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.node.append(helper.make_node("Identity", ["raw"], ["location"], name="/head/location"))
        graph.node.append(helper.make_node("Identity", ["location"], ["/head/out"]))
        graph.value_info.append(info("location", ["n", 10]))
        graph.output.append(info("/head/out", ["n", 10]))
        for holder in (model.metadata_props, graph.node[0].metadata_props):
            entry = holder.add()
            entry.key, entry.value = "location", "/etc/passwd"

    session = OnnxSession(as_onnx(teacher_weights(), tmp_path / "m.onnx", edit=edit))
    np.testing.assert_allclose(session(unseen()[0][:20]), expected(20), atol=2e-5)


def test_nesting_takes_no_time_and_no_stack() -> None:
    """A parser gives up at a depth of 100; work must not grow with the square of the file."""
    data = b"location"
    for _ in range(20_000):
        data = field(1, data)
    assert external_locations(data) == []


# Damaged files


CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from potstill.core.errors import PotstillError
from potstill.core.onnx_session import OnnxSession

pixels = np.zeros((2, 1, 8, 8), np.float32)
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    print(path.name, end=" ", flush=True)
    try:
        out = OnnxSession(path)(pixels)
        print(json.dumps(["ran", list(out.shape)]), flush=True)
    except PotstillError as err:
        print(json.dumps(["refused", str(err)]), flush=True)
"""


def test_a_hundred_damaged_files_end_in_an_error_or_a_model(tmp_path: Path) -> None:
    """In a child: the runtime is a C++ library, and a crash must fail this test alone."""
    whole = as_onnx(teacher_weights(), tmp_path / "whole").read_bytes()
    (tmp_path / "damaged").mkdir()
    rng = np.random.default_rng(0)
    for i in range(100):
        data = bytearray(whole)
        if i < 40:
            del data[int(rng.integers(1, len(whole))) :]
        else:
            # structure is dense at both ends; weights lie between
            at = int(rng.integers(0, 400)) if i % 2 else len(whole) - 1 - int(rng.integers(0, 200))
            data[at] = int(rng.integers(0, 256)) if i % 3 else data[at] ^ 1 << int(rng.integers(0, 8))
        (tmp_path / f"damaged/{i:03d}.onnx").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "damaged")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"died at {lines[-1] if lines else 'the start'}: {done.stderr[-800:]}"
    results = {name: json.loads(value) for name, value in lines}
    assert len(results) == 100
    for name, (what, value) in results.items():
        assert what == "ran" or name in value, "an error names its file"
        assert what == "refused" or value[0] == 2
    cut = [results[f"{i:03d}.onnx"][0] for i in range(40)]
    assert cut.count("refused") >= 39, "protobuf cannot tell a cut between two fields of the outermost message"
    assert sum(what == "refused" for what, _ in results.values()) > 50


def test_a_teachers_file_is_opened_in_a_child_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from potstill.core import onnx_session
    from potstill.teachers.onnx import OnnxTeacherSpec

    monkeypatch.setattr(onnx_session, "_opened", lambda *args: pytest.fail("opened in this process"))
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x3a\x03xyz")
    context: Any = None
    with pytest.raises(PotstillError, match=r"m\.onnx: must be an ONNX model"):
        OnnxTeacherSpec(path=tmp_path / "m.onnx").prepare(context)
