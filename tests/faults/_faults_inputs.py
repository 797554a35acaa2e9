"""Files from elsewhere that are cut, flipped, spliced or lie about their sizes: read, or refused with one message."""

from __future__ import annotations

import gzip
import io
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from _faults import ROOT, Fault, Trial, check, fresh

from forks import Server

sys.path.append(str(ROOT / "tests" / "unit" / "teachers"))  # its small teacher, as torch and as ONNX

HERE = "_faults_inputs"
CODES = {0: "read", 4: "refused"}


def pictures() -> tuple[Any, Any]:
    """Return 60 noisy pictures [60, 8, 8] uint8 of 3 classes, and their labels."""
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    return (draw.integers(0, 120, (60, 8, 8)) + 40 * labels[:, None, None]).astype(np.uint8), labels.astype(np.uint8)


def _safetensors(folder: Path) -> None:
    from potstill.core.tensorfile import write_arrays

    draw = np.random.default_rng(1)
    shapes = {"values": (50, 10), "scale": (50,), "empty": (0, 3)}
    arrays = {n: draw.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    write_arrays(folder / "file.safetensors", {**arrays, "codes": np.arange(40, dtype=np.uint8)}, {"note": "x"})


def _weights(folder: Path) -> None:
    from _teacher_parts import as_torch, teacher_weights
    from safetensors.torch import save_file

    save_file(
        {k: v.contiguous() for k, v in as_torch(teacher_weights()).state_dict().items()}, folder / "file.safetensors"
    )


def _npz(folder: Path) -> None:
    images, labels = pictures()
    np.savez(folder / "file.npz", x_train=images, y_train=labels.astype(np.int64))


def _idx(folder: Path) -> None:
    images, labels = pictures()
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + _sizes(images.shape) + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + _sizes(labels.shape) + labels.tobytes())


def _sizes(shape: tuple[int, ...]) -> bytes:
    return b"".join(n.to_bytes(4, "big") for n in shape)


def _parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    images, labels = pictures()
    encoded = []
    for i, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG" if i % 2 else "BMP")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    pq.write_table(pa.table({"image": encoded, "label": pa.array(labels.astype(np.int64))}), folder / "file.parquet")


def _onnx(folder: Path) -> None:
    from _teacher_parts import as_onnx, teacher_weights

    as_onnx(teacher_weights(), folder / "file.onnx")


MAKERS: dict[str, Callable[[Path], None]] = {
    "safetensors": _safetensors, "weights": _weights, "npz": _npz, "idx": _idx, "parquet": _parquet, "onnx": _onnx,
}  # fmt: skip


def read(kind: str, folder: str) -> str:
    """Read everything that is in a file, as potstill reads it; return what was found."""
    path = Path(folder)
    if kind == "safetensors":
        from potstill.core.tensorfile import open_arrays

        return str(
            {k: float(np.nansum(v.astype(np.float64))) for k, v in open_arrays(path / "file.safetensors").items()}
        )
    if kind == "weights":
        from _teacher_parts import as_torch, teacher_weights

        from potstill.models.tools.saved import load_weights

        load_weights(as_torch(teacher_weights()), path / "file.safetensors", "weights")
        return "loaded"
    if kind == "onnx":
        from potstill.core.onnx_session import OnnxSession

        return str(OnnxSession(path / "file.onnx")(np.zeros((2, 1, 8, 8), np.float32)).shape)
    from potstill.core.progress import Progress
    from potstill.data.dataset import Dataset, prepare
    from potstill.data.idx import IdxSpec
    from potstill.data.npz import NpzSpec
    from potstill.data.parquet import ParquetSpec

    spec: Any = {
        "npz": lambda: NpzSpec(path=path / "file.npz"),
        "idx": lambda: IdxSpec(path=path),
        "parquet": lambda: ParquetSpec(train=path / "file.parquet"),
    }[kind]()
    prepare(spec, Path(fresh(path / "out")), Progress("quiet"))
    return str(len(Dataset.open(path / "out").splits["train"]))


def mutate(draw: random.Random, data: bytes, times: int) -> bytes:
    """Return the bytes after `times` random wounds."""
    for _ in range(times):
        at = draw.randrange(len(data) + 1)
        size = draw.choice([1, 2, 4, 8, draw.randrange(1, 200)])
        number = draw.choice([0, 1, 127, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, draw.getrandbits(32)])
        how = draw.choice(["cut", "flip", "zeros", "ones", "noise", "number", "insert", "delete", "repeat", "digit"])
        if how == "cut":
            data = data[:at]
        elif how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
        elif how in ("zeros", "ones", "noise"):
            part = {"zeros": bytes(size), "ones": b"\xff" * size, "noise": draw.randbytes(size)}[how]
            data = data[:at] + part + data[at + size :]
        elif how == "number":
            part = number.to_bytes(8, draw.choice(["little", "big"]))[: draw.choice([1, 2, 4, 8])]
            data = data[:at] + part + data[at + len(part) :]
        elif how == "insert":
            data = data[:at] + draw.randbytes(size) + data[at:]
        elif how == "delete":
            data = data[:at] + data[at + size :]
        elif how == "repeat":
            data = data[:at] + data[at : at + size] * draw.randrange(2, 5) + data[at + size :]
        elif how == "digit":
            places = [i for i, byte in enumerate(data[:4000]) if 48 <= byte <= 57]
            if places:
                at = draw.choice(places)
                data = data[:at] + str(draw.choice([0, 9, 99999999, -1, number])).encode() + data[at + 1 :]
    return data


def wound(draw: random.Random, kind: str, folder: Path) -> str:
    """Damage one file of a format; return its name. Half the archives get a damaged part with a right checksum."""
    path = draw.choice(sorted(p for p in folder.iterdir() if p.is_file()))
    times = draw.choice([1, 1, 1, 2, 3, 6])
    data = path.read_bytes()
    if kind == "npz" and draw.random() < 0.5:
        path.write_bytes(_rezipped(draw, data, times))
    elif kind == "idx" and draw.random() < 0.3:
        path.unlink()
        path = path.with_name(path.name + ".gz")
        packed = gzip.compress(mutate(draw, data, times), mtime=0)
        path.write_bytes(packed if draw.random() < 0.5 else mutate(draw, packed, times))
    elif kind in ("safetensors", "weights") and draw.random() < 0.5:  # the header, whose bytes are few
        stop = 8 + int.from_bytes(data[:8], "little")
        header = mutate(draw, data[8:stop], times)
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[stop:])
    else:
        path.write_bytes(mutate(draw, data, times))
    return path.name


def _rezipped(draw: random.Random, data: bytes, times: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        hurt = draw.choice(old.namelist())
        for name in old.namelist():
            part = old.read(name)
            if name == hurt:  # the header of an array is what lies; its numbers may be anything anyway
                part = mutate(draw, part[:128], times) + part[128:]
            new.writestr(name, part)
    return out.getvalue()


class _Inputs(Fault):
    """One format."""

    promise: ClassVar[str] = "every damaged file is read or refused with one message: no traceback, no crash, no hang"
    unit: ClassVar[str] = "files"
    small: ClassVar[int] = 40
    full: ClassVar[int] = 1000
    kind: ClassVar[str]
    LIMIT_S: ClassVar[float] = 30.0
    MEMORY: ClassVar[int] = 6 << 30

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._base: dict[str, bytes] = {}

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        folder = self.scratch / "files"
        if not self._base:
            MAKERS[self.kind](fresh(folder))
            self.server.must(f"{HERE}:read", kind=self.kind, folder=str(folder))
            self._base = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        for _ in range(10):
            fresh(folder)
            for name, data in self._base.items():
                (folder / name).write_bytes(data)
            name = wound(draw, self.kind, folder)
            args = {"kind": self.kind, "folder": str(folder)}
            job = {"call": f"{HERE}:read", "args": args, "limit": self.LIMIT_S, "memory": self.MEMORY}
            ended = self.server.run(job)[0]
            check(not ended.late, f"{name}: still reading after {self.LIMIT_S:.0f} s")
            check(ended.code in CODES, f"{name}: ended with {ended.code}: {ended.value}")
            out.note(CODES[ended.code], 1)
        return out


class SafetensorsHurt(_Inputs):
    """Our own reader."""

    name: ClassVar[str] = "damaged inputs: safetensors"
    kind: ClassVar[str] = "safetensors"


class WeightsHurt(_Inputs):
    """A teacher's weights, through the safetensors package."""

    name: ClassVar[str] = "damaged inputs: weights"
    kind: ClassVar[str] = "weights"


class NpzHurt(_Inputs):
    """NumPy archives, prepared."""

    name: ClassVar[str] = "damaged inputs: npz"
    kind: ClassVar[str] = "npz"


class IdxHurt(_Inputs):
    """MNIST's format, prepared."""

    name: ClassVar[str] = "damaged inputs: idx"
    kind: ClassVar[str] = "idx"


class ParquetHurt(_Inputs):
    """Parquet with encoded pictures, prepared."""

    name: ClassVar[str] = "damaged inputs: parquet"
    kind: ClassVar[str] = "parquet"


class OnnxHurt(_Inputs):
    """A model that is opened and run once."""

    name: ClassVar[str] = "damaged inputs: onnx"
    kind: ClassVar[str] = "onnx"


INPUTS = (SafetensorsHurt, WeightsHurt, NpzHurt, IdxHurt, ParquetHurt, OnnxHurt)
