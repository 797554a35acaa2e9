"""A valid spec of every kind, for the contract tests: made from the kind's own fields, or by a function registered here.

A kind needs nothing if its fields all have defaults. A required field says what it may be, `Field(gt=0, examples=[20.0])`;
one that is itself a section takes that section's example. What needs a file or an object to exist first has a maker:

    @maker(MySourceSpec)
    def _my_source(folder: Path) -> MySourceSpec: ...
"""

from __future__ import annotations

import struct
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import numpy as np
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from potstill.core.spec import Spec
from potstill.data.arrays import ArraysSpec, arrays
from potstill.data.audio_folder import AudioFolderSpec
from potstill.data.audio_table import AudioTableSpec
from potstill.data.callable import CallableSpec
from potstill.data.clinc150 import Clinc150Spec
from potstill.data.forecast import ForecastSpec
from potstill.data.idx import IdxSpec
from potstill.data.image_folder import ImageFolderSpec
from potstill.data.npz import NpzSpec
from potstill.data.parallel import PairedFiles, ParallelSpec
from potstill.data.parquet import ParquetSpec
from potstill.data.series import SeriesSpec
from potstill.data.text import TextSpec
from potstill.models import ImageInput
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.inputs.pretrained import PretrainedInput
from potstill.models.object import ObjectModelSpec, object_model
from potstill.models.torch_module import TorchModuleSpec
from potstill.models.transformers import TransformersModelSpec
from potstill.schedules import ScheduleSpec
from potstill.schedules.linear import LinearSpec
from potstill.teachers._head import HeadSpec
from potstill.teachers.object import ObjectTeacherSpec, object_teacher
from potstill.teachers.onnx import OnnxTeacherSpec
from potstill.teachers.speech_embedding import SpeechEmbeddingSpec
from potstill.teachers.torch_module import TorchTeacherSpec
from potstill.teachers.transformers import TransformersTeacherSpec
from potstill.teachers.zoo import ZooTeacherSpec
from potstill.testing import tiny

S = TypeVar("S", bound=Spec)

_makers: dict[type[Spec], Callable[[Path], Spec]] = {}
_kept: list[tempfile.TemporaryDirectory[str]] = []
"""Folders of examples that were asked for without one: they go when the process ends."""


def maker(cls: type[S]) -> Callable[[Callable[[Path], S]], Callable[[Path], S]]:
    """Register a function (an empty folder) -> an example of `cls` whose files are in it."""

    def add(function: Callable[[Path], S]) -> Callable[[Path], S]:
        _makers[cls] = function
        return function

    return add


def example(cls: type[S], folder: Path | None = None) -> S:
    """Return one valid spec of a kind.

    Args:
        cls: the kind.
        folder: where files may be made; None takes a temporary one.

    Raises:
        AssertionError: there is none; says what to add.
    """
    if cls in _makers:
        if folder is None:
            _kept.append(tempfile.TemporaryDirectory(prefix="potstill-example-"))
            folder = Path(_kept[-1].name)
        made = _makers[cls](folder)
        assert isinstance(made, cls)
        return made
    given: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        if field.examples:
            given[name] = field.examples[0]
        elif field.is_required():
            given[name] = _section(cls, name, field, folder)
    try:
        return cls.model_validate(given)
    except ValidationError as err:
        raise AssertionError(f"{_where(cls)}: the `examples` of its fields must be valid together; got {err}") from err


def examples(cls: type[S], folder: Path | None = None) -> list[S]:
    """Return `example` and one variant for each other word, truth value or schedule that a single field may have."""
    first = example(cls, folder)
    found = [first]
    if cls in _makers:  # its files fit these fields only
        return found
    given = {name: getattr(first, name) for name in cls.model_fields}
    for name, field in cls.model_fields.items():
        for value in _others(field.annotation, given[name]) if name != "kind" else ():
            try:
                found.append(cls.model_validate({**given, name: value}))
            except ValidationError:  # not beside the other fields' values
                continue
    return found


def _others(annotation: Any, value: Any) -> Iterator[Any]:
    if annotation is bool:
        yield not value
    elif get_origin(annotation) is Literal:
        yield from (v for v in get_args(annotation) if v != value and isinstance(v, str))
    elif any(issubclass(found, ScheduleSpec) for found in _specs_of(annotation)):
        yield from (1.0, LinearSpec(start=2.0, end=1.0))


def _section(cls: type[Spec], name: str, field: FieldInfo, folder: Path | None) -> Any:
    """Return the example of a required field that is a section, or several of them."""
    kinds = _specs_of(field.annotation)
    if not kinds:
        raise AssertionError(
            f"{_where(cls)}: must have an example to be checked; its field {name!r} is required and has none. Give it one, "
            f"{name}: ... = Field(examples=[...]), or, where a file must be made first, register a function with "
            "potstill.testing.examples.maker"
        )
    simple = next((k for k in kinds if not any(f.is_required() for f in k.model_fields.values())), kinds[0])
    found = example(simple, folder)
    return (found,) if get_origin(field.annotation) is tuple else found


def _specs_of(annotation: Any) -> list[type[Spec]]:
    if isinstance(annotation, type):
        return (
            [annotation]
            if issubclass(annotation, Spec) and not getattr(annotation, "__abstractmethods__", None)
            else []
        )
    return [spec for inner in typing.get_args(annotation) for spec in _specs_of(inner)]


def _where(cls: type[Spec]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@maker(ArraysSpec)
def _arrays(folder: Path) -> ArraysSpec:
    return arrays(*tiny.pictures(120))


@maker(CallableSpec)
def _callable(folder: Path) -> CallableSpec:
    return CallableSpec(factory="potstill.testing.examples:callable_data", arguments={"num": 120})


def callable_data(num: int) -> dict[str, Any]:
    """Return what a data source of kind `callable` may."""
    return {"train": tiny.pictures(num)}


@maker(IdxSpec)
def _idx(folder: Path) -> IdxSpec:
    images, labels = tiny.pictures(120)
    for name, array in (("train-images-idx3-ubyte", images[..., 0]), ("train-labels-idx1-ubyte", labels)):
        head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / name).write_bytes(head + array.astype(np.uint8).tobytes())
    return IdxSpec(path=folder)


@maker(NpzSpec)
def _npz(folder: Path) -> NpzSpec:
    images, labels = tiny.pictures(120, channels=3)
    np.savez(folder / "data.npz", x_train=images[:80], y_train=labels[:80], x_test=images[80:], y_test=labels[80:])
    return NpzSpec(path=folder / "data.npz")


@maker(ImageFolderSpec)
def _image_folder(folder: Path) -> ImageFolderSpec:
    from potstill.data.pictures import write_png

    images, labels = tiny.pictures(120, channels=3, num_classes=3)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        write_png(folder / ("unlabelled" if i % 10 == 9 else f"class{label}") / f"{i:03d}.png", image)
    return ImageFolderSpec(path=folder)


@maker(AudioFolderSpec)
def _audio_folder(folder: Path) -> AudioFolderSpec:
    from potstill.data._wav import encode_wav

    for i, sound in enumerate(tiny.samples("audio", 60)):
        file = folder / ("unlabelled" if i % 10 == 9 else f"class{i % 3}") / f"{'abcd'[i // 3 % 4]}_{i:02d}.wav"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode_wav(sound[: 1000 + 50 * i], 8000))
    return AudioFolderSpec(path=folder, seconds=0.25, group_pattern="^([a-d])_")


@maker(AudioTableSpec)
def _audio_table(folder: Path) -> AudioTableSpec:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from potstill.data._wav import encode_wav

    sounds = [{"bytes": encode_wav(sound, 8000), "path": None} for sound in tiny.samples("audio", 60)]
    table = {"audio": sounds, "label": [None if i % 10 == 9 else f"class{i % 3}" for i in range(60)],
             "speaker": ["abcd"[i // 3 % 4] for i in range(60)]}  # fmt: skip
    pq.write_table(pa.table(table), folder / "train.parquet")
    return AudioTableSpec(train=folder / "train.parquet", seconds=0.5, group_column="speaker", test_groups=("a",))


@maker(ParquetSpec)
def _parquet(folder: Path) -> ParquetSpec:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from potstill.data.pictures import write_png

    images, labels = tiny.pictures(120, channels=3, num_classes=3)
    encoded = []
    for image in images:
        write_png(folder / "one.png", image)
        encoded.append({"bytes": (folder / "one.png").read_bytes(), "path": None})
    (folder / "one.png").unlink()
    pq.write_table(pa.table({"image": encoded, "label": labels}), folder / "train.parquet")
    return ParquetSpec(train=folder / "train.parquet")


@maker(TorchModuleSpec)
def _torch_model(folder: Path) -> TorchModuleSpec:
    return TorchModuleSpec(factory="potstill.testing.modules:Viewing")


@maker(ObjectModelSpec)
def _object_model(folder: Path) -> ObjectModelSpec:
    from potstill.testing.modules import Viewing

    return object_model(Viewing)


@maker(ObjectTeacherSpec)
def _object_teacher(folder: Path) -> ObjectTeacherSpec:
    from potstill.testing.modules import Restless

    return object_teacher(Restless())


@maker(OnnxTeacherSpec)
def _onnx_teacher(folder: Path) -> OnnxTeacherSpec:
    from potstill.exporters.onnx import OnnxSpec
    from potstill.testing.modules import plain

    pixels = tiny.pictures(4)[0].transpose(0, 3, 1, 2).astype(np.float32)
    artifact = OnnxSpec().export(plain().eval(), pixels, folder)
    return OnnxTeacherSpec(path=artifact.path, input=ImageInput(mean=(0.5,), std=(0.25,)))


@maker(TorchTeacherSpec)
def _torch_teacher(folder: Path) -> TorchTeacherSpec:
    from safetensors.torch import save_file

    from potstill.testing.modules import Restless

    save_file(Restless().state_dict(), folder / "teacher.safetensors")
    return TorchTeacherSpec(factory="potstill.testing.modules:Restless", weights=folder / "teacher.safetensors")


@maker(ZooTeacherSpec)
def _zoo_teacher(folder: Path) -> ZooTeacherSpec:
    from safetensors.torch import save_file

    model = DsCnnSpec(width=4, depth=2)
    save_file(model.build(tiny.IO).state_dict(), folder / "teacher.safetensors")
    return ZooTeacherSpec(model=DsCnnSpec(width=4, depth=2, weights=folder / "teacher.safetensors"))


@maker(SeriesSpec)
def _series(folder: Path) -> SeriesSpec:
    windows = tiny.samples("series", 120)
    lines = ["label,person," + ",".join(f"t{i}" for i in range(windows[0].size))]
    lines += [f"{'ab'[i % 2]},p{i // 8},{','.join(map(str, w.ravel()))}" for i, w in enumerate(windows)]
    (folder / "windows.csv").write_text("\n".join(lines) + "\n")
    return SeriesSpec(
        path=folder / "windows.csv", values="t*", variables=windows.shape[2], label="label", group="person"
    )


@maker(ForecastSpec)
def _forecast(folder: Path) -> ForecastSpec:
    values = np.cumsum(tiny.samples("series", 4).reshape(-1, 2), axis=0)
    (folder / "long.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in values))
    return ForecastSpec(path=folder / "long.csv", lookback=8, horizon=4)


@maker(ParallelSpec)
def _parallel(folder: Path) -> ParallelSpec:
    texts = [bytes(row).rstrip(b"\0").decode() for row in tiny.samples("text", 120)]
    for side in ("source", "target"):
        lines = [f"{t} {i}" if side == "source" else f"{i} says {t}" for i, t in enumerate(texts)]
        (folder / f"{side}.txt").write_text("\n".join(lines) + "\n")
    return ParallelSpec(train=PairedFiles(source=folder / "source.txt", target=folder / "target.txt"))


@maker(TextSpec)
def _text(folder: Path) -> TextSpec:
    texts = [bytes(row).rstrip(b"\0").decode() for row in tiny.samples("text", 120)]
    lines = ["text,label,person", *(f'"{t}, {i}",{"abc"[i % 3]},p{i // 8}' for i, t in enumerate(texts))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return TextSpec(train=folder / "rows.csv", group_column="person")


@maker(Clinc150Spec)
def _clinc150(folder: Path) -> Clinc150Spec:
    import json

    parts: dict[str, list[list[str]]] = {}
    for name, num in (("train", 60), ("val", 20), ("test", 20), ("oos_train", 3), ("oos_val", 3), ("oos_test", 6)):
        intents = ["oos"] if name.startswith("oos") else ["balance", "weather", "translate"]
        parts[name] = [
            [f"{intents[i % len(intents)]} please {name} {i}", intents[i % len(intents)]] for i in range(num)
        ]
    (folder / "data.json").write_text(json.dumps(parts))
    return Clinc150Spec(path=folder / "data.json")


@maker(TransformersModelSpec)
def _transformers_model(folder: Path) -> TransformersModelSpec:
    from potstill.testing.pretrained import tiny_encoder

    return TransformersModelSpec(path=tiny_encoder(folder), input=PretrainedInput(max_tokens=24))


@maker(TransformersTeacherSpec)
def _transformers_teacher(folder: Path) -> TransformersTeacherSpec:
    from potstill.testing.pretrained import tiny_encoder

    return TransformersTeacherSpec(path=tiny_encoder(folder), max_tokens=24, hidden=8, head=HeadSpec(epochs=2))


@maker(SpeechEmbeddingSpec)
def _speech_embedding(folder: Path) -> SpeechEmbeddingSpec:
    from potstill.testing.speech import embedding_of, melspectrogram_of

    return SpeechEmbeddingSpec(melspectrogram=melspectrogram_of(folder), embedding=embedding_of(folder))
