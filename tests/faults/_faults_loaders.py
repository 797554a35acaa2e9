"""Files that are loaded, each format by the loader that potstill has for it: cut, flipped, lying about sizes, with NaN for weights, pointing
elsewhere. A native runtime that parses one does so in a child process."""

from __future__ import annotations

import base64
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from _faults import ROOT, Fault, Trial, check, fresh
from _faults_inputs import mutate

from forks import Server

HERE = "_faults_loaders"
NAN = np.full(4, np.nan, np.float32).tobytes()
_ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, float("inf"), float("nan"), "", "x" * 5000, "../../etc/passwd",
    "\0", [], {}, [[]], [1] * 2000, {"kind": "x"},
]  # fmt: skip

Wound = Callable[[random.Random, Path], None]
"""Damages a file in place."""


@dataclass(frozen=True)
class Loader:
    """A format, how a whole file of it is made, and all that potstill does to load one."""

    file: str
    make: Callable[[Path], None]
    """Writes the file into a folder, and what must lie beside it."""
    load: Callable[[Path], object]
    """Given the file's path."""
    wounds: dict[str, Wound] = field(default_factory=dict)
    """Of this format, beside cuts and flips."""
    refused: tuple[str, ...] = ()
    """Wounds after which it must be refused: what is in them is never valid."""


def cut(draw: random.Random, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def flip(draw: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def any_wound(draw: random.Random, path: Path) -> None:
    path.write_bytes(mutate(draw, path.read_bytes(), draw.choice([1, 1, 2, 3, 6])))


def oversize(draw: random.Random, path: Path) -> None:
    """Put a huge count where some aligned number stands."""
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 4])):
        width = draw.choice([4, 4, 8])
        at = draw.randrange(max(1, (min(len(data), draw.choice([256, 2048, len(data)])) - width) // 4)) * 4
        number = draw.choice([2**31 - 1, 2**32 - 1, 2**30, 10**6, 2**63 - 1, 2**24])
        data[at : at + width] = (number & (2 ** (8 * width) - 1)).to_bytes(width, "little")
    path.write_bytes(data)


COMMON: dict[str, Wound] = {"cut": cut, "flipped": flip, "wounded": any_wound}


def nan_weights(draw: random.Random, path: Path) -> None:
    """Put NaN over weights: wherever 16 bytes are four numbers of a size that drawn weights have."""
    data = bytearray(path.read_bytes())
    places = []
    for at in range(0, len(data) - 16, 4):
        four = np.abs(np.frombuffer(data, np.float32, 4, at))
        if np.isfinite(four).all() and (four > 1e-3).all() and (four < 8).all():
            places.append(at)
    at = draw.choice(places[len(places) // 4 :])
    data[at : at + 16] = NAN
    path.write_bytes(data)


def odd_value(draw: random.Random, path: Path) -> None:
    """Put something that does not belong at a random place of JSON, or leave a place out."""
    document: Any = json.loads(path.read_bytes())
    for _ in range(draw.choice([1, 1, 2])):
        at, parents = document, []
        while isinstance(at, (dict, list)) and at and (not parents or draw.random() < 0.85):
            key = draw.choice(sorted(at) if isinstance(at, dict) else range(len(at)))
            parents.append((at, key))
            at = at[key]
        if not parents:
            continue
        holder, key = parents[-1]
        if draw.random() < 0.2:
            del holder[key]
        else:
            holder[key] = draw.choice([*_ODD, [at, at], {"x": at}, -at if isinstance(at, (int, float)) else [at]])
    path.write_text(json.dumps(document))


def nested(draw: random.Random, path: Path) -> None:
    """Nest far deeper than any document is."""
    depth = draw.choice([500, 5000, 100_000])
    path.write_text(draw.choice(["[" * depth, '{"a":' * depth, "[" * depth + "]" * depth]))


JSON: dict[str, Wound] = {**COMMON, "odd value": odd_value, "nested": nested}


def _conv() -> Any:
    from potstill.devices.calibration.nets import Layer, Net

    layers = (Layer("conv", 4, (3, 3), 2), Layer("dw", 0, (3, 3)), Layer("conv", 8), Layer("pool"), Layer("fc", 3))
    return Net("small", (8, 8, 1), layers)


def _onnx(folder: Path) -> None:
    """A small net, its longest weights in a file beside it."""
    import onnx

    from potstill.devices.calibration.onnx_file import onnx_bytes

    model = onnx.load_model_from_string(onnx_bytes(_conv(), int8=False))
    longest = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    onnx.external_data_helper.set_external_data(longest, "weights.bin")
    onnx.save(model, str(folder / "model.onnx"))


def _load_onnx(path: Path) -> object:
    from potstill.core.onnx_writer import opened
    from potstill.devices.read import read_cost
    from potstill.verify.accuracy import run_split

    cost = _refused(lambda: read_cost(path).as_dict())
    rows = run_split(opened(path), 2, lambda rows: np.ones((len(rows), 1, 8, 8), np.float32), _quiet())
    return cost, rows.shape


def _refused(call: Callable[[], object]) -> object:
    """Return what a second loader of the same file says; only a message will do."""
    from potstill.core.errors import PotstillError

    try:
        return call()
    except PotstillError as err:
        return str(err)


def _quiet() -> Any:
    from potstill.core.progress import Progress

    return Progress("quiet")


def outside(draw: random.Random, path: Path) -> None:
    """Point the external weights at a file outside the folder, in one of the ways there are."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    (tensor,) = (t for t in model.graph.initializer if t.external_data)
    secret = path.parent.parent / "secret.bin"
    secret.write_bytes((path.parent / "weights.bin").read_bytes())
    where = draw.choice(
        ["../secret.bin", str(secret), "link.bin", "x/../../secret.bin", "./.././secret.bin", "/etc/passwd", "..", ""]
    )
    (path.parent / "link.bin").symlink_to(secret)
    (path.parent / "x").mkdir(exist_ok=True)
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = where
    if draw.random() < 0.3:  # in an attribute, not among the initialisers
        node = model.graph.node.add(op_type="Constant", output=["unused"])
        node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
    path.write_bytes(model.SerializeToString())


def external_lies(draw: random.Random, path: Path) -> None:
    """Let offset or length of the external weights lie, or cut their file."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    (tensor,) = (t for t in model.graph.initializer if t.external_data)
    number = draw.choice(["-1", "999999999999", str(2**63), "x", "", "1e9", "-9223372036854775808"])
    key = draw.choice(["offset", "length"])
    for entry in list(tensor.external_data):
        if entry.key == key:
            tensor.external_data.remove(entry)
    tensor.external_data.add(key=key, value=number)
    if draw.random() < 0.4:
        (path.parent / "weights.bin").write_bytes(b"short")
    path.write_bytes(model.SerializeToString())


def huge_shapes(draw: random.Random, path: Path) -> None:
    """Ask for tensors of a size that no machine has."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    for _ in range(draw.choice([1, 2])):
        tensor = draw.choice(model.graph.initializer)
        if tensor.dims:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice([2**40, 2**62, -1, 0, 10**6])
    if draw.random() < 0.5:
        shape = onnx.numpy_helper.from_array(np.array([2 ** draw.choice([20, 33, 40]), 2**18], np.int64), "shape")
        model.graph.initializer.append(shape)
        model.graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["shape"], ["huge"]))
        model.graph.output.append(onnx.helper.make_tensor_value_info("huge", onnx.TensorProto.FLOAT, None))
    path.write_bytes(model.SerializeToString())


def _tflite(folder: Path) -> None:
    from potstill.devices.calibration.tflite_file import tflite_bytes

    (folder / "model.tflite").write_bytes(tflite_bytes(_conv(), int8=False))


def _in_child(runtime: str, shape: tuple[int, ...]) -> Callable[[Path], object]:
    def load(path: Path) -> object:
        from potstill.core import child
        from potstill.devices.read import read_cost
        from potstill.verify.accuracy import run_split

        child._LOAD_S = child._RUN_S = LIMIT_S / 2.5
        cost = None if path.suffix == ".pte" else _refused(lambda: read_cost(path).as_dict())
        session = child.ChildSession(f"potstill.core.runtimes.{runtime}", path)
        try:
            rows = run_split(session, 2, lambda rows: np.ones((len(rows), *shape), np.float32), _quiet())
        finally:
            session.close()
        return cost, rows.shape

    return load


def _pte(folder: Path) -> None:
    from torch import nn

    from potstill.exporters.executorch import ExecuTorchSpec

    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    made = ExecuTorchSpec().export(module, np.ones((2, 1, 8, 8), np.float32), folder)
    made.path.rename(folder / "model.pte")


def _student(folder: Path) -> None:
    from potstill.core.samples import DataStats
    from potstill.models import io_of, registry
    from potstill.models.tools.build import new_model
    from potstill.models.tools.saved import save_model

    spec = registry["ds-cnn"].model_validate({"width": 4, "depth": 1})
    new = new_model(spec, io_of("image", (8, 8, 1), (3,), None), DataStats((0.5,), (0.2,)))
    save_model(folder, new.module, new.spec, new.data_io, ["a", "b", "c"])


def _load_student(path: Path) -> object:
    from potstill.models.tools.saved import load_model

    return load_model(path.parent).classes


def _quant(folder: Path) -> None:
    from potstill.quant.spec import QuantSpec, ValueRange, Weights

    values = {f"layer{i}/conv2d": ValueRange(scale=0.02 * (i + 1), zero_point=3) for i in range(3)}
    weights = {f"layer{i}.weight": Weights(bits=8, axis=0, scales=(0.1, 0.2)) for i in range(3)}
    QuantSpec(scheme="int8_static_per_channel", values=values, weights=weights, output="layer2/conv2d").write(folder)


def _load_quant(path: Path) -> object:
    from potstill.quant.spec import read

    return read(path.parent)


def _recipe(folder: Path) -> None:
    import yaml

    sys.path.append(str(ROOT / "tests" / "pipeline"))
    from tiny_recipe import changed

    (folder / "recipe.yaml").write_text(yaml.safe_dump(changed(), sort_keys=False))


def _load_recipe(path: Path) -> object:
    from potstill.recipe.load import load

    return load(path).name


def _profile(folder: Path) -> None:
    from potstill.devices.catalogue import PROFILES

    (folder / "rpi4.yaml").write_bytes((PROFILES / "rpi4.yaml").read_bytes())


def _load_profile(path: Path) -> object:
    from potstill.devices.catalogue import profile_of
    from potstill.devices.cost import Cost
    from potstill.devices.judge import Budget, Question, judge_all

    cost = Cost("m", "float32", {"conv": 10**8}, 20, 10**6, 10**5, 100, 4 * 10**5, 10**5)
    return [j.as_dict() for j in judge_all(cost, Question(profile_of(str(path)), Budget(latency_ms=10.0)))]


def odd_yaml(draw: random.Random, path: Path) -> None:
    """Put something that does not belong into a line of YAML."""
    lines = path.read_text().splitlines()
    at = draw.randrange(len(lines))
    odd = draw.choice([".inf", ".nan", "-1", "2001-13-45", "12:34:56", "!!python/object:os.system {}", "&a [*a]", "{}", "[]", "~", "0x", "1_0",
                       "!!binary x", "{? [1]: 2}", "<<: *x", "\t", "1e400", "9" * 400])  # fmt: skip
    key, colon, _ = lines[at].partition(":")
    lines[at] = draw.choice([f"{key}{colon} {odd}", odd, lines[at] + odd, f"{lines[at]}\n{lines[at]}"])
    path.write_text("\n".join(lines))


def nested_yaml(draw: random.Random, path: Path) -> None:
    """Nest too deep, or let aliases of aliases make a short text long."""
    if draw.random() < 0.5:
        path.write_text("a: " + "[" * draw.choice([100, 1000, 20_000]))
        return
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    path.write_text(path.read_text() + "\n" + "\n".join(lines))


YAML: dict[str, Wound] = {**COMMON, "odd value": odd_yaml, "nested": nested_yaml}


def _results(folder: Path) -> None:
    sys.path.append(str(ROOT / "tests" / "unit" / "report"))
    from _report_results import results

    (folder / "results.json").write_text(json.dumps(results()))


def _load_results(path: Path) -> object:
    from potstill.cli.run import write_report

    return write_report(path.parent, samples=False)


def _safetensors(folder: Path) -> None:
    from potstill.core.tensorfile import write_arrays

    draw = np.random.default_rng(1)
    arrays = {n: draw.normal(size=s).astype(np.float32) for n, s in {"values": (50, 10), "scale": (50,)}.items()}
    write_arrays(folder / "rows.safetensors", {**arrays, "codes": np.arange(40, dtype=np.uint8)}, {"note": "x"})


def _load_safetensors(path: Path) -> object:
    from potstill.core.tensorfile import open_arrays

    return {k: float(np.nansum(v.astype(np.float64))) for k, v in open_arrays(path).items()}


def header_lies(draw: random.Random, path: Path) -> None:
    """Let the header of safetensors, whose bytes are few, be mutated and its length be right."""
    data = path.read_bytes()
    stop = 8 + int.from_bytes(data[:8], "little")
    header = mutate(draw, data[8:stop], draw.choice([1, 2, 4]))
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[stop:])


def another_digest(draw: random.Random, path: Path) -> None:
    """Mutate the weights of a student, and let its card have their digest: what whoever made both can do."""
    from potstill.core.hashing import digest_file

    weights = path.parent / "student.safetensors"
    draw.choice([header_lies, nan_weights, any_wound, cut])(draw, weights)
    card = json.loads(path.read_bytes())
    path.write_text(json.dumps({**card, "sha256": digest_file(weights)}))


def _rows(folder: Path) -> None:
    from potstill.devices.forms import COUNTS
    from potstill.devices.rows import MEASURED, Row, write_rows

    counts = {name: float(i * 1000) for i, name in enumerate(COUNTS)}
    made = [
        Row(f"m{i}", "board", "LiteRT", "2", "1", "int8", f"net-{i}|8x8x1", counts, 0.5 * i + 1, None, MEASURED)
        for i in range(5)
    ]
    write_rows(folder / "board.csv", made)


def _load_rows(path: Path) -> object:
    from potstill.devices.rows import groups

    return groups(path)


def _device_result(folder: Path) -> None:
    from potstill.core.hashing import digest_bytes

    outputs = np.random.default_rng(0).normal(size=(6, 3)).astype("<f4")
    device = {"name": "board", "machine": "aarch64", "model": "", "cpu": "x", "cores": 4, "memory_bytes": 1 << 30, "governor": None, "clock_mhz": None,
              "system": "Linux", "python": "3.11", "celsius_before": None, "celsius_after": 40.5}  # fmt: skip
    times = {"threads": 1, "batch": 1, "calls": 10, "min": 0.5, "median": 0.75, "p95": 1.5, "cold": 10.0}
    body = {
        "schema": 1, "bundle": "0" * 16, "files": {"student.onnx": "1" * 64}, "device": device,
        "runtime": {"name": "onnxruntime", "version": "1", "numpy": "2"}, "latency_ms": [times],
        "peak_memory_bytes": {"peak": 9, "baseline": 4, "value": 5},
        "outputs": {"shape": [6, 3], "sha256": digest_bytes(outputs.tobytes()), "base64": base64.b64encode(outputs.tobytes()).decode()},
        "rows": [digest_bytes(row.tobytes())[:16] for row in outputs], "top1": outputs.argmax(1).tolist(), "accuracy": 0.5,
        "started": "2026-01-01T00:00:00+00:00", "seconds": 1.0,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(_signed(body)))


def _signed(body: dict[str, Any]) -> dict[str, Any]:
    from potstill.core.hashing import digest_json

    return {**body, "digest": digest_json({k: v for k, v in body.items() if k != "digest"})}


def odd_and_signed(draw: random.Random, path: Path) -> None:
    """Put something that does not belong, and the digest that belongs to it."""
    odd_value(draw, path)
    document = json.loads(path.read_bytes())
    try:
        path.write_text(json.dumps(_signed(document)))
    except (ValueError, TypeError, AttributeError):  # NaN has no digest
        return


def _load_device_result(path: Path) -> object:
    from potstill.verify.from_device import read_result

    return read_result(path).outputs_NY().shape


LOADERS: dict[str, Loader] = {
    "safetensors": Loader("rows.safetensors", _safetensors, _load_safetensors, {**COMMON, "lying header": header_lies}),
    "onnx": Loader(
        "model.onnx", _onnx, _load_onnx,
        {**COMMON, "NaN weights": nan_weights, "weights outside": outside, "external lies": external_lies, "huge shapes": huge_shapes},
        ("NaN weights", "weights outside"),
    ),
    "tflite": Loader(
        "model.tflite", _tflite, _in_child("litert", (8, 8, 1)), {**COMMON, "oversize": oversize, "NaN weights": nan_weights},
        ("NaN weights",),
    ),
    "pte": Loader(
        "model.pte", _pte, _in_child("executorch", (1, 8, 8)), {**COMMON, "oversize": oversize, "NaN weights": nan_weights},
        ("NaN weights",),
    ),
    "student": Loader("student.json", _student, _load_student, {**JSON, "weights with a digest": another_digest}),
    "quant": Loader("quant.json", _quant, _load_quant, JSON, ("nested",)),
    "recipe": Loader("recipe.yaml", _recipe, _load_recipe, YAML),
    "profile": Loader("rpi4.yaml", _profile, _load_profile, YAML, ("nested",)),
    "rows": Loader("board.csv", _rows, _load_rows, COMMON),
    "device result": Loader(
        "result.json", _device_result, _load_device_result, {**JSON, "odd value, signed": odd_and_signed}, ("nested", "odd value"),
    ),
    "results": Loader("results.json", _results, _load_results, JSON, ("nested",)),
}  # fmt: skip
LIMIT_S = 150.0


def make(kind: str, folder: str) -> None:
    """Write the whole files of a format, and see that they load."""
    loader = LOADERS[kind]
    loader.make(Path(folder))
    loader.load(Path(folder) / loader.file)


def load(kind: str, folder: str, seed: str, name: str) -> str:
    """Damage a file and load it. Raises AssertionError where it loads and must not."""
    from potstill.core.errors import PotstillError

    loader = LOADERS[kind]
    path = Path(folder) / loader.file
    whole = {p.name for p in Path(folder).iterdir()}
    loader.wounds[name](random.Random(seed), path)
    try:
        loader.load(path)
    except PotstillError as err:
        assert any(n in str(err) for n in whole), f"names no file: {err}"
        return "refused"
    assert name not in loader.refused, f"{name}: loads"
    return "loaded"


class LoadersHurt(Fault):
    """Every format in turn, every wound of it in turn."""

    name: ClassVar[str] = "damaged files of every format"
    promise: ClassVar[str] = (
        "every file loads, or is refused with a message that names it: no crash, no hang, no NaN, nothing from outside"
    )
    unit: ClassVar[str] = "files"
    small: ClassVar[int] = 40
    full: ClassVar[int] = 1000
    kinds: ClassVar[tuple[str, ...]] = tuple(kind for kind in LOADERS if kind != "pte")
    """What is tried; starting ExecuTorch takes seconds a file."""
    MEMORY: ClassVar[int] = 8 << 30

    def __init__(self, scratch: Path, server: Server) -> None:
        super().__init__(scratch, server)
        self._whole: dict[str, dict[str, bytes]] = {}
        self._turn = 0

    def trial(self, draw: random.Random) -> Trial:
        out = Trial()
        kind = self.kinds[self._turn % len(self.kinds)]
        names = list(LOADERS[kind].wounds)
        name = names[self._turn // len(self.kinds) % len(names)]
        self._turn += 1
        self.give(kind, name, repr(draw.getrandbits(64)), out)
        return out

    def give(self, kind: str, name: str, seed: str, out: Trial) -> None:
        """Damage one file of a kind in one way."""
        folder = self.scratch / kind / "files"
        if kind not in self._whole:
            self.server.must(f"{HERE}:make", kind=kind, folder=str(fresh(folder)))
            self._whole[kind] = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        fresh(folder)
        for file, data in self._whole[kind].items():
            (folder / file).write_bytes(data)
        args = {"kind": kind, "folder": str(folder), "seed": seed, "name": name}
        ended = self.server.run({"call": f"{HERE}:load", "args": args, "limit": LIMIT_S, "memory": self.MEMORY})[0]
        check(not ended.late, f"{kind}, {name}: still loading after {LIMIT_S:.0f} s (seed {seed})")
        check(ended.code == 0, f"{kind}, {name} (seed {seed}): ended with {ended.code}: {ended.value}")
        out.note(f"{kind}, {name}: {ended.value}", 1)
