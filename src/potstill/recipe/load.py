"""Read a recipe: every fault at once, each with its place, what was given, what is allowed, the nearest name."""

from __future__ import annotations

import sys
import typing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from potstill.core.errors import RecipeError, nearest
from potstill.recipe.kinds import kind_faults
from potstill.recipe.model import Recipe
from potstill.recipe.positions import Document, parse
from potstill.stages import StepJob, StepSpec
from potstill.stages.verdict import device_faults

_MAX_BYTES = 1_000_000


def load(path: Path) -> Recipe:
    """Return the recipe in a YAML file; paths in it are relative to its folder, whose modules can be imported.

    Raises:
        RecipeError: one message per fault.
    """
    try:
        if path.is_dir():
            raise RecipeError([f"{path}: must be a YAML file; got a folder."])
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise RecipeError([f"{path}: must be at most {_MAX_BYTES} bytes; got {len(data)}."])
        text = data.decode("utf-8-sig")
    except FileNotFoundError as err:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise RecipeError([f"{path}: must be a file that exists; got none. {near}"
                           "Write one: potstill init image-classification --data FOLDER"]) from err  # fmt: skip
    except UnicodeDecodeError as err:
        raise RecipeError([f"{path}: must be UTF-8 text; got byte {data[err.start]:#04x} at {err.start}."]) from err
    except OSError as err:
        raise RecipeError([f"{path}: must be readable; got {err.strerror}."]) from err
    return from_text(text, str(path), path.resolve().parent)


def from_text(text: str, file: str, base: Path) -> Recipe:
    """Return the recipe in `text`; `file` names it in messages, `base` is what its paths are relative to."""
    document = parse(text, file)
    if not isinstance(document.value, dict):
        raise RecipeError([f"{file}:1:1 must be a mapping; got {type(document.value).__name__}."])
    if str(base) not in sys.path:
        sys.path.insert(0, str(base))
    try:
        recipe = Recipe.model_validate(document.value, context={"base": base})
    except ValidationError as err:
        raise RecipeError(faults_of(err, document)) from err
    except RecursionError as err:
        raise RecipeError([f"{file}:1:1 must not be nested this deeply."]) from err
    check(recipe, document)
    return recipe


def check(recipe: Recipe, document: Document | None = None) -> None:
    """Look for what cannot work although each section alone is right. Raises RecipeError with every fault."""
    faults = []
    job = StepJob(
        task=recipe.task, student=recipe.student, teacher=recipe.teacher, labels=recipe.labels, augment=recipe.augment,
        seed=recipe.seed, augment_seed=recipe.seed, control=None, controls=recipe.controls, features=recipe.features,
    )  # fmt: skip
    document = document or Document("recipe")
    for path, message in kind_faults(recipe):
        faults.append(f"{document.where(path)} {_dotted(path)}: {message}.")
    if faults:  # what follows would only say the same in other words
        raise RecipeError(faults)
    for i, step in enumerate(recipe.steps):
        for path, message in step.faults(replace(job, before=recipe.steps[:i])):
            whole = ("steps", i, *path)
            faults.append(f"{document.where(whole)} {_dotted(whole)}: {message}.")
        place: tuple[str | int, ...] = ("steps", i, "kind")
        if step.is_last() and i + 1 < len(recipe.steps):
            faults.append(f"{document.where(place)} {_dotted(place)}: {step.kind!r} must be the last step; got steps after it, which "
                          "would train the student in float again. Move it to the end.")  # fmt: skip
        if (
            step.starts_trained()
            and recipe.student.weights is None
            and all(s.teaches() is not None for s in recipe.steps[:i])
        ):
            faults.append(f"{document.where(place)} {_dotted(place)}: {step.kind!r} needs a trained student; got none. Add a step "
                          "before it, such as distill, or set student.weights.")  # fmt: skip
        job = replace(job, teacher=step.teaches() or job.teacher)
        if step.teaches() is not None and not _learns(recipe.steps[i + 1 :]):
            place = ("steps", i, "assistant")
            faults.append(f"{document.where(place)} {_dotted(place)}: nothing learns from this assistant. Add a step after it "
                          "that trains the student on its labels or features, such as {kind: distill, objectives: [{kind: "
                          "soft-label}]}.")  # fmt: skip
    if recipe.features.mode == "stored" and not any(o.needs().taps for step in recipe.steps for o in step.terms()):
        where = document.where(("features", "mode"))
        faults.append(f"{where} features.mode: must be live where no objective reads features; got 'stored'. Nothing would "
                      "be stored. Add an objective on features, or leave this out.")  # fmt: skip
    if recipe.features.mode == "stored" and any(step.teaches() is not None for step in recipe.steps):
        where = document.where(("features", "mode"))
        faults.append(f"{where} features.mode: must be live where an assistant teaches; got 'stored', which keeps the features "
                      "of the recipe's own teacher. Leave this out.")  # fmt: skip
    for path, message in device_faults(recipe.devices, recipe.export):
        faults.append(f"{document.where(('devices', *path))} {_dotted(('devices', *path))}: {message}.")
    if faults:
        raise RecipeError(faults)


def _learns(steps: Sequence[StepSpec]) -> bool:
    """Return whether one of the steps up to the next assistant, that one included, reads its teacher, and a student comes."""
    last = next((i for i, step in enumerate(steps) if step.teaches() is not None), len(steps) - 1)
    return any(
        step.reads_teacher() or any(o.needs().taps is not None for o in step.terms()) for step in steps[: last + 1]
    )


def faults_of(error: ValidationError, document: Document) -> list[str]:
    """Return one message per place that is wrong, in the file's order."""
    by_path: dict[tuple[str | int, ...], list[tuple[dict[str, Any], str]]] = {}
    for item in error.errors(include_url=False):
        path = _path_of(item["loc"], document.value)
        by_path.setdefault(path, []).append((dict(item), _message(dict(item), path, document)))
    messages: list[tuple[tuple[int, int], str]] = []
    for path, items in by_path.items():
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in by_path)
        # A union of a number and a mapping reports both; a mapping that is wrong inside needs only the inside.
        if deeper and all(item["type"].endswith("_type") or item["type"] == "too_short" for item, _ in items):
            continue
        if isinstance(items[0][0].get("input"), dict):  # where a number will do too: what was meant is a section
            items = [(item, text) for item, text in items if item["type"] != "float_type"] or items
        if len(items) > 1 and any(
            "schedule" in text or item["type"] == "model_attributes_type" for item, text in items
        ):
            texts = [f"must be a number or a schedule such as {{kind: linear, start: 4, end: 1}}; "
                     f"got {_short(items[0][0].get('input'))}"]  # fmt: skip
        else:
            texts = list(dict.fromkeys(text for _, text in items))[:1]
        is_key = items[0][0]["type"] == "extra_forbidden"
        place = document.at_key(path) if is_key else document.where(path)
        line, column = (int(n) for n in place.rsplit(":", 2)[1:])
        messages += [((line, column), f"{place} {_dotted(path) or 'recipe'}: {text}.") for text in texts]
    return [text for _, text in sorted(messages)]


def _path_of(loc: tuple[str | int, ...], value: Any) -> tuple[str | int, ...]:
    """Drop what pydantic puts into a location beside keys and indices: union tags and validator names."""
    path: list[str | int] = []
    for i, part in enumerate(loc):
        if isinstance(value, dict) and part in value:
            value = value[part]
            path.append(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            path.append(part)
        elif isinstance(value, dict) and i == len(loc) - 1 and isinstance(part, str) and part.isidentifier() \
                and part not in ("float", "int", "str") and value.get("kind") != part:  # fmt: skip
            path.append(part)
    return tuple(path)


def _message(item: dict[str, Any], path: tuple[str | int, ...], document: Document) -> str:
    kind, context = item["type"], item.get("ctx", {})
    given = _short(item.get("input"))
    if kind == "extra_forbidden":
        fields = sorted(_spec_at(item["loc"][:-1]))
        return f"is not a field here. {nearest(str(path[-1]), fields)}Allowed: {', '.join(fields)}"
    if kind == "missing":
        return "is required; got nothing"
    if kind == "union_tag_invalid":
        allowed = [t.strip().strip("'") for t in str(context["expected_tags"]).split(", ")]
        tag = str(context["tag"])
        return f"kind must be one of the kinds there are; got {tag!r}. {nearest(tag, allowed)}Allowed: " + ", ".join(
            allowed
        )
    if kind == "union_tag_not_found":
        return f"needs a 'kind'; got {given}"
    if kind == "literal_error":
        allowed = [t.strip().strip("'") for t in str(context["expected"]).replace(" or ", ", ").split(", ")]
        near = nearest(str(item.get("input")), allowed)
        return f"must be {context['expected']}; got {given}. {near}".rstrip(". ")
    if kind == "value_error":
        return str(context.get("error", item["msg"])).rstrip(".")
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}; got {given}"
    text = item["msg"][0].lower() + item["msg"][1:]
    return f"{text.replace('input should be', 'must be').replace('input should', 'must')}; got {given}"


def _spec_at(loc: tuple[str | int, ...]) -> set[str]:
    """Return the field names allowed at a location, following fields and union tags from the root."""
    candidates: list[type[BaseModel]] = [Recipe]
    for part in loc:
        if isinstance(part, int):
            continue
        tagged = [
            c
            for c in candidates
            if "kind" in c.model_fields and part in typing.get_args(c.model_fields["kind"].annotation)
        ]
        if tagged:
            candidates = tagged
            continue
        fields = [c.model_fields[part] for c in candidates if part in c.model_fields]
        candidates = [m for f in fields for m in _models_in([f.annotation, *f.metadata])] or candidates
    return {name for c in candidates for name in c.model_fields}


def _models_in(annotations: list[Any]) -> list[type[BaseModel]]:
    out: list[type[BaseModel]] = []
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            out.append(annotation)
        else:
            out += _models_in(list(typing.get_args(annotation)))
    return out


def _dotted(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
