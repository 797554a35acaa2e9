"""TensorFlow Lite Micro with CMSIS-NN, built for an emulated core and run there by the same program as generated C.

Its sources are six repositories at the commits of `SOURCES`: those that TensorFlow Lite Micro's own makefile names. The library is built
once into a cache folder, with the compiler and -O2 of ours and the defines of its own release build (no log, no checks); a model is
then linked with the kernels that it needs, and an arena that is no larger than what AllocateTensors took.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from potstill.core import atomic
from potstill.core.errors import EmulationError, PotstillError
from potstill.core.generated import FLAGS, REPORT
from potstill.mcu.build import SERVE, Core, Emulated, Image, build_core, emulate, emulated_text, tool
from potstill.mcu.export import Generated, Rows
from potstill.mcu.model import Model

SOURCES = {
    "tflite-micro": ("tensorflow/tflite-micro", "90b983c2b3f1480642e040bbd2ddb37b998f3424"),
    "CMSIS-NN": ("ARM-software/CMSIS-NN", "4ab83cc3cc98fb85ed6dafb55e8ca02f1628dcae"),
    "CMSIS_6": ("ARM-software/CMSIS_6", "5782d6f8057906d360f4b95ec08a2354afe5c9b9"),
    "flatbuffers": ("google/flatbuffers", "187240970746d00bbd26b0f5873ed54d2477f9f3"),
    "gemmlowp": ("google/gemmlowp", "719139ce755a0f31cbf1c37f7f98adcc7fc9f425"),
    "ruy": ("google/ruy", "d37128311b445e758136b8602d1bbd2a755e115d"),
}
"""Folder -> repository at GitHub, commit."""
_INCLUDE = ("tflite-micro", "CMSIS-NN", "CMSIS-NN/Include", "CMSIS_6", "CMSIS_6/CMSIS/Core/Include", "flatbuffers/include", "gemmlowp", "ruy")  # fmt: skip
_DEFINES = ("TF_LITE_STATIC_MEMORY", "TF_LITE_STRIP_ERROR_STRINGS", "NDEBUG", "CMSIS_NN", "KERNELS_OPTIMIZED_FOR_SPEED", "ARM_NN_ENABLE_F16=0",
            "ARM_NN_ENABLE_F32=0", "FLATBUFFERS_LOCALE_INDEPENDENT=0", "FLATBUFFERS_PREFER_PRINTF=1")  # fmt: skip
_SECTIONS = (
    "-mthumb",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
_CPP = ("-std=c++17", "-fno-rtti", "-fno-exceptions", "-fno-threadsafe-statics")
_KERNELS = {
    "ADD": "AddAdd(tflite::Register_ADD_INT8())",
    "AVERAGE_POOL_2D": "AddAveragePool2D(tflite::Register_AVERAGE_POOL_2D_INT8())",
    "CONV_2D": "AddConv2D(tflite::Register_CONV_2D_INT8())",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D(tflite::Register_DEPTHWISE_CONV_2D_INT8())",
    "FULLY_CONNECTED": "AddFullyConnected(tflite::Register_FULLY_CONNECTED_INT8())",
    "MAX_POOL_2D": "AddMaxPool2D(tflite::Register_MAX_POOL_2D_INT8())",
    "MUL": "AddMul()", "PAD": "AddPad()", "SOFTMAX": "AddSoftmax(tflite::Register_SOFTMAX_INT8())",
    "TRANSPOSE": "AddTranspose()", "RESHAPE": "AddReshape()", "MEAN": "AddMean()", "SUM": "AddSum()", "SUB": "AddSub()",
    "QUANTIZE": "AddQuantize()", "DEQUANTIZE": "AddDequantize()", "CONCATENATION": "AddConcatenation()",
    "STRIDED_SLICE": "AddStridedSlice()", "SLICE": "AddSlice()", "RELU": "AddRelu()", "RELU6": "AddRelu6()", "DIV": "AddDiv()",
}  # fmt: skip
"""Kind -> what registers its kernel: the one for int8 alone, where the resolver takes one."""
_PARTS = ("arena_allocator", "memory_planner", "tflite_bridge")
_PROBE_BYTES, _ALIGNED, _MOST_MORE = 1 << 20, 16, 16 << 10
_MODEL = """__asm__(".section .rodata.tflm_model,\\"a\\"\\n.balign 16\\n.global tflm_model\\ntflm_model: .incbin \\"model.tflite\\"\\n.previous");
unsigned char tflm_arena[ARENA_BYTES] __attribute__((aligned(16)));
const unsigned tflm_arena_bytes = ARENA_BYTES;
"""
_PROBE = """#include "target.h"
unsigned tflm_arena_used(void);
int main(void) {
  char text[] = "arena=0000000\\n";
  unsigned left = tflm_arena_used();
  for (int at = 12; at > 5; at--, left /= 10) text[at] = (char)('0' + left % 10);
  host_print(text);
  return 0;
}
"""
_GLUE = """#include <new>
#include "tensorflow/lite/micro/kernels/add.h"
#include "tensorflow/lite/micro/kernels/mul.h"
#include "tensorflow/lite/micro/kernels/pooling.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
extern "C" {
#include "model.h"
extern const unsigned char tflm_model[];
extern unsigned char tflm_arena[];
extern const unsigned tflm_arena_bytes;
unsigned tflm_arena_used(void);
void __cxa_pure_virtual(void) { __builtin_trap(); }
void abort(void) { __builtin_trap(); }
}
typedef tflite::MicroMutableOpResolver<@num@> Resolver;
alignas(8) static uint8_t resolver_room[sizeof(Resolver)], interpreter_room[sizeof(tflite::MicroInterpreter)];
static tflite::MicroInterpreter *started() {
  Resolver &resolver = *new (resolver_room) Resolver;
  @register@
  auto *made = new (interpreter_room) tflite::MicroInterpreter(tflite::GetModel(tflm_model), resolver, tflm_arena, tflm_arena_bytes);
  if (made->AllocateTensors() != kTfLiteOk) __builtin_trap();
  return made;
}
static tflite::MicroInterpreter &interpreter() {
  static tflite::MicroInterpreter *one = started();
  return *one;
}
unsigned tflm_arena_used(void) { return interpreter().arena_used_bytes(); }
int8_t *model_input(int i) { return interpreter().input(i)->data.int8; }
const int8_t *model_output(int i) { return interpreter().output(i)->data.int8; }
void model_invoke(void) {
  if (interpreter().Invoke() != kTfLiteOk) __builtin_trap();
}
"""


@dataclass(frozen=True)
class Micro:
    """TensorFlow Lite Micro for one core."""

    sources: Path
    library: Path
    core: Core


@dataclass(frozen=True)
class Took:
    """What a model takes in it."""

    image: Image
    emulated: Emulated
    arena_bytes: int


def library(sources: Path, cache: Path, core: Core) -> Micro:
    """Return the library, built where the cache has none of these sources and flags; minutes.

    Raises:
        PotstillError: a source is missing or at another commit, or does not compile.
        MissingExtraError: there is no compiler for the core.
    """
    _check(sources)
    compiler = subprocess.check_output([tool("arm-none-eabi-gcc"), "--version"], text=True)
    key = hashlib.sha256(json.dumps([SOURCES, compiler, _CPP, _flags(Path(), core)]).encode()).hexdigest()[:16]
    done = cache / f"libtflm-{key}.a"
    if not done.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            objects = [_object(sources, path, core, Path(folder)) for path in _files(sources)]
            _run([tool("arm-none-eabi-ar"), "rcs", "lib.a", *(o.name for o in objects)], Path(folder))
            (Path(folder) / "lib.a").rename(done)
    return Micro(sources, done, core)


def took(micro: Micro, data: bytes, made: Generated, rows: Rows) -> Took:
    """Return what a model gives and takes on the core, run by the program that runs generated C.

    Args:
        micro: the library.
        data: of the .tflite file.
        made: the same as C; its model.h, start-up code and linker script are used.
        rows: of inputs.

    Raises:
        PotstillError: an operator is not in `_KERNELS`, or something does not compile.
        EmulationError: the interpreter refuses the model, or faults.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("model.h", "target.h", "startup.c", "link.ld"):
            (folder / name).write_bytes(made.files[name])
        (folder / "model.tflite").write_bytes(data)
        (folder / "model.c").write_text(_MODEL)
        atomic.write_json(folder / REPORT, {"schema": 1, "files": {}, "sources": ["model.c"]})
        (folder / "glue.cc").write_text(_glue(made.model))
        _compile(micro.sources, folder / "glue.cc", micro.core, folder / "glue.o", folder)
        (folder / "probe.c").write_text(_PROBE)
        roomy = _image(micro, folder, made.plan.arena + _PROBE_BYTES, folder / "probe.c")
        text, _ = emulated_text(roomy.path, micro.core, b"")
        least = int(re.findall(r"^arena=(\d+)$", text, re.M)[0]) // _ALIGNED
        sizes = range(least * _ALIGNED, least * _ALIGNED + _MOST_MORE, _ALIGNED)
        arena = sizes[bisect_left(sizes, 1, key=lambda size: _starts(micro, folder, size))]
        image = _image(micro, folder, arena, SERVE)
        return Took(image, emulate(image.path, micro.core, made.report, rows), arena)


def _starts(micro: Micro, folder: Path, arena: int) -> bool:
    """Return whether an arena is enough to start in; it is not always what the interpreter says to have used."""
    try:
        emulated_text(_image(micro, folder, arena, folder / "probe.c").path, micro.core, b"")
    except EmulationError:
        return False
    return True


def _check(sources: Path) -> None:
    wrong = []
    for name, (repository, commit) in SOURCES.items():
        describe = ["git", "-C", str(sources / name), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(describe, capture_output=True, text=True, check=False)
        if done.stdout.strip() != commit:
            wrong.append(
                f"git clone https://github.com/{repository} {sources / name} && git -C {sources / name} checkout {commit}"
            )
    if wrong:
        lines = "\n  ".join(wrong)
        raise PotstillError(
            f"{sources}: must have {', '.join(SOURCES)} at the commits that are compared with, unchanged; {len(wrong)} are not. Get them:\n  {lines}"
        )


def _files(sources: Path) -> list[Path]:
    """Return the sources of the library: where CMSIS-NN has a kernel, that one alone."""
    lite = sources / "tflite-micro" / "tensorflow" / "lite"
    micro = lite / "micro"
    special = {p.name: p for p in (micro / "kernels" / "cmsis_nn").glob("*.cc")}
    found = [special.get(p.name, p) for p in (micro / "kernels").glob("*.cc")]
    found += [p for folder in (micro, *(micro / f for f in _PARTS)) for p in folder.glob("*.cc")]
    found += [
        p for p in lite.parent.rglob("*.cc") if not any(p.is_relative_to(lite / f) for f in ("micro", "experimental"))
    ]
    found = [p for p in found if not re.search(r"_test|test_|fake_|mock_", p.name) and p != lite / "array.cc"]
    nn = [p for p in (sources / "CMSIS-NN" / "Source").rglob("*.c") if not re.search(r"_f16|_f32|_flt", p.name)]
    return sorted({*found, *nn})


def _flags(sources: Path, core: Core) -> list[str]:
    include = [f"-I{sources / name}" for name in _INCLUDE]
    return [*core.flags, *_SECTIONS, *FLAGS[1:], *(f"-D{d}" for d in _DEFINES), *include]


def _object(sources: Path, path: Path, core: Core, folder: Path) -> Path:
    out = folder / ("_".join(path.relative_to(sources).with_suffix(".o").parts))
    _compile(sources, path, core, out, folder)
    return out


def _compile(sources: Path, path: Path, core: Core, out: Path, folder: Path) -> None:
    name, *language = ("arm-none-eabi-g++", *_CPP) if path.suffix == ".cc" else ("arm-none-eabi-gcc", FLAGS[0])
    flags = [*language, *_flags(sources, core), f"-I{folder}", "-w"]
    _run([tool(name), *flags, "-c", str(path), "-o", str(out)], folder)


def _glue(model: Model) -> str:
    kinds = sorted({op.kind for op in model.ops})
    missing = [kind for kind in kinds if kind not in _KERNELS]
    if missing:
        raise PotstillError(
            f"{model.name}: must have operators of _KERNELS in benchmarks/_tflm.py; got {missing}. Add them."
        )
    calls = "\n  ".join(f"resolver.{_KERNELS[kind]};" for kind in kinds)
    return _GLUE.replace("@num@", str(len(kinds))).replace("@register@", calls)


def _image(micro: Micro, folder: Path, arena: int, main: Path) -> Image:
    size = {"flash_bytes": micro.core.flash_bytes, "ram_bytes": micro.core.ram_bytes}
    more = (main, folder / "glue.o", micro.library)
    return build_core(folder, micro.core, folder / "tflm.elf", main=more, defines=[f"ARENA_BYTES={arena}"], **size)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PotstillError(f"{command[-1]}: must be built; got {done.stderr[-800:]}")
