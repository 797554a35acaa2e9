"""A program and its plan as C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from potstill.mcu._pointwise import real
from potstill.mcu.code import Arg, Constant, Program, Raw, Scratch, Value
from potstill.mcu.model import Tensor
from potstill.mcu.plan import Plan

_PER_LINE = 20
SOURCES = {
    "ps_conv": "ps_conv.c", "ps_depthwise": "ps_depthwise.c", "ps_dense": "ps_dense.c", "ps_average": "ps_pool.c", "ps_max": "ps_pool.c",
    "ps_mean": "ps_pool.c", "ps_add": "ps_elementwise.c", "ps_mul": "ps_elementwise.c", "ps_table": "ps_elementwise.c",
    "ps_softmax": "ps_softmax.c", "ps_fill": "ps_move.c", "ps_copy": "ps_move.c", "ps_resize": "ps_move.c", "ps_float": "ps_float.c",
    "ps_quantize": "ps_float.c", "ps_dequantize": "ps_float.c",
}  # fmt: skip
"""Beginning of a kernel's name -> the file that has it."""


def sources(program: Program) -> list[str]:
    """Return the files of the kernels that a program calls."""
    return sorted({SOURCES["_".join(call.kernel.split("_")[:2])] for call in program.calls})


def header(program: Program, plan: Plan) -> str:
    """Return model.h: sizes, scales and zero points, and the three functions."""
    model = program.model
    lines = [f"/* {_plain(model.name)} as C: what it reads and gives. Written by potstill. */", "#ifndef MODEL_H", "#define MODEL_H", "",
             "#include <stdint.h>", "", f"#define MODEL_ARENA_BYTES {plan.arena}", f"#define MODEL_MACS {program.macs}"]  # fmt: skip
    for what, ends in (("INPUT", model.inputs), ("OUTPUT", model.outputs)):
        sizes = ", ".join(str(model.tensors[e].bytes) for e in ends)
        lines += ["", f"#define MODEL_NUM_{what}S {len(ends)}", f"#define MODEL_{what}_SIZES {{{sizes}}}"]
        for i, t in enumerate(model.tensors[e] for e in ends):
            lines.append(f"/* [{', '.join(map(str, t.shape))}] {t.dtype} */")
            lines.append(f"#define MODEL_{what}_{i}_BYTES {t.bytes}")
            if t.dtype == "int8":
                lines.append(f"#define MODEL_{what}_{i}_SCALE {real(t.scale)}")
                lines.append(f"#define MODEL_{what}_{i}_ZERO_POINT ({t.zero})")
    lines += [
        "", "/* Where an input is written and an output is read. A real number is (code - zero point) * scale; float32 takes four",
        " * bytes, to be copied with memcpy. model_invoke overwrites the inputs. */", "int8_t *model_input(int index);",
        "const int8_t *model_output(int index);", "void model_invoke(void);", "", "#endif",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def body(program: Program, plan: Plan) -> str:
    """Return model.c: constants, the arena and the calls."""
    model = program.model
    names: dict[tuple[str, bytes], str] = {}
    constants, calls = [], []
    for now, call in enumerate(program.calls):
        args = []
        for arg in call.args:
            if isinstance(arg, Constant):
                text = _initialiser(arg)
                key = (arg.ctype, text.encode())
                if key not in names:
                    names[key] = f"k{len(names)}"
                    length = "" if arg.struct else f"[{np.size(arg.values)}]"
                    constants.append(f"static const {arg.ctype} {names[key]}{length} = {text};\n")
                args.append(("&" if arg.struct else "") + names[key])
            else:
                args.append(_argument(arg, program, plan, now))
        layer = model.tensors[call.op.outputs[0]].name
        calls.append(f"  /* {call.op.index} {call.op.kind} {_plain(layer)} */\n  {call.kernel}({', '.join(args)});\n"
                     f"  MODEL_AFTER({now})\n")  # fmt: skip
    taps = f"static const int8_t *taps[{program.taps}];\n" if program.taps else ""
    return (
        f"/* {_plain(model.name)} as C. Written by potstill. */\n#include \"model.h\"\n\n#include \"ps_kernels.h\"\n\n"
        "#ifdef MODEL_TRACE\nvoid model_after(int call);\n#define MODEL_AFTER(call) model_after(call);\n#else\n#define MODEL_AFTER(call)\n#endif\n\n"
        f"static int8_t arena[{max(1, plan.arena)}] __attribute__((aligned(8)));\n{taps}\n"
        + "".join(constants)
        + _pointers("int8_t *model_input", model.inputs, plan)
        + _pointers("const int8_t *model_output", model.outputs, plan)
        + "\nvoid model_invoke(void) {\n" + "".join(calls) + "}\n"
    )  # fmt: skip


def _pointers(signature: str, ends: Sequence[int], plan: Plan) -> str:
    cases = "".join(f"    case {i}: return arena + {plan.offset(t)};\n" for i, t in enumerate(ends))
    return f"\n{signature}(int index) {{\n  switch (index) {{\n{cases}    default: return 0;\n  }}\n}}\n"


def _argument(arg: Arg, program: Program, plan: Plan, now: int) -> str:
    if isinstance(arg, Value):
        itemsize = np.dtype(program.model.tensors[arg.tensor].dtype).itemsize
        return f"arena + {plan.offset(arg.tensor) + arg.offset * itemsize}"
    if isinstance(arg, Scratch):
        return f"arena + {plan.offsets[plan.scratch[now]]}"
    return arg.text if isinstance(arg, Raw) else str(arg)


def _initialiser(constant: Constant) -> str:
    if constant.struct:
        parts = [
            f"{{{', '.join(map(str, v))}}}" if isinstance(v, (list, tuple)) else _number(v) for v in constant.values
        ]
        return f"{{{', '.join(parts)}}}"
    flat = [_number(v) for v in np.asarray(constant.values).ravel().tolist()]
    lines = [",".join(flat[i : i + _PER_LINE]) for i in range(0, len(flat), _PER_LINE)]
    return "{\n" + ",\n".join(lines) + "}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return real(value)
    return "INT32_MIN" if value == -(1 << 31) else str(int(value))


def _plain(text: str) -> str:
    """Return text that cannot end a comment."""
    return (
        "".join(c if c.isprintable() and c.isascii() else "?" for c in text)
        .replace("*/", "* /")
        .replace("/*", "/ *")[:100]
    )


def tensor_facts(t: Tensor) -> dict[str, Any]:
    """Return what a program needs to know of an input or an output."""
    coded = t.dtype == "int8"
    return {"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "bytes": t.bytes, "scale": t.scale if coded else None,
            "zero_point": t.zero if coded else None}  # fmt: skip
