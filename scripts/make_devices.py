"""Make the profiles and tables of src/potstill/devices from the raw facts. Run once; this is the record of how they were made.

    python scripts/make_devices.py ../shared/devices --ncnn PATH

The raw folder holds a YAML file a device and calibration.csv, memory_calibration.csv, compiled from public sources. PATH is a clone of
github.com/Tencent/ncnn at a4d2ea1, whose benchmark/models/*.param say what its 25 benchmark models have. Nothing is added to what the
raw files say but: layers and activations of ncnn's models, bytes that live at once in MobileNets (from their published
architectures), and ENTRIES below, which say in numbers what a raw file says in words.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from _ncnn_graph import Counted, count

OUT = Path(__file__).resolve().parent.parent / "src" / "potstill" / "devices"
MIB, GIB = 1 << 20, 1 << 30
STATUS = {"verified": "verified", "general_knowledge_not_verified_here": "general_knowledge", "unknown": "unknown"}
KINDS = {"x86": "laptop"}
DTYPES = {"fp32/fp16(ncnn default)": "float", "fp32": "float32", "fp16": "float16", "int8": "int8"}
BOARDS = {
    "phone_flagship": {"phone_flagship_sd8g2": "Snapdragon 8 Gen 2", "phone_flagship": "Snapdragon 888", "sd8gen3": "NPU of a Snapdragon 8 Gen 3"},
    "phone_mid": {"phone_mid": "Snapdragon 660 (Redmi Note 7)", "phone_pixel3a": "Pixel 3a"},
    "stm32h743": {"stm32h743": "STM32H743, clock not stated", "stm32h747": "STM32H747I-DISCO, 400 MHz", "stm32h7a3": "NUCLEO-H7A3ZI-Q, 280 MHz"},
    "rp2350": {},
    "x86_laptop": {"x86_laptop": "i7-11800H under Hyper-V: that machine only"},
}  # fmt: skip
"""Ids of calibration.csv that a raw file joins; else its own."""
FLASH: dict[str, dict[str, Any]] = {
    "rp2040": {"low": 2 * MIB, "high": 16 * MIB, "status": "general_knowledge"},
    "rp2350": {"low": 2 * MIB, "high": 4 * MIB, "status": "general_knowledge"},
    "esp32s3": {"low": 4 * MIB, "high": 32 * MIB},
    "ethos_u55": {"low": 128 * MIB, "high": 128 * MIB},
}
"""Flash that is said in words; the words become the note."""
POWER: dict[str, list[dict[str, Any]]] = {
    "coral_devboard": [
        {"keys": ["edgetpu_mobilenetv2"], "what": "whole board, MobileNetV2 on the Edge TPU", "during": "inference", "runtimes": ["TFLite+EdgeTPU"]},
        {"keys": ["cpu_tflite_int8"], "what": "whole board, int8 on the CPU", "during": "inference", "runtimes": ["TFLite CPU"]},
    ],
    "nano33ble": [{"keys": [""], "what": "whole board, MobileNetV1", "during": "inference"}],
    "orin_nano_8gb": [{"keys": ["yolov8n_trt_int8", "yolov8n_trt_fp16"], "what": "module, YOLOv8n under TensorRT, MAXN_SUPER", "during": "inference",
                       "runtimes": ["TensorRT", "TensorRT (YOLOv8 repo)", "TensorRT (ultralytics)"]}],
    "rpi4": [
        {"keys": ["tflite_int8_1thread", "tflite_fp32_1thread", "tensorflow_4thread"], "what": "whole board, TFLite on 1 thread, TensorFlow on 4", "during": "inference"},
        {"keys": ["stress_docs", "stress_geerling", "hpl_geerling"], "what": "whole board, stress tests", "during": "load"},
    ],
    "rpi5": [{"keys": ["stress", "geekbench", "hpl"], "what": "whole board at the wall", "during": "load"}],
    "rpi_zero2w": [{"keys": ["typical_active"], "what": "whole board, stated as typical", "during": "nominal"}],
    "stm32h743": [{"keys": ["h7a3_280MHz"], "what": "microcontroller alone, MLPerf Tiny energy runs", "during": "inference", "boards": ["stm32h7a3"]}],
    "stm32l4r5": [{"keys": ["min", "typical", "max"], "what": "microcontroller alone; the supply decides", "during": "inference"}],
    "ethos_u55": [{"keys": [""], "what": "board, said in passing", "during": "nominal"}],
}  # fmt: skip
"""What the numbers of `power_active_w` were measured of."""
FORM_NAMES = {
    "A": "macs",
    "B": "overhead+macs",
    "D": "dense+depthwise",
    "L": "layers+macs",
    "CP": "by-class",
    "T2": "edge-tpu",
    "E": "weighted-macs",
}
MEMORY_VERSIONS = {
    "TFLM reference": "713b6ed",
    "TFLM+CMSIS-NN": "011bf32",
    "X-CUBE-AI": "7.3.0;7.3;v7.3.0",
    "TinyEngine": "0363956",
}
"""Versions, as calibration.csv has them, that TinyEngine's README measured memory of."""


def main() -> None:
    """Write calibration.csv, memory.csv and the profiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("--ncnn", type=Path, required=True)
    given = parser.parse_args()
    with (given.raw / "calibration.csv").open(newline="") as file:
        raw_rows = list(csv.DictReader(file))
    counted = {
        m: count(m[5:], _param(given.ncnn, m[5:]))
        for m in sorted({r["model"] for r in raw_rows})
        if m.startswith("ncnn-")
    }
    records = [_row(r, counted) for r in raw_rows]
    _write_csv("calibration.csv", records)
    with (given.raw / "memory_calibration.csv").open(newline="") as file:
        _write_csv("memory.csv", [_memory(r, raw_rows) for r in csv.DictReader(file)])
    (OUT / "profiles").mkdir(exist_ok=True)
    for path in sorted(given.raw.glob("*.yaml")):
        made = _profile(yaml.safe_load(path.read_text()), records)
        text = yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=130, default_flow_style=None)
        (OUT / "profiles" / path.name).write_text(text)


def _param(clone: Path, model: str) -> str:
    command = ["git", "-C", str(clone), "show", f"a4d2ea1:benchmark/models/{model}.param"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def version_of(runtime: str, version: str) -> str:
    """Return a version without what the runtime's name says already, empty where it is not stated."""
    if version in ("microTVM", "tflite-micro", "ONNC") or version.startswith(("unknown", "TensorFlow Lite for")):
        return ""
    short = re.sub(
        r"^Bosch Hardware-Aware Lowering Engine \(HALE\) version |^Plumerai Inference Engine ?|^ONNC ", "", version
    )
    return short.removeprefix(runtime).strip()


def _skip(row: dict[str, str]) -> str:
    flags = row["flags"]
    for sign, why in (
        ("dead_channels_folded", "dead channels folded"), ("noisy", "noisy"), ("Deconvolution", "MACs without the deconvolution"),
        ("duplicate", "a duplicate"), ("variant:", "another build"), ("caffe variant", "MACs approximate"),
    ):  # fmt: skip
        if sign in flags:
            return why
    if not row["macs"]:
        return "MACs not known"
    return "60 M parameters and more: bound by memory" if row["model"] in ("ncnn-alexnet", "ncnn-vgg16") else ""


def _row(row: dict[str, str], counted: dict[str, Counted]) -> dict[str, Any]:
    found = counted.get(row["model"])
    if found is not None:
        assert sum(found.macs.values()) == int(row["macs"]), row["model"]
        assert all(found.macs[k] == int(row[f"macs_{k}"] or 0) for k in found.macs), row["model"]
    known = row["macs_conv"] != ""
    threads = "" if row["threads"] == "unknown" else row["threads"]
    return {
        "id": row["row_id"], "board": row["device_id"], "runtime": row["runtime"], "version": version_of(row["runtime"], row["runtime_version"]),
        "threads": threads, "dtype": DTYPES[row["dtype"]], "model": row["model"], "input": row["input"], "macs": row["macs"],
        "conv": row["macs_conv"], "pw": row["macs_pw"], "dw": (row["macs_dw"] or "0") if known else "", "fc": row["macs_fc"],
        "layers": found.layers if found else "", "activations": found.activations if found else "", "params": row["params"],
        "latency_ms": row["latency_ms"], "energy_uj": row["energy_uJ"], "skip": _skip(row), "source": row["source"],
    }  # fmt: skip


def _write_csv(name: str, records: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    (OUT / name).write_text(text.getvalue())


def _memory(row: dict[str, str], raw_rows: list[dict[str, str]]) -> dict[str, Any]:
    params = {r["model"]: r["params"] for r in raw_rows if r["device_id"] == "stm32h743"}
    if "act " in row["peak_sram_kB"]:
        ram = [float(v) * 1024 for v in re.findall(r"[\d.]+", row["peak_sram_kB"])]
        flash = [float(v) * 1024 for v in re.findall(r"[\d.]+", row["flash_kB"])]
        weights: Any = round(flash[0])
        sram, whole = round(sum(ram)), round(sum(flash))
    else:
        weights = params.get(row["model"], "")
        sram, whole = (
            ("", "") if row["peak_sram_kB"] == "OOM" else (int(row["peak_sram_kB"]) * 1024, int(row["flash_kB"]) * 1024)
        )
    runtime = row["runtime"].removesuffix(" 7.3.0")
    if runtime.startswith("X-CUBE-AI 9.1"):
        runtime, used = "X-CUBE-AI", "9.1.0;10.0.0"
    else:
        used = MEMORY_VERSIONS[runtime]
    return {"model": row["model"], "runtime": runtime, "versions": used, "live_bytes": _live(row["model"]), "weight_bytes": weights,
            "sram_bytes": sram, "flash_bytes": whole, "source": row["source"]}  # fmt: skip


def _live(model: str) -> int | str:
    """Return the most int8 bytes that an operator's whole inputs and outputs take, of a MobileNet by its published architecture."""
    found = re.fullmatch(r"MobileNetV([12])-([\d.]+)@(\d+)", model)
    if not found:
        return ""
    alpha, side = float(found[2]), int(found[3]) // 2
    if found[1] == "1":
        wide = int(32 * alpha)
        most = 3 * (2 * side) ** 2 + wide * side**2
        for out, stride in [
            (64, 1),
            (128, 2),
            (128, 1),
            (256, 2),
            (256, 1),
            (512, 2),
            *[(512, 1)] * 5,
            (1024, 2),
            (1024, 1),
        ]:
            small, next_wide = side // stride, int(out * alpha)
            most = max(most, wide * (side**2 + small**2), (wide + next_wide) * small**2)
            side, wide = small, next_wide
        return most
    wide = _of_eight(32 * alpha)
    most = 3 * (2 * side) ** 2 + wide * side**2
    for expand, out, times, stride in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for place in range(times):
            by, next_wide, inner = (stride if place == 0 else 1), _of_eight(out * alpha), wide * expand
            small = -(-side // by)
            kept = wide * side**2 if by == 1 and wide == next_wide else 0  # the shortcut waits for the addition
            grown = wide * side**2 + inner * side**2 if expand > 1 else 0
            most = max(most, grown, kept + inner * (side**2 + small**2), kept + (inner + next_wide) * small**2)
            side, wide = small, next_wide
    return most


def _of_eight(value: float) -> int:
    found = max(8, int(value + 4) // 8 * 8)
    return found + 8 if found < 0.9 * value else found


def _profile(raw: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    _plain(raw)
    name = raw["id"]
    boards = BOARDS.get(name, {name: raw["name"]})
    small = raw["klass"].startswith("mcu")
    made: dict[str, Any] = {
        "name": name, "title": raw["name"], "kind": KINDS.get(raw["klass"], raw["klass"]), "cores": _fact(raw["cores"]),
        "clock_mhz": _figure(raw["clock_mhz"]), "ram_bytes": _figure(raw["ram_bytes"], {"options_GB": GIB}),
    }  # fmt: skip
    if "ram_contiguous_bytes" in raw:
        made["ram_contiguous_bytes"] = _figure(raw["ram_contiguous_bytes"])
    if small:
        made["flash_bytes"] = (
            _figure(raw["flash_bytes"]) if name not in FLASH else _worded(raw["flash_bytes"], FLASH[name])
        )
    else:
        made["storage"] = _fact(raw["storage"])
    made["memory_bandwidth_mb_s"] = _figure(raw["memory_bandwidth"], {"GBps": 1000})
    made["power_idle_w"] = _idle(raw["power_idle_w"])
    if name in POWER and raw["power_active_w"]["status"] != "unknown":
        made["power_active"] = [_power(raw["power_active_w"], how) for how in POWER[name]]
    made["supply"] = _fact(raw["supply"])
    made["boards"] = boards
    made["latency"] = _entries(boards, records, raw.get("latency", []), small)
    return made


def _plain(raw: dict[str, Any]) -> None:
    """Write out what a raw file says by reference, in place: "same" is the source before, "see notes" the names of the values."""
    before = ""
    for fact in raw.values():
        if not isinstance(fact, dict) or "source" not in fact:
            continue
        source = fact["source"] or ""
        if re.match(r"same\b", source):
            source = before + source.removeprefix("same").replace(" as above", "")
        elif source:
            before = source
        fact["source"] = "each value's name says whose it is" if source == "see notes" else source
        note = fact.get("note") or ""
        fact["note"] = re.sub(r" (in|from) (the )?(stored corpora|stored copies|store)\b", "", note)


def _sourced(fact: dict[str, Any]) -> dict[str, Any]:
    out = {"status": STATUS[fact["status"]]}
    source = fact["source"] if fact["source"] not in (None, "-") else ""
    if source or out["status"] == "general_knowledge":
        out["source"] = source or "general knowledge"
    return {**out, **({"note": fact["note"]} if fact.get("note") else {})}


def _fact(fact: dict[str, Any]) -> dict[str, Any]:
    return {**({"text": str(fact["value"])} if fact["value"] is not None else {}), **_sourced(fact)}


def _numbers(value: Any, units: dict[str, int], name: str = "") -> dict[str, float]:
    """Return the numbers of a raw value by name; words among them are left out."""
    if isinstance(value, dict):
        return {k: v for n, inner in value.items() for k, v in _numbers(inner, units, f"{name}_{n}".strip("_")).items()}
    if isinstance(value, list):
        return {k: v for i, inner in enumerate(value, 1) for k, v in _numbers(inner, units, f"{name}_{i}").items()}
    if not isinstance(value, (int, float)):
        return {}
    by = next((factor for sign, factor in units.items() if sign in name), 1)
    return {re.sub(r"_?(MBps|GBps)|options_GB_", "", name): value * by}


def _figure(fact: dict[str, Any], units: dict[str, int] | None = None) -> dict[str, Any]:
    found = _numbers(fact["value"], units or {})
    if not found:
        return _sourced(fact)
    named = {"named": found} if list(found) != [""] else {}
    return {"low": min(found.values()), "high": max(found.values()), **named, **_sourced(fact)}


def _worded(fact: dict[str, Any], numbers: dict[str, Any]) -> dict[str, Any]:
    return {**_sourced(fact), **numbers, "note": str(fact["value"])}


def _idle(fact: dict[str, Any]) -> dict[str, Any]:
    if isinstance(fact["value"], str):
        return {"status": "unknown", "source": fact["source"], "note": fact["value"]}
    return _figure(fact)


def _power(fact: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    found = {
        n: v
        for n, v in _numbers(fact["value"], {}).items()
        if any(n == k or n.startswith(f"{k}_") for k in how["keys"])
    }
    assert found, how
    named = {"named": found} if len(found) > 1 else {}
    scope = {k: how[k] for k in ("boards", "runtimes") if k in how}
    return {
        "what": how["what"],
        "during": how["during"],
        "low": min(found.values()),
        "high": max(found.values()),
        **named,
        **scope,
        **_sourced(fact),
    }


def _entries(
    boards: dict[str, str], records: list[dict[str, Any]], said: list[dict[str, Any]], small: bool
) -> list[dict[str, str]]:
    keys = ("board", "runtime", "version", "dtype", "threads")
    seen = dict.fromkeys(tuple(r[k] for k in keys) for r in records if r["board"] in boards)
    return [{**dict(zip(keys, group, strict=True)), "form": _form(group, said, small)} for group in sorted(seen)]


def _form(group: tuple[str, ...], said: list[dict[str, Any]], small: bool) -> str:
    """Return the form: the one the raw file fitted, of several the one with the smallest error; else the best that its rows carry."""
    from potstill.devices.forms import FORMS
    from potstill.devices.latency import fit
    from potstill.devices.rows import groups

    rows = [row for row in groups()[group] if not row.skip]
    named = {FORM_NAMES[e["form"].split()[0].rstrip(":")] for e in said if "form" in e and e["runtime"] == group[1]
             and e["dtype"] in (group[3], group[3].replace("float32", "fp32").replace("float16", "fp16"), "fp" if group[3] == "float" else "")
             and (str(e.get("threads", group[4])) == group[4])}  # fmt: skip
    able = [
        f
        for f in FORMS.values()
        if len({r.model for r in rows}) >= f.least_models and all(f.values(r.counts) for r in rows)
    ]
    able = [f for f in able if f.name != "weighted-macs" and (f.name != "edge-tpu" or "EdgeTPU" in group[1])]
    if small:  # int8 ratios of kinds of MACs from other devices; rows without kinds leave the plain sum
        with_kinds = bool(rows) and group[3] == "int8" and all(r.counts["conv"] is not None for r in rows)
        able = [FORMS["weighted-macs" if with_kinds else "macs"]]
    able = [f for f in able if f.name in named] or able
    return min(able, key=lambda f: fit(rows, f).mean).name if len(able) > 1 else able[0].name if able else "macs"


if __name__ == "__main__":
    main()
