"""The recipe's `labels:` and `features:` sections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from potstill.core.spec import Spec
from potstill.labels.codecs import AnyCodec
from potstill.labels.codecs import registry as codecs
from potstill.labels.codecs.float16 import Float16Spec


class LabelsSpec(Spec):
    """How teacher outputs are kept."""

    mode: Literal["stored", "live"] = "stored"
    """stored: the teacher runs once and is read from disk; live: it runs again each epoch. Same bits either way."""
    views: int = Field(default=1, ge=1)
    """Augmented versions of each row that are labelled; training cycles through them, one a pass."""
    codec: AnyCodec = Field(default_factory=Float16Spec)
    """How each row is kept."""


class FeaturesSpec(Spec):
    """How objectives on features come by what is inside the teacher."""

    mode: Literal["live", "stored"] = "live"
    """live: the teacher runs on each batch of the student; stored: it runs once, each place that is read is kept for every
    row and view of `labels.views`, and the trainer reads it from disk. `potstill plan` says what each would cost."""
    codec: AnyCodec = Field(default_factory=Float16Spec)
    """How each row is kept, where it is stored; a codec that keeps every value."""

    @model_validator(mode="after")
    def _suits(self) -> FeaturesSpec:
        if not self.codec.dense or self.codec.tokens:
            allowed = ", ".join(kind for kind, spec in codecs.items() if spec.dense and not spec.tokens)
            raise ValueError(
                f"codec must keep every value; got {self.codec.kind!r}, made for classes. Allowed: {allowed}"
            )
        if self.mode == "live" and self.codec != Float16Spec():
            raise ValueError("codec is that of stored features, and these are live. Set mode: stored, or leave it out")
        return self
