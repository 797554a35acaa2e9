"""A small results.json with every field of a real one, and the odd forms that it may have."""

from __future__ import annotations

import copy
import math
import struct
import zlib
from pathlib import Path
from typing import Any

from _report_robust import robustness, timing, without_ratio

from potstill.devices.lines import Line, binding, interval, unknown

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</svg><b>&amp;",
    "{{ 7 * 7 }} {% raw %}",
    "a | b `c` *d* [e](javascript:alert(3))",
    "猫 Ünïcode 🐈 with a name much longer than any chart has room for",
]


def results(classes: list[str] | None = None, seeds: int = 2) -> dict[str, Any]:
    """Return results of a student, two controls and a teacher on some classes, 20 test rows each."""
    names = classes or ["circle", "cross", "square"]
    num = len(names)
    arms = [_arm(arm, names, seeds, i) for i, arm in enumerate(("student", "hard-label", "hard-pseudo-label"))]
    return {
        "schema": 1,
        "name": "shapes",
        "description": "Shapes, drawn by a formula.",
        "potstill": "0.1.0",
        "created": "2026-03-01T12:34:56+00:00",
        "recipe_sha256": "ab" * 32,
        "recipe": "name: shapes\nseeds: 2\n",
        "task": "image-classification",
        "classes": names,
        "notes": [
            {"level": "caution", "text": "The teacher was trained on labels that are hidden from the student."},
            {"level": "info", "text": "One fixed teacher and one fixed split of the data."},
        ],
        "data": {"source": "npz", "rows": {"train": 1200, "validation": 60, "test": 20 * num}, "labelled": 200,
                 "shape": [8, 8, 1], "sample": "image", "rate_hz": None, "target_shape": None, "digest": "cd" * 32},
        "models": {
            "teacher": {"name": "resnet", "params": 77754, "macs": 763520, "peak_activation_bytes": 12288, "file_bytes": 318464},
            "student": {"name": "ds-cnn", "params": 970, "macs": 14368, "peak_activation_bytes": 2560, "file_bytes": 6712},
        },
        "teacher": {
            "kind": "train", "output": "logits", "saw_hidden_labels": True,
            "gate": {"accuracy": 0.99, "num_rows": 180, "chance": 1 / num,
                     "checks": [{"name": "class order", "ok": True, "detail": "no order of columns fits much better (99.0%)"}]},
            **_scores(names, 0.95),
        },
        "arms": arms,
        "gains": [_gain("hard-label", 5.62, 3.17, 8.06, "gain", seeds),
                  _gain("hard-pseudo-label", 0.57, -0.03, 1.17, "unresolved", seeds)],
        "student": {"sha256": "ef" * 32, "seed": 0, **_scores(names, 0.9)},
        "disagreements": [
            {"file": f"samples/row-{row}.png", "row": row, "label": row % num, "teacher": row % num,
             "student": (row + 1) % num, "teacher_confidence": 0.98, "student_confidence": 0.61}
            for row in range(4)
        ],
        "curves": {a["name"]: {str(s): _log(s + i, a["name"]) for s in range(seeds)} for i, a in enumerate(arms)},
        "store": {"codec": "float16", "views": 4, "rows": 1200, "bytes": 96384, "bytes_per_row": 20.08, "shards": 4,
                  "kl_error": {"1": {"mean": 3.2e-9, "max": 3.2e-7}, "standardized": {"mean": 6.2e-9, "max": 7.1e-8}},
                  "seconds": 1.04, "rows_per_second": 8822.3},
        "features": [{"place": "layer2", "shape": [12, 4, 4], "codec": "float16", "views": 4, "rows": 1200, "bytes": 1843200,
                      "bytes_per_row": 384.0, "shards": 4, "error": {"absolute": {"mean": 2.1e-4, "max": 4.8e-4}}}],
        "artifacts": [{
            "format": "onnx", "file": "student.onnx", "bytes": 6725, "sha256": "12" * 32,
            "parity": {"max_abs_diff": 9.5e-6, "mean_abs_diff": 1.6e-6, "top1_agreement": 1.0, "batches": [1, 2, 7, 256],
                       "num_rows": 256, "tolerance": 1e-4, "agrees": "top-1"},
            "files": {"student.onnx": {"bytes": 6725, "sha256": "12" * 32}},
            "accuracy": {**_interval(0.9), "source": "measured"}, "accuracy_drop": 0.0,
            "latency_ms": {**_latency(0.024), "rows": 1}, "teacher_latency_ms": {**_latency(0.052), "runtime": "onnx"},
            "latency_ratio": {"value": 0.468, "low": 0.465, "high": 0.47},
            "peak_memory_bytes": {"value": 11071488, "baseline": 48254976, "source": "measured"},
        }],
        "verdicts": verdicts(),
        "environment": {"system": "Linux 6.1", "cpu": "A processor", "cores": 2, "memory_bytes": 8_000_000_000,
                        "instruction_set": "x86_64 avx2", "packages": {"python": "3.11", "torch": "2.8.0"}},
        "fingerprint": {"packages": {"python": "3.11"}, "instruction_set": "x86_64 avx2", "threads": 1, "device": "cpu",
                        "dtype": "float32", "world_size": 1},
        "stages": [{"id": "prepare", "stage": "prepare", "key": "34" * 32, "seconds": 1.4, "cached": False},
                   {"id": "label", "stage": "label", "key": "56" * 32, "seconds": 0.8, "cached": True}],
    }  # fmt: skip


def verdicts() -> list[dict[str, Any]]:
    """Return one device that the student fits as measured, one that it does not as modelled, one of which too little is known."""
    fits = interval("latency_ms", 0.024, 0.03, 1.0, "median to 95th percentile", word="measured", value=0.024)
    drop = interval("accuracy_drop", 1.0, 9.0, 12.0, "against the teacher", word="measured", value=5.0)
    slow = interval("latency_ms", 30.0, 34.0, 20.0, "by-class, 21 rows of 21 models", value=32.0)
    whole = interval("peak_memory_bytes", 4168.0, None, None, "weights and live activations")
    return [
        _verdict("host", "fits", [fits, drop], ""),
        _verdict("rpi4", "does not fit", [slow, whole, drop], "", remedies=["39 % fewer MACs"]),
        _verdict(
            "rp2350",
            "unknown",
            [unknown("latency_ms", 5.0, "nothing is published"), whole],
            "",
            elsewhere="under ncnn | 3 ms",
        ),
    ]


def _verdict(device: str, said: str, lines: list[Line], rests_on: str, **more: Any) -> dict[str, Any]:
    bind = binding(lines)
    return {"device": device, "title": f"a {device}", "file": "student.onnx", "export": "onnx", "verdict": said, "under": "no runtime",
            "runtime": None, "lines": [line.as_dict() for line in lines], "binding": bind.name if bind else None, "remedies": [],
            "elsewhere": "", "rests_on": rests_on, "cost": None, "others": [], **more}  # fmt: skip


def bare() -> dict[str, Any]:
    """Return results where all that may be missing is: one seed, no controls, a foreign teacher, no store, no artifact."""
    out = results(seeds=1)
    out |= {"description": None, "notes": [], "gains": [], "arms": out["arms"][:1], "store": None, "features": [], "artifacts": [],
            "disagreements": [], "verdicts": [], "curves": {"student": {"0": []}}}  # fmt: skip
    out["teacher"]["kind"] = "onnx"
    out["models"]["teacher"] = {
        "name": "onnx", "params": None, "macs": None, "peak_activation_bytes": None, "file_bytes": None,
    }  # fmt: skip
    return out


def half_known() -> dict[str, Any]:
    """Return results with None wherever a single figure may be unknown, rows without a label, and a term that comes late."""
    out = results()
    artifact = out["artifacts"][0]
    artifact |= {"teacher_latency_ms": None, "latency_ratio": None,
                 "peak_memory_bytes": {"value": None, "baseline": None, "source": "unknown"}}  # fmt: skip
    out["models"]["teacher"] |= {"macs": None, "file_bytes": None}
    out["gains"][0] |= {"detail": None, "more_seeds": None}
    out["disagreements"][0]["label"] = -1
    for records in out["curves"]["student"].values():
        for record in records:
            record["validation"] = None
        records[0]["terms"]["soft-label"] |= {"loss": None, "temperature": None}
    return out


def chosen(kept: list[str]) -> dict[str, Any]:
    """Return results of `objectives: auto`, with one entry a seed of what was kept: "student" or "control"."""

    def tried(name: str, steps: int, score: float | None, failed: str | None = None) -> dict[str, Any]:
        return {"name": name, "why": "it was best before", "objectives": [{"kind": "soft-label"}], "steps": steps, "score": score,
                "nll": score, "failed": failed, "won": score == 0.7}  # fmt: skip

    out = results(seeds=len(kept))
    out["auto"] = [
        {
            "seed": seed, "steps": 2160,
            "races": [{
                "known": {"num_classes": 3}, "left_out": {}, "validation_rows": 60, "first_part": 216, "extra_steps": 225,
                "decided_by": "validation score",
                "candidates": [tried("standardised T=2", 216, 0.7), tried("T=1", 216, 0.65),
                               tried("dkd", 9, None, "the loss must stay finite")],
            }],
            "choice": {"chosen": arm, "why": "seen", "student": 0.95 if arm == "student" else 0.9, "control": 0.917,
                       "expected": 0.0, "gain": 0.02, "validation_rows": 60, "validation_groups": None},
        }
        for seed, arm in enumerate(kept)
    ]  # fmt: skip
    return out


def forecast() -> dict[str, Any]:
    """Return results of values: an error as the headline, no classes, forecasts over truth."""
    out = results(["load", "temperature"])
    out |= {"task": "timeseries-forecasting", "disagreements": [], "forecasts": [
        {"row": row, "variable": name, "quantile": quantile, "error": 0.1 + quantile,
         "past": [math.sin(t / 3) for t in range(48)] if row else [], "truth": [math.sin(t / 3) for t in range(48, 72)],
         "teacher": [0.9 * math.sin(t / 3) for t in range(48, 72)], "student": [0.7 * math.sin(t / 3) for t in range(48, 72)]}
        for row, (name, quantile) in enumerate((("load", 0.0), ("temperature", 0.5), ("load", 0.99)))
    ]}  # fmt: skip
    out["data"] |= {"source": "forecast", "shape": [48, 2], "sample": "series", "target_shape": [24, 2]}
    by = [{"name": name, "mse": 0.37, "mae": 0.39} for name in out["classes"]]
    for who, mse in (("teacher", 0.36), ("student", 0.375)):
        kept = {
            k: v
            for k, v in out[who].items()
            if k not in ("macro_f1", "nll", "per_class", "confusion", "calibration", "accuracy")
        }
        steps = [mse + 0.002 * (h - 12) for h in range(24)]
        error = {**_interval(1 - mse), "source": "measured", "unit": "error"}
        out[who] = {
            **kept,
            "accuracy": error,
            "mse": mse,
            "mae": 0.4,
            "mse_by_step": steps,
            "per_variable": by,
            "rows": 40,
        }
    for arm in out["arms"]:
        arm["accuracy"] |= {"value": 0.62, "low": 0.57, "high": 0.67, "unit": "error"}
        arm["per_seed"] = [0.62, 0.63]
        arm |= {"mse": 0.38, "mae": 0.4}
        del arm["macro_f1"], arm["per_class"]
    artifact = out["artifacts"][0]
    artifact["accuracy"] |= {"unit": "error"}
    artifact["parity"]["top1_agreement"] = None
    out["store"]["kl_error"] = {}
    return out


def translation() -> dict[str, Any]:
    """Return results of texts: chrF as the headline, sentences beside one another, an artifact of several files."""
    out = results(["text"])
    out |= {"task": "translation", "metric": "sentence chrF", "disagreements": [], "sentences": [
        {"row": 3, "score": 0.25, "source": "Ein Hund <b>", "target": "A dog", "teacher": "A dog", "student": "The the"}]}  # fmt: skip
    out["data"] |= {"source": "parallel", "shape": [48], "sample": "text", "target_shape": [40]}
    for who in ("teacher", "student"):
        kept = {
            k: v for k, v in out[who].items() if k not in ("macro_f1", "nll", "per_class", "confusion", "calibration")
        }
        out[who] = kept | {
            "bleu": 27.5,
            "bleu_interval": [26.0, 29.0],
            "bleu_signature": "nrefs:1|case:mixed",
            "chrf": 51.0,
        }
    for arm in out["arms"]:
        arm |= {"bleu": 27.5, "chrf": 51.0}
        del arm["macro_f1"], arm["per_class"]
    artifact = out["artifacts"][0]
    artifact["parity"]["agrees"] = "what is written"
    artifact["files"] = {name: {"bytes": size, "sha256": digit * 64} for name, size, digit in (
        ("student.onnx", 4000, "1"), ("student.step.onnx", 2000, "2"), ("student.shared.bin", 725, "3"))}  # fmt: skip
    artifact["latency_ms"]["rows"] = 8
    out["store"]["kl_error"] = {}
    return out


def forms() -> dict[str, dict[str, Any]]:
    """Return every form by name, each a deep copy."""
    hostile = results(HOSTILE)
    hostile |= {"name": HOSTILE[0], "description": HOSTILE[1], "recipe": "</pre>" + HOSTILE[0]}
    hostile["data"]["source"] = HOSTILE[1]
    hostile["auto"] = chosen(["student"])["auto"]
    hostile["auto"][0]["races"][0]["candidates"][2]["failed"] = HOSTILE[0]
    hostile["notes"][0]["text"] = HOSTILE[2]
    hostile["teacher"]["gate"]["checks"][0]["detail"] = HOSTILE[0]
    made = {
        "plain": results(), "chosen": chosen(["student", "control"]), "trained alone": chosen(["control"]), "forecast": forecast(), "translation": translation(), "hostile": hostile, "bare": bare(), "half known": half_known(), "one seed": results(seeds=1),
        "two classes": results(["no", "yes"]), "twenty classes": results([f"class {i}" for i in range(20)]),
        "forty classes": results([f"kind {i:02d}" for i in range(40)]),
    }  # fmt: skip
    made["plain"]["robustness"], made["forecast"]["robustness"] = robustness(), robustness(unit="error")
    made["half known"]["robustness"] = without_ratio(robustness(("jpeg",)))
    made["plain"]["artifacts"][0]["timing"] = timing()
    made["one seed"]["artifacts"][0]["timing"] = timing(teacher=False) | {"sustained": None}
    return copy.deepcopy(made)


def write_samples(found: dict[str, Any], run: Path) -> None:
    """Write the pictures that results name into a run folder."""
    for entry in found["disagreements"]:
        file = run / entry["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(8, 60 * entry["row"] + 15))


def png(side: int, grey: int) -> bytes:
    """Return a square picture of one grey, 0 to 255."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes([grey]) * side) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.03, "high": min(1.0, value + 0.02)}


def _arm(name: str, classes: list[str], seeds: int, place: int) -> dict[str, Any]:
    value = 0.9 - 0.03 * place
    return {
        "name": name, "control": place > 0, "accuracy": _interval(value),
        "per_seed": [value + 0.004 * (s - (seeds - 1) / 2) for s in range(seeds)], "macro_f1": value,
        "seeds": list(range(seeds)), "steps": 2160, "seconds": 51.5, "per_class": _per_class(classes, value),
    }  # fmt: skip


def _per_class(classes: list[str], value: float) -> list[dict[str, Any]]:
    return [
        {"name": name, "support": 20, "precision": value, "recall": max(0.0, value - 0.01 * k), "f1": value}
        for k, name in enumerate(classes)
    ]


def _scores(classes: list[str], value: float) -> dict[str, Any]:
    num = len(classes)
    confusion = [[18 if i == j else 2 if j == (i + 1) % num else 0 for j in range(num)] for i in range(num)]
    bins = [{"low": k / 5, "high": (k + 1) / 5, "confidence": None, "accuracy": None, "count": 0} for k in range(3)]
    bins += [{"low": 0.6, "high": 0.8, "confidence": 0.7, "accuracy": 0.6, "count": 4},
             {"low": 0.8, "high": 1.0, "confidence": 0.96, "accuracy": 0.95, "count": 20 * num - 4}]  # fmt: skip
    return {
        "accuracy": {**_interval(value), "source": "measured", "unit": "share"}, "macro_f1": value, "nll": 0.091,
        "per_class": _per_class(classes, value), "confusion": confusion, "calibration": {"ece": 0.0167, "bins": bins},
    }  # fmt: skip


def _gain(control: str, points: float, low: float, high: float, verdict: str, seeds: int) -> dict[str, Any]:
    verdict, plural = (verdict, "s") if seeds > 1 else ("unresolved", "")
    return {"control": control, "points": points, "low": low, "high": high, "verdict": verdict,
            "per_seed": [points + s - (seeds - 1) / 2 for s in range(seeds)], "more_seeds": None,
            "detail": f"{seeds} seed{plural}, 60 test rows"}  # fmt: skip


def _latency(median: float) -> dict[str, Any]:
    return {"min": median * 0.8, "median": median, "p95": median * 1.7, "calls": 1000, "threads": 1, "batch": 1,
            "source": "measured"}  # fmt: skip


def _log(shift: int, arm: str) -> list[dict[str, Any]]:
    out = []
    for epoch in range(1, 13):
        terms: dict[str, Any] = {"hard-label": {"loss": 2.3 / epoch, "weight": 1.0, "share": None}}
        if arm == "student":
            terms = {
                "soft-label": {"loss": 2.0 / epoch, "weight": 0.9, "temperature": 4.0 - epoch / 4, "share": 0.8},
                "hard-label": {"loss": 2.3 / epoch, "weight": 0.1, "share": 0.2},
            }
        out.append({"step": 36 * epoch, "epoch": float(epoch), "loss": 2.2 / epoch, "steps_per_second": 100.0,
                    "validation": 0.9 - 0.7 / (epoch + shift), "learning_rate": 0.01 / epoch, "terms": terms})  # fmt: skip
    return out
