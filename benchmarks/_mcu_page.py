"""docs/results/mcu.md from docs/results/mcu.json."""

from __future__ import annotations

from typing import Any

_HEADER = """# Generated C on an emulated Cortex-M4

Written by `python benchmarks/mcu.py`. gcc 12.2 -O2, QEMU 7.2 (mps2-an386, -icount shift=0): instructions are emulated, exact to a tick of 40;
flash and static RAM are those of the image that was built, the program that feeds the model included. Oracle: {oracle}.
Codes: {rows_here} rows each on this machine under the address and undefined-behaviour sanitizers, {rows_emulated} on the core; each count of instructions was {same} in two runs.
{tflm}

| model | MACs | instructions | TFLM | ours / TFLM | flash KB (code) | TFLM | RAM + stack KB | TFLM | arena over least | codes that differ | instructions modelled |
|---|---|---|---|---|---|---|---|---|---|---|---|"""
_NO_TFLM = "TFLM: not measured; `python benchmarks/mcu.py tflm --sources DIR` does it."
_TFLM = """TFLM: TensorFlow Lite Micro {micro} with CMSIS-NN {nn}, measured here: the same file, compiler, core, feeding program and rows, -O2 throughout (its own
makefile builds the interpreter with -Os), its release configuration (no checks, no text of errors), the operators of the model alone, their kernels for int8
alone where it has such, and the smallest arena in which it starts. {codes} Over the {num} models we take {low:.3f} to {high:.3f} times its instructions; {more}."""


def page(found: dict[str, Any]) -> str:
    """Return the page."""
    models = found["models"]
    judged = [abs(r["modelled_off"]) for r in models if r["modelled_off"] is not None and r["macs"] > 100_000]
    header = _HEADER.format(
        oracle=f"{found['oracle']['name']} {found['oracle']['version']}", rows_here=found["rows_here"],
        rows_emulated=found["rows_emulated"], tflm=_beside(found),
        same="the same" if all(r["same_again"] for r in models) else "NOT always the same",
    )  # fmt: skip
    lines = [
        header, *map(_row, models), "",
        f"The costs of instructions were fitted to {found['fitted_layers']} random layers of each kind, none of them of these models: over the {len(judged)} models of more than",
        f"100 k MACs the modelled count is off by at most {max(judged, default=0):.1%}.", "",
        "Wake words: MACs are those left after channels that never change or are never read were taken out (7.490 M in the file).", "",
        *_cores(found), "## Random models of one operator", "",
        f"{found['random_models']} models a kind, 8 rows each, on this machine under sanitizers and on the core.", "",
        "| operator | codes that differ here | on the core |", "|---|---|---|",
        *(f"| {r['kind']} | {r['different_here']} | {r['different_emulated']} |" for r in found["random"]), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    off, micro = row["modelled_off"], row.get("tflm")
    modelled = "–" if off is None else f"{row['instructions_modelled'] / 1e6:.3f} M ({off:+.1%})"
    instructions, ratio, flash, ram = ["–"] * 4
    if micro:
        instructions = f"{micro['instructions'] / 1e6:.3f} M"
        ratio = f"{row['instructions'] / micro['instructions']:.3f}"
        flash, ram = _flash(micro), _ram(micro)
    return (
        f"| {row['model']} | {row['macs'] / 1e6:.3f} M | {row['instructions'] / 1e6:.3f} M | {instructions} | {ratio} | {_flash(row)} | {flash} "
        f"| {_ram(row)} | {ram} | {row['arena_bytes'] / row['arena_bound_bytes']:.3f} | {row['different_here'] + row['different_emulated']} | {modelled} |"
    )


def _flash(took: dict[str, Any]) -> str:
    return f"{took['flash_bytes'] / 1e3:.1f} ({took['code_bytes'] / 1e3:.1f})"


def _ram(took: dict[str, Any]) -> str:
    return f"{took['ram_bytes'] / 1e3:.1f} + {took['stack_bytes'] / 1e3:.2f}"


def _beside(found: dict[str, Any]) -> str:
    rows = [r for r in found["models"] if "tflm" in r]
    if not rows:
        return _NO_TFLM
    different = sum(r["tflm"]["different"] for r in rows)
    ratios = [r["instructions"] / r["tflm"]["instructions"] for r in rows]
    worse = [
        r["model"]
        for r in rows
        if r["flash_bytes"] > r["tflm"]["flash_bytes"]
        or r["ram_bytes"] + r["stack_bytes"] > r["tflm"]["ram_bytes"] + r["tflm"]["stack_bytes"]
    ]
    return _TFLM.format(
        micro=found["tflm"]["tflite-micro"][:12], nn=found["tflm"]["CMSIS-NN"][:12], num=len(rows), low=min(ratios), high=max(ratios),
        codes="Its codes on the core are ours." if not different else f"{different} of its codes on the core are NOT ours.",
        more="none needs more flash or RAM" if not worse else f"{', '.join(worse)} needs MORE flash or RAM",
    )  # fmt: skip


def _cores(found: dict[str, Any]) -> list[str]:
    models = found["models"]
    names = list(models[0]["other_cores"])
    lines = [
        "## Other cores", "",
        f"The same C, built for each core by -O2, {found['rows_emulated']} rows: M instructions, and codes that differ from the oracle's. The Cortex-M3 has no DSP",
        "extension and takes the portable loops; the Cortex-M55 takes the DSP loops, since ours has none for Helium. CMSIS-NN has, and TFLM was not measured on these",
        "cores: what is said above of TFLM is of the Cortex-M4 alone. A dash: it does not fit the emulated board.", "",
        f"| model | {' | '.join(names)} |", f"|---|{'---|' * len(names)}",
    ]  # fmt: skip
    for row in models:
        took = (row["other_cores"][n] for n in names)
        cells = ["–" if t is None else f"{t['instructions'] / 1e6:.3f}, {t['different']} differ" for t in took]
        lines.append(f"| {row['model']} | {' | '.join(cells)} |")
    return [*lines, ""]
