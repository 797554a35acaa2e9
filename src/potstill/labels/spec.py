"""The recipe's `labels:` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.core.spec import Spec
from potstill.labels.codecs import AnyCodec
from potstill.labels.codecs.float16 import Float16Spec


class LabelsSpec(Spec):
    """How teacher outputs are kept."""

    mode: Literal["stored", "live"] = "stored"
    """stored: the teacher runs once and is read from disk; live: it runs again each epoch. Same bits either way."""
    views: int = Field(default=1, ge=1)
    """Augmented versions of each row that are labelled; training cycles through them, one a pass."""
    codec: AnyCodec = Field(default_factory=Float16Spec)
    """How each row is kept."""
