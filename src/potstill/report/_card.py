"""What the model card says beside the tables, and the card for machines."""

from __future__ import annotations

from typing import Any

from potstill.core.samples import FORMS, SampleKind

NAME = "model_card.json"
_ABOUT = ("name", "description", "task", "metric", "created", "potstill")


def limits(results: dict[str, Any]) -> list[str]:
    """Return what is not known of the student, one sentence each."""
    kind: SampleKind = (results.get("data") or {}).get("sample") or "image"
    noun = FORMS[kind].noun
    out = [f"It was tested on {'series' if noun == 'series' else noun + 's'} like those of its training data only: nothing is known of "
           "others."]  # fmt: skip
    if results.get("artifacts"):
        out.append(
            f"Latency and memory were measured on {results['environment']['cpu']}: on other machines they are others."
        )
    open_ones = [f"{v['device']} ({v['file']})" for v in results.get("verdicts") or [] if v["verdict"] == "unknown"]
    if open_ones:
        out.append(f"Whether it fits is unknown of {', '.join(open_ones)}.")
    return out


def record(results: dict[str, Any]) -> dict[str, Any]:
    """Return the card in JSON values: data, teacher, recipe, digests, results and limits, as results.json has them."""
    student, artifacts = results.get("student") or {}, results.get("artifacts") or []
    models, teacher = results.get("models") or {}, results.get("teacher") or {}
    return {
        "schema": 1,
        **{name: results.get(name) for name in _ABOUT},
        "data": results.get("data"),
        "classes": results.get("classes"),
        "teacher": {**(models.get("teacher") or {}), **{k: teacher.get(k) for k in ("kind", "saw_hidden_labels", "accuracy")}},
        "student": models.get("student"),
        "recipe": results.get("recipe"),
        "results": {
            "arms": [{k: a[k] for k in ("name", "control", "accuracy", "seeds", "steps")} for a in results.get("arms") or []],
            "gains": results.get("gains") or [],
            "artifacts": [
                {k: a.get(k) for k in ("format", "file", "bytes", "accuracy", "latency_ms", "peak_memory_bytes", "parity")}
                for a in artifacts
            ],
            "devices": results.get("verdicts") or [],
        },
        "digests": {
            "run": results.get("recipe_sha256"),
            "data": (results.get("data") or {}).get("digest"),
            "student.safetensors": student.get("sha256"),
            **{name: f["sha256"] for a in artifacts for name, f in a["files"].items()},
        },
        "limits": [*limits(results), *(note["text"] for note in results.get("notes") or [])],
    }  # fmt: skip
