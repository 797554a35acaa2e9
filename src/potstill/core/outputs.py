"""Words that tasks, objectives and stores share for what a model gives. Shapes: B rows, K classes, L tokens, H horizon, V variables."""

from __future__ import annotations

from typing import Literal

TaskOutput = Literal["classes", "flags", "tokens", "values"]
"""What a task asks of a model: classes, logits [B, K] of one answer a row; flags, logits [B, K] of as many answers,
yes or no, each by itself; tokens, logits [B, L, K] of one a token; values,
numbers [B, H, V]."""

TeacherOutput = Literal["logits", "probabilities", "values", "tokens"]
"""What a store holds of the teacher: its logits or probabilities, its numbers, or the ids of tokens that it wrote."""

StoreOutput = TeacherOutput | Literal["features"]
"""What a store's rows are: final outputs, or what one place inside the teacher gives."""
