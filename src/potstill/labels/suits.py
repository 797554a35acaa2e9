"""Whether labels that are kept in a codec suit an objective."""

from __future__ import annotations

from potstill.labels.codecs import CodecSpec
from potstill.labels.codecs import registry as codecs
from potstill.objectives import ObjectiveSpec


def codec_faults(objective: ObjectiveSpec, codec: CodecSpec) -> list[tuple[tuple[str, ...], str]]:
    """Return (path within the objective, message) for what it cannot read of labels kept in this codec."""
    needs = objective.needs()
    if needs.teacher == "nothing":
        return []
    out: list[tuple[tuple[str, ...], str]] = []
    if codec.tokens != (needs.teacher == "tokens"):
        allowed = ", ".join(kind for kind, spec in codecs.items() if spec.tokens != codec.tokens)
        read = "logits" if needs.teacher == "either" else needs.teacher
        return [(("kind",), f"{objective.kind!r} reads the teacher's {read}, which labels kept as {codec.kind!r} are "
                 f"not. Set labels.codec to one of: {allowed}")]  # fmt: skip
    if codec.per_token != ("tokens" in objective.teaches) and not codec.dense:
        allowed = ", ".join(kind for kind, spec in codecs.items() if spec.dense and not spec.tokens)
        return [(("kind",), f"{objective.kind!r} cannot read labels kept as {codec.kind!r}, which {'keeps' if codec.per_token else 'does not keep'} "
                 f"each token by itself. Set labels.codec to one of: {'token-topk, ' if not codec.per_token else ''}{allowed}")]  # fmt: skip
    if objective.dense and not (codec.dense or codec.per_token):
        allowed = ", ".join(kind for kind, spec in codecs.items() if spec.dense and not spec.tokens)
        out.append((("kind",), f"{objective.kind!r} cannot read labels kept as {codec.kind!r}. "
                    f"Set labels.codec to one of: {allowed}"))  # fmt: skip
    if needs.temperatures is None and not codec.serves(0.123456, needs.standardized):
        out.append(((), f"its temperature changes over training, which labels kept as {codec.kind!r} cannot serve. Use a "
                    "constant temperature or another codec"))  # fmt: skip
    for temperature in needs.temperatures or ():
        if not codec.serves(temperature, needs.standardized):
            out.append((("temperature",), f"T={temperature} must be declared in labels.codec.temperatures of "
                        f"{codec.kind!r}. Add it there"))  # fmt: skip
    return out
