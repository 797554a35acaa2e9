"""Each claim of a contract can fail: kinds broken in one way each, and what the contract says of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F  # noqa: N812

from potstill.core.errors import StoreError
from potstill.core.spec import Registry, Spec
from potstill.data import Chunk, DataSpec, Source, SplitReader
from potstill.data.augment import AugmentSpec
from potstill.exporters import ExporterSpec
from potstill.exporters.onnx import OnnxSpec
from potstill.labels.codecs.float16 import Float16Spec
from potstill.labels.codecs.float32 import Float32Spec
from potstill.labels.codecs.topk import TopKSpec
from potstill.models import ModelSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.objectives import Needs, ObjectiveSpec
from potstill.objectives.hard_label import HardLabelSpec
from potstill.objectives.soft_label import SoftLabelSpec, soft_label
from potstill.schedules import Scheduled, ScheduleSpec
from potstill.schedules.training import TrainSpec
from potstill.stages.distill import DistillStep
from potstill.stages.prepare import PrepareStage
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers import TeacherSpec
from potstill.teachers._torch import TorchLabeller
from potstill.testing import CONTRACTS, tiny
from potstill.testing.modules import Plain, Restless, Viewing

counter = itertools.count()
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in cast")


class Soft(SoftLabelSpec):
    """Soft label at T = 2, to be broken."""

    kind: Literal["soft"] = "soft"  # type: ignore[assignment]
    temperature: Scheduled = 2.0
    """T > 0, dimensionless."""


class Hard(HardLabelSpec):
    """Hard label, to be broken."""

    kind: Literal["hard"] = "hard"  # type: ignore[assignment]


class Slope(ScheduleSpec):
    """From start to end."""

    kind: Literal["slope"] = "slope"
    start: float = 4.0
    """First."""
    end: float = 1.0
    """Last."""

    def at(self, progress: float) -> float:
        return (1 - progress) * self.start + progress * self.end


class Net(ModelSpec):
    """A tiny module."""

    kind: Literal["net"] = "net"
    width: int = 4
    """Channels."""

    def build(self, io: Any) -> nn.Module:
        return Plain(io.channels, io.num_classes, self.width)


class Noise(AugmentSpec):
    """Adds a little, the same over the picture."""

    kind: Literal["noise"] = "noise"

    def apply(self, batch: Any, draw: Any) -> Any:
        shift = torch.from_numpy(draw.uniform(1)).float()[:, :, None, None]
        return replace(batch, inputs_BX=(batch.inputs_BX + 0.3 * shift).clamp(0, 1))


class Rows(DataSpec):
    """Tiny pictures."""

    kind: Literal["rows"] = "rows"

    def parts(self) -> tuple[Any, Any, list[str]]:
        images, labels = tiny.pictures(60)
        return images, labels, [f"row {i}" for i in range(60)]

    def open(self) -> Source:
        return Source(
            {"train": SplitReader(60, lambda: iter([Chunk(*self.parts())]))}, (8, 8, 1), [str(k) for k in range(10)]
        )


class Teacher(TeacherSpec):
    """A torch module."""

    kind: Literal["teacher"] = "teacher"

    def labeller(self) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return TorchLabeller(Restless(), nn.Identity(), "logits", 10)

    def load(self, *_: Any) -> Any:
        return self.labeller()


class Format(ExporterSpec):
    """Keeps the module itself and writes its weights."""

    suffix: ClassVar[str] = ".bin"
    runtime: ClassVar[str] = __name__
    kind: Literal["format"] = "format"
    tolerance: float = 1e-4
    """Allowed."""
    kept: ClassVar[dict[Path, nn.Module]] = {}

    def export(self, module: nn.Module, example_BCHW: Any, out: Path) -> Any:
        path = out / "model.bin"
        path.write_bytes(b"".join(v.numpy().tobytes() for v in module.state_dict().values()))
        self.kept[path] = module
        return self.load(path)

    def load(self, path: Path, threads: int = 1) -> Any:
        return Loaded(path, self.kept[path])


class Loaded:
    def __init__(self, path: Path, module: nn.Module, change: Callable[[Any], Any] = lambda out: out) -> None:
        self.path, self.module, self.change = path, module, change

    def __call__(self, inputs: Any) -> Any:
        with torch.no_grad():
            return self.change(self.module(torch.from_numpy(np.ascontiguousarray(inputs))).numpy())


def broken(base: type[Spec], /, **changes: Any) -> Callable[[], type[Spec]]:
    """Return a function that makes a subclass with methods or class variables replaced."""

    def make() -> type[Spec]:
        return type(base.__name__, (base,), {"__module__": __name__, "__doc__": "Broken.", **changes})

    return make


def fixed(base: type[Spec]) -> Callable[[], type[Spec]]:
    return broken(base)


def undetached(self: Any, x: Any) -> Any:
    p = torch.softmax(x.teacher.logits(2.0) / 2, dim=1)
    return 4 * (p * (p.log() - torch.log_softmax(x.logits_BK / 2, dim=1))).sum(dim=1)


def with_batch(self: Any, x: Any) -> Any:
    return soft_label(x.logits_BK - x.logits_BK.mean(dim=0, keepdim=True) * 0.1, x.teacher.logits(2.0), 2.0)


def half_gradient(self: Any, x: Any) -> Any:
    z = x.logits_BK
    return soft_label(0.5 * z + 0.5 * z.detach(), x.teacher.logits(2.0), 2.0)


def naive_log(self: Any, x: Any) -> Any:
    p, q = torch.softmax(x.teacher.logits(2.0).detach() / 2, dim=1), torch.softmax(x.logits_BK / 2, dim=1)
    return -(p * q.log()).sum(dim=1)


def spoiling(self: Any, x: Any) -> Any:
    return soft_label(
        x.logits_BK.sub_(1.0) if not x.logits_BK.requires_grad else x.logits_BK, x.teacher.logits(2.0), 2.0
    )


def indulgent(self: Any, x: Any) -> Any:
    if x.teacher is None:
        raise StoreError("none")
    given = x.teacher.logits(2.0) if x.teacher.output == "logits" else x.teacher.probabilities().log()
    return soft_label(x.logits_BK, given, 2.0)


def own_mask(self: Any, x: Any) -> Any:
    return (x.labels_B >= 0).float()


SCALAR = SoftLabelSpec.loss
OBJECTIVES = [
    (broken(Soft, loss=lambda s, x: SCALAR(s, x).mean()), r"loss must be \[B\]"),
    (broken(Soft, loss=lambda s, x: SCALAR(s, x).double()), "must be float32"),
    (broken(Soft, loss=undetached), "the teacher must receive no gradient"),
    (broken(Soft, loss=with_batch), "own alone"),
    (broken(Soft, loss=lambda s, x: SCALAR(s, x) * torch.arange(1, 1 + len(x.logits_BK))), "must move with the row"),
    (broken(Soft, loss=half_gradient), "that of finite differences"),
    (broken(Soft, loss=lambda s, x: SCALAR(s, x).detach() + 0 * x.logits_BK.sum(dim=1)), "must move the student"),
    (broken(Soft, loss=lambda s, x: -SCALAR(s, x)), "lower for a student that agrees"),
    (broken(Soft, loss=lambda s, x: SCALAR(s, x) + torch.rand(1)), "a pure function"),
    (broken(Soft, loss=naive_log), "finite for logits of 10,000"),
    (broken(Soft, loss=spoiling), "leave the student's logits as they are|a pure function"),
    (broken(Soft, loss=indulgent), "must refuse a teacher's probabilities"),
    (broken(Soft, needs=lambda s: Needs(teacher="logits", temperatures=(1.0,))), r"at temperatures of needs\(\)"),
    (broken(Soft, needs=lambda s: Needs(teacher="nothing", labels=True)), "must be a pure|needs the teacher's outputs"),
    (broken(Soft, reference=" "), "must name its paper"),
    (broken(Soft, readings=lambda s, p: {"loss": 1.0}), "as what the log has already"),
    (broken(Soft, loss=lambda s, x: SCALAR(s, x) + x.labels_B), "must not read labels"),
    (broken(Soft, loss=lambda s, x: SCALAR(s, x) if x.mix_B is None else x.mix_B * SCALAR(s, x)), "leave mixup to the teacher"),
    (broken(Hard, mask=lambda s, x: None), "must mask rows without a label"),
    (broken(Hard, mask=own_mask), "must need both labels"),
    (broken(Hard, mask=lambda s, x: 0.5 * own_mask(s, x)), "mask must hold 0 and 1"),
    (broken(Hard, loss=lambda s, x: HardLabelSpec.loss(s, replace(x, mix_B=None))), "row and partner exchanged"),
    (broken(Hard, loss=lambda s, x: (torch.logsumexp(x.logits_BK, 1) - x.logits_BK[:, 0])), "must read the labels"),
    (broken(Hard, needs=lambda s: Needs()), "must read labels or a teacher"),
]  # fmt: skip

SCHEDULES = [
    (broken(Slope, at=lambda s, p: float(next(counter))), "pure function of progress|`start`"),
    (broken(Slope, at=lambda s, p: 4 - 2.9 * p), "exactly `end`"),
    (broken(Slope, at=lambda s, p: 4), "must give a finite float"),
    (broken(Slope, levels=lambda s: (4.0, 1.0)), "no value that levels"),
    (broken(Slope, at=lambda s, p: 4.0 if p < 1 else 1.0, levels=lambda s: (4.0, 2.0, 1.0)), "every value of levels"),
]


def scaled_by_batch(self: Any, values: Any) -> Any:
    return {"values": (values * 1.0000001 if len(values) > 1 else values).astype(np.float32)}


def rounding(self: Any, values: Any) -> Any:
    return {"values": np.round(values, 1).astype(np.float32)}


def in_place(self: Any, values: Any) -> Any:
    np.nan_to_num(values, copy=False)
    values += 0.25
    return {"values": values}


CODECS = [
    (broken(Float32Spec, encode=rounding), "within its error_bound"),
    (broken(Float32Spec, encode=scaled_by_batch), "must be that of the row alone|within its error"),
    (broken(Float32Spec, encode=in_place), "leave its input as it is"),
    (broken(Float32Spec, layout=lambda s, k: {"values": ("<f8", (k,))}), "as layout says"),
    (broken(Float32Spec, layout=lambda s, k: {"value": ("<f4", (k,))}), "name the fields of encode"),
    (
        broken(Float32Spec, encode=lambda s, v: {"values": v + np.float32(1e-9 * next(counter))}),
        "same bytes each time|leave",
    ),
    (
        broken(Float32Spec, _values=lambda s, f: np.asarray(f["values"], np.float64)),
        r"decode must give \[N, K\] float32",
    ),
    (broken(Float16Spec, encode=lambda s, v: {"values": v.astype(np.float16)}), "keep, or refuse with a PotstillError"),
    (broken(TopKSpec, decode=lambda s, f, k, t=1.0, z=False: TopKSpec.decode(s, f, k, t, z) * 1.01), "error_bound"),
]


class TooWide(Plain):
    def forward(self, x: Any) -> Any:
        return super().forward(x)[:, :-1]


class BatchBound(Plain):
    def forward(self, x: Any) -> Any:
        return super().forward(F.batch_norm(x, None, None, training=True))


class Idle(Plain):
    def __init__(self, *a: Any) -> None:
        super().__init__(*a)
        self.unused = nn.Parameter(torch.ones(3))


class Strided(Plain):
    def __init__(self, channels: int, num_classes: int, width: int) -> None:
        super().__init__(channels, num_classes, width)
        self.conv = nn.Conv2d(channels, width, 1, 2)


class Gelu(Plain):
    def last(self, x: Any) -> Any:
        return super().last(F.gelu(x))


def building(cls: type[nn.Module], **more: Any) -> Callable[[], type[Spec]]:
    return broken(Net, build=lambda s, io: cls(io.channels, io.num_classes, s.width), **more)


SHARED: dict[str, nn.Module] = {}
MODELS = [
    (building(TooWide), r"must turn \[B, \(1, 8, 8\)\] into \[B, \(10,\)\]"),
    (building(BatchBound), "its own in eval mode"),
    (building(Idle), "every parameter must learn"),
    (broken(Net, build=lambda s, io: Plain(io.channels, io.num_classes, 4)), "more parameters and MACs with width=8"),
    (
        broken(Net, build=lambda s, io: scrambled(Plain(io.channels, io.num_classes, s.width))),
        "the same for the same seed",
    ),
    (broken(Net, build=lambda s, io: SHARED.setdefault("x", Plain())), "new in every build"),
    (building(Gelu, for_mcu=lambda s: True), r"TFLite Micro has every operator; got without=\['gelu'\]"),
    (building(Viewing, channels_last=True), "must run with channels last"),
    (building(Strided, channels_last=True), r"writes past its buffers; got found=\['conv'\]"),
]


def scrambled(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        module.head.bias.fill_(float(next(counter)))  # type: ignore[union-attr,operator]
    return module


AUGMENTATIONS = [
    (
        broken(Noise, apply=lambda s, b, d: replace(b, inputs_BX=b.inputs_BX * torch.rand(len(b.labels_B), 1, 1, 1))),
        "same bits",
    ),
    (broken(Noise, apply=lambda s, b, d: replace(b, inputs_BX=b.inputs_BX + 0.5)), r"pixels in \[0, 1\]"),
    (broken(Noise, apply=lambda s, b, d: replace(b, inputs_BX=b.inputs_BX * 0.5)), "must differ from another view"),
    (broken(Noise, apply=lambda s, b, d: b), "must differ"),
    (broken(Noise, apply=lambda s, b, d: replace(b, inputs_BX=b.inputs_BX - b.inputs_BX.amin())), "same bits"),
    (broken(Noise, apply=lambda s, b, d: replace(b, labels_B=b.labels_B.clamp(min=0))), "must keep the labels"),
    (broken(Noise, apply=lambda s, b, d: replace(b, inputs_BX=b.inputs_BX[:, :, 1:])), "keep the pictures' shape"),
    (broken(Noise, apply=lambda s, b, d: replace(b, mix_B=torch.ones(len(b.labels_B)))), "or neither"),
]


def part(change: Callable[[Any, Any, Any], Any]) -> Callable[[], type[Spec]]:
    return broken(Rows, parts=lambda s: change(*Rows.parts(s)))


DATA = [
    (part(lambda x, y, n: (x[1:], y[1:], n[1:])), "add up to num_rows=60; got rows=59"),
    (part(lambda x, y, n: (x / 255, y, n)), "must be uint8"),
    (part(lambda x, y, n: (x[:, :, 1:], y, n)), r"must be uint8 \[n, 8, 8, 1\]"),
    (part(lambda x, y, n: (x, y.astype(np.int32), n)), "labels must be int64"),
    (part(lambda x, y, n: (x, y + 1, n)), r"labels must be in -1\.\.9"),
    (part(lambda x, y, n: (x, y, n[1:])), "must name each row"),
    (part(lambda x, y, n: (x, y, ["row"] * 60)), "a name of its own"),
    (part(lambda x, y, n: (x + np.uint8(next(counter) % 100), y, n)), "same samples each time"),
]


def labelling(function: Callable[[Any, Any], Any], output: str = "logits") -> Callable[[], type[Spec]]:
    class Changed:
        num_classes = 10

        def __init__(self, inner: Any) -> None:
            self.inner, self.output = inner, output

        def __call__(self, pixels: Any) -> Any:
            return function(self.inner, pixels)

    return broken(Teacher, load=lambda s, *_: Changed(s.labeller()))


def training(inner: Any, pixels: Any) -> Any:
    with torch.no_grad():
        return inner.module.train()(torch.from_numpy(pixels)).numpy()


class Sleepless(TorchLabeller):
    def __call__(self, pixels: Any) -> Any:
        with torch.inference_mode():
            return self.module(torch.from_numpy(pixels)).numpy()


TEACHERS = [
    (labelling(training), "draw nothing from the generator"),
    (labelling(lambda inner, x: inner(x).astype(np.float64)), "must give a float32 array"),
    (labelling(lambda inner, x: inner(x) * 0), "must depend on the pixels"),
    (labelling(lambda inner, x: inner(x) * np.inf), "outputs must be finite"),
    (labelling(lambda inner, x: inner(x) + np.float32(next(counter))), "pure function of the micro-batch"),
    (labelling(lambda inner, x: inner(x), "probabilities"), "must add up to 1"),
    (labelling(lambda inner, x: inner(x) - inner(x).mean(axis=0)), "nearly its own in any batch"),
    (broken(Teacher, load=lambda s, *_: TorchLabeller(Restless(), nn.Identity(), "logits", 10)), "when it is loaded again"),
    (broken(Teacher, load=lambda s, *_: Sleepless(s.labeller().module, nn.Identity(), "logits", 10)), "put to training"),
    (broken(Teacher, prepare=lambda s, c: {"n": next(counter)}), "prepare must be repeatable"),
    (broken(Teacher, foreign=lambda s: None), "must say true or false"),
    (broken(Teacher, architecture=lambda s, *_: s.labeller()), "must refuse to list places"),
    (broken(Teacher, tappable=True, architecture=lambda s, *_: None), "must have a torch module and preprocess"),
    (broken(Teacher, tappable=True, architecture=lambda s, *_: TorchLabeller(Plain(), nn.Identity(), "logits", 10)), "that it loads"),
]  # fmt: skip


def exporting(change: Callable[[Any], Any]) -> Callable[[], type[Spec]]:
    return broken(Format, load=lambda s, path, threads=1: Loaded(path, s.kept[path], change))


def littering(self: Any, module: nn.Module, example: Any, out: Path) -> Any:
    (out.parent / "litter").write_text("x")
    return Format.export(self, module, example, out)


def waking(self: Any, module: nn.Module, example: Any, out: Path) -> Any:
    return Format.export(self, module.train(), example, out)


def by_example(self: Any, module: nn.Module, example: Any, out: Path) -> Any:
    artifact = Format.export(self, module, example, out)
    artifact.path.write_bytes(artifact.path.read_bytes() + example.tobytes())
    return artifact


EXPORTERS = [
    (exporting(lambda out: out + np.float32(0.01)), "must give what Restless gives: .*differ by up to 0.01"),
    (exporting(lambda out: out + np.float32(0.01) if len(out) == 7 else out), "at batch 7"),
    (broken(Format, export=littering), r"write nowhere else; got found=\['litter'\]"),
    (broken(Format, export=waking), "must leave Restless in eval mode"),
    (broken(Format, export=by_example), "same bytes for the same module"),
]


def counting_all(self: Any, outputs: Any, labels: Any) -> Any:
    return (outputs.argmax(axis=1) == labels).astype(np.float64)


TASKS = [
    (broken(ImageClassificationSpec, correct=counting_all), "one a labelled row"),
    (broken(ImageClassificationSpec, headline="nll"), "must be the mean of correct"),
    (broken(ImageClassificationSpec, headline="precision"), "metrics must hold the headline"),
]
STAGES = [
    (broken(PrepareStage, requires=("data", "data")), "each input once"),
    (broken(PrepareStage, requires=("dtaa",)), "what some stage provides"),
    (broken(PrepareStage, inputs_needed=lambda s: ("labels",)), "no input that requires leaves out"),
    (broken(PrepareStage, requires=("data",), inputs_needed=lambda s: ()), "always there"),
]


def favouring(self: Any, job: Any) -> Any:
    stage = DistillStep.stage(self, job)
    return stage if job.control is None else stage.model_copy(update={"training": TrainSpec(epochs=3)})


def restless(self: Any, job: Any) -> Any:
    return DistillStep.stage(self, replace(job, seed=next(counter)))


STEPS = [
    (broken(DistillStep, stage=favouring), "must give a control the student's own training"),
    (broken(DistillStep, stage=restless), "same stage for the same arm and seed"),
]
GOOD = [("objectives", Soft), ("objectives", Hard), ("schedules", Slope), ("models", Net), ("augmentations", Noise),
        ("data", Rows), ("teachers", Teacher), ("exporters", Format)]  # fmt: skip
BAD = [
    (family, make, words)
    for family, cases in [("objectives", OBJECTIVES), ("schedules", SCHEDULES), ("codecs", CODECS), ("models", MODELS),
                          ("augmentations", AUGMENTATIONS), ("data", DATA), ("teachers", TEACHERS),
                          ("exporters", EXPORTERS), ("tasks", TASKS), ("stages", STAGES), ("steps", STEPS)]
    for make, words in cases
]  # fmt: skip


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, type[Spec]], type[Spec]]]:
    """register(family, cls) puts a class into its registry for one test, in the place of its kind's."""

    def add(family: str, cls: type[Spec]) -> type[Spec]:
        registry: Registry[Any] = CONTRACTS[family][0]
        monkeypatch.setitem(registry._specs, cls.model_fields["kind"].default, cls)
        return cls

    yield add


@pytest.mark.parametrize(("family", "cls"), GOOD, ids=lambda v: getattr(v, "__name__", v))
def test_what_is_broken_below_is_whole_here(register: Any, family: str, cls: type[Spec]) -> None:
    CONTRACTS[family][1](register(family, cls)())


@pytest.mark.parametrize(("family", "make", "words"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_kind_is_told_what_must_hold(register: Any, family: str, make: Any, words: str) -> None:
    from potstill.testing import example

    SHARED.clear()
    spec = example(register(family, make()))
    with pytest.raises((AssertionError, StoreError), match=words):
        CONTRACTS[family][1](spec)


class Bare(AugmentSpec):
    """A field without a description."""

    kind: Literal["bare"] = "bare"
    strength: float = 1.0

    def apply(self, batch: Any, draw: Any) -> Any:
        return batch


class Lossy(Noise):
    """A field that JSON does not carry."""

    kind: Literal["lossy"] = "lossy"  # type: ignore[assignment]
    strength: float = Field(default=1.0, exclude=True)
    """How much."""


@pytest.mark.parametrize(
    ("cls", "fields", "words"),
    [
        (Bare, {}, r"docstring line under every field; got without=\['strength'\]"),
        (Lossy, {"strength": 2.0}, "from its own JSON"),
    ],
)
def test_a_spec_that_is_not_one_is_told(register: Any, cls: type[Spec], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        CONTRACTS["augmentations"][1](register("augmentations", cls)(**fields))


def test_a_kind_that_is_not_registered_is_told() -> None:
    with pytest.raises(AssertionError, match="must be registered under its kind"):
        CONTRACTS["schedules"][1](Slope())


def test_the_real_ones_are_still_there() -> None:
    assert CONTRACTS["exporters"][0]["onnx"] is OnnxSpec and CONTRACTS["models"][0]["ds-cnn"] is DsCnnSpec
    assert issubclass(CONTRACTS["objectives"][0]["soft-label"], ObjectiveSpec)
