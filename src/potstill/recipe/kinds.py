"""Do the sections of a recipe speak of one kind of sample, and of one kind of output?"""

from __future__ import annotations

from potstill.core.samples import SampleKind
from potstill.models import ModelSpec
from potstill.models import registry as models
from potstill.recipe.model import Recipe
from potstill.tasks import registry as tasks

Where = tuple[str | int, ...]


def kind_faults(recipe: Recipe) -> list[tuple[Where, str]]:
    """Return (path, message) for each section that reads or gives something else than the task is about."""
    task, given = recipe.task, recipe.data.gives()
    out: list[tuple[Where, str]] = []
    if given not in task.reads:
        fits = ", ".join(kind for kind, spec in tasks.items() if given in spec.reads)
        return [(("task", "kind"), f"{task.kind!r} is about {' or '.join(task.reads)}, and data of kind {recipe.data.kind!r} "
                 f"gives {given}. Use one of: {fits}")]  # fmt: skip
    for i, op in enumerate(recipe.augment):
        if given not in op.reads:
            out.append((("augment", i, "kind"), f"{op.kind!r} changes {' or '.join(op.reads)}, and the data gives {given}. "
                        "Leave it out"))  # fmt: skip
    if recipe.teacher.reads() != given:
        out.append((("teacher",), _own(recipe.teacher.kind, recipe.teacher.reads(), given)))
    for i, control in enumerate(recipe.controls):
        if task.output != "classes" and control != "hard-label":
            out.append((("controls", i), f"{control!r} is of classes, and a task of kind {task.kind!r} asks for {task.output}. "
                        "Use hard-label: training on the truth alone"))  # fmt: skip
    if task.output != "tokens":
        out += _model_faults(("student",), recipe.student, task.output, given)
        model = getattr(recipe.teacher, "model", None)
        if isinstance(model, ModelSpec) and recipe.teacher.reads() == given:
            out += _model_faults(("teacher", "model"), model, task.output, given)
    return out


def _own(kind: str, reads: SampleKind, given: SampleKind) -> str:
    return (
        f"{kind!r} reads {reads}, and the data gives {given}. Use one that reads {given}, or for your own set input: "
        f"{{kind: {given}}}"
    )


def _model_faults(where: Where, model: ModelSpec, output: str, given: SampleKind) -> list[tuple[Where, str]]:
    if model.input.kind != given:
        return [(where, _own(model.kind, model.input.kind, given))]
    if output == "flags":  # as many logits as there are classes
        output = "classes"
    if output not in model.gives:
        fits = ", ".join(kind for kind, spec in models.items() if output in spec.gives)
        return [((*where, "kind"), f"{model.kind!r} gives {' or '.join(model.gives)}, and the task asks for {output}. Use one "
                 f"of: {fits}")]  # fmt: skip
    return []
