"""What results.json says of corrupted samples, made up but whole."""

from __future__ import annotations

from typing import Any

_MODELS = {"teacher": "train", "control": "hard-label", "student": "student", "onnx": "student.onnx"}


def robustness(names: tuple[str, ...] = ("noise", "band-loss", "clock-skew"), *, unit: str = "share") -> dict[str, Any]:
    """Return four sides on some corruptions at two severities; of a share also calibration and rejection."""
    sides = []
    for i, (side, model) in enumerate(_MODELS.items()):
        top = 0.95 - 0.04 * i

        def cell(value: float, **more: float) -> dict[str, Any]:
            return {"value": value, "low": value - 0.04, "high": min(1.0, value + 0.03), "unit": unit, **more}

        classes = unit == "share"
        sides.append({
            "side": side, "model": model, "source": "measured", "clean": cell(top), "mean": cell(top - 0.2),
            "corruptions": {n: {"1": cell(top - 0.1, consistency=0.9), "5": cell(top - 0.3 - 0.1 * k, consistency=0.6)}
                            for k, n in enumerate(names)},
            "consistency": {"first": 0.9, "mean": 0.75},
            "ece": {"clean": 0.021, "corrupted": 0.134} if classes else None,
            "rejection": {"clean": 0.951, "corrupted": 0.842} if classes else None,
            "corruption_error": {"ce": dict.fromkeys(names, 1.0 + i), "left_out": [],
                                 "mce": {"value": 1.0 + i, "low": 0.8 + i, "high": 1.3 + i}},
        })  # fmt: skip
    return {
        "seed": 0,
        "rows": 500,
        "judged_rows": 480,
        "groups": None,
        "severities": [1, 5],
        "corruptions": list(names),
        "sides": sides,
    }


def without_ratio(found: dict[str, Any]) -> dict[str, Any]:
    """Return the same where the teacher makes no error under any corruption, and intervals go by groups."""
    for side in found["sides"]:
        error = side["corruption_error"]
        error |= {"ce": dict.fromkeys(error["ce"]), "left_out": list(error["ce"]), "mce": None}
    return found | {"groups": 9}


def timing(*, teacher: bool = True) -> dict[str, Any]:
    """Return what results.json says of one artifact's time, from the row to the answer and further."""

    def spread(median: float, **more: Any) -> dict[str, Any]:
        return {"min": 0.8 * median, "median": median, "p95": 1.7 * median, "calls": 900, **more}

    def model(each: float) -> dict[str, Any]:
        parts = {name: spread(each) for name in ("read", "preprocess", "infer", "postprocess")}
        energy = {"value": 0.75, "source": "measured"}
        return spread(4 * each, parts=parts, cpu_ms=4 * each, cpu_per_wall=0.98, energy_mj=energy)

    student = model(0.01) | ({"ratio": {"value": 0.5, "low": 0.45, "high": 0.55}} if teacher else {})
    return {
        "models": {"student": student, **({"teacher": model(0.02)} if teacher else {})},
        "threads": [spread(0.01 * n, threads=n, cpu_ms=0.015 * n, cpu_per_wall=0.75 * n) for n in (1, 2)],
        "sustained": {"seconds": 60.0, "window_s": 10, "calls": 1_400_000, "first_ms": 0.04, "last_ms": 0.05,
                      "slower": {"value": 1.25, "low": 1.2, "high": 1.3}, "cpu_per_wall": 0.99,
                      "per_second_ms": [0.04 + 0.0002 * s for s in range(60)]},
        "cold_start": {"runtime_ms": 220.0, "load_ms": 15.0, "first_ms": 5.0, "total_ms": 240.0, "min_ms": 230.0, "max_ms": 260.0,
                       "starts": 5, "source": "measured"},
        "rows": 64, "source": "measured",
    }  # fmt: skip
