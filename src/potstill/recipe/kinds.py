"""Do the sections of a recipe speak of one kind of sample, and of one kind of output?"""

from __future__ import annotations

from potstill.core.errors import nearest
from potstill.core.samples import SampleKind
from potstill.data.corrupt.rows import corruptions_of
from potstill.models import ModelSpec
from potstill.models import registry as models
from potstill.models.inputs.pair import PairInput
from potstill.recipe.model import Recipe
from potstill.stages._controls import CONTROLS
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
    if recipe.data.pairs() != (task.output == "tokens"):
        fits = ", ".join(
            kind
            for kind, spec in tasks.items()
            if (spec.output == "tokens") == recipe.data.pairs() and given in spec.reads
        )
        has = "gives pairs of texts" if recipe.data.pairs() else "has no texts to be written"
        return [
            (
                ("task", "kind"),
                f"{task.kind!r} asks for {task.output}, and data of kind {recipe.data.kind!r} {has}. Use one of: {fits}",
            )
        ]
    for i, op in enumerate(recipe.augment):
        if given not in op.reads:
            out.append((("augment", i, "kind"), f"{op.kind!r} changes {' or '.join(op.reads)}, and the data gives {given}. "
                        "Leave it out"))  # fmt: skip
    if recipe.teacher.reads() != given:
        out.append((("teacher",), _own(recipe.teacher.kind, recipe.teacher.reads(), given)))
    for i, control in enumerate(recipe.controls):
        allowed = (
            CONTROLS
            if task.output == "classes"
            else ("hard-label", "label-smoothing")
            if task.output == "tokens"
            else ("hard-label",)
        )
        if control not in allowed:
            out.append((("controls", i), f"{control!r} is of classes, and a task of kind {task.kind!r} asks for {task.output}. "
                        "Use hard-label: training on the truth alone"))  # fmt: skip
    known = tuple(corruptions_of(given))
    for i, name in enumerate(() if recipe.robustness is None else recipe.robustness.names(given)):
        if name not in known:
            out.append((("robustness", "corruptions", i), f"must be a corruption of {given} samples; got {name!r}. "
                        f"{nearest(name, known)}Known: {', '.join(known)}"))  # fmt: skip
    out += _model_faults(("student",), recipe.student, task.output, given)
    model = getattr(recipe.teacher, "model", None)
    if isinstance(model, ModelSpec) and recipe.teacher.reads() == given:
        out += _model_faults(("teacher", "model"), model, task.output, given)
    if task.output == "tokens" and not out:
        out += _token_faults(recipe, model)
    return out


def _token_faults(recipe: Recipe, model: ModelSpec | None) -> list[tuple[Where, str]]:
    """Return what does not fit of tokens: where terms compare them, both models must make the same ones."""
    ours, theirs = recipe.student.input, None if model is None else model.input
    out: list[tuple[Where, str]] = []
    models_of: list[tuple[Where, object]] = [
        (("student",), ours),
        *([(("teacher", "model"), theirs)] if model is not None else []),
    ]
    for where, given in models_of:
        if not isinstance(given, PairInput):
            out.append(
                (
                    (*where, "input"),
                    "must make tokens of both texts, for a model that writes one of them. Say writes: true in it",
                )
            )
    if model is None:
        out.append((("teacher", "kind"), "must be a model trained here or of the zoo that writes, for its tokens to be fed. Use kind: "
                    "train, with a model of kind encoder-decoder or torch"))  # fmt: skip
    if not isinstance(ours, PairInput) or not isinstance(theirs, PairInput):
        return out
    codec = recipe.labels.codec
    for i, step in enumerate(recipe.steps):
        for j, term in enumerate(step.terms()):
            needs = term.needs()
            where = ("steps", i, "objectives", j, "kind")
            compares = needs.teacher == "logits" or needs.taps is not None
            if compares and not ours.shares_tokens(theirs):
                out.append((where, f"{term.kind!r} compares tokens, and the inputs of student and teacher make different ones. Give "
                            "both the same vocabulary_size, max_tokens and lowercase, or use sequence-level"))  # fmt: skip
            if needs.teacher == "logits" and getattr(codec, "length", ours.max_tokens) != ours.max_tokens:
                out.append((("labels", "codec", "length"), f"must be the models' input.max_tokens, {ours.max_tokens}"))
            if needs.labels and codec.tokens and any(t.needs().teacher == "tokens" for t in step.terms()):
                out.append((where, f"{term.kind!r} reads the true text, and sequence-level feeds the student what the teacher "
                            "wrote. Use one of them a step; a later step may go on with the other"))  # fmt: skip
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
