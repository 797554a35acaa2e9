"""How a model is trained: lengths, optimiser, learning rate. The loop itself lives in `train`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.core.spec import Spec


class TrainSpec(Spec):
    """Settings of one training; every default is stated in steps or epochs."""

    epochs: int = Field(default=30, ge=1)
    """Passes over the training rows. Controls take the same number of optimiser steps."""
    batch_size: int = Field(default=128, ge=2)
    """Rows in one optimiser step, over all processes."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """uniform: every row once a pass; balanced: a pass of as many rows in which every class is as frequent, rows of rare classes
    several times and those of common ones not always; rows without a label keep their share."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (decoupled decay), or SGD with Nesterov momentum."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate, per step."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Decay of weights of two or more dimensions; biases and norms are left alone."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD's momentum, AdamW's beta 1."""
    lr_schedule: Literal["cosine", "constant", "linear"] = "cosine"
    """Factor of the learning rate after the warm-up, down to 0 (constant: stays 1)."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps over which the learning rate rises linearly from 0."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, per step; it is then what is kept. None: off."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Upper bound of the gradient's global L2 norm; None: off."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the forward pass under autocast; weights stay float32."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a better validation score; None: train to the end."""
    keep: Literal["best", "last"] = "last"
    """Which weights are kept: best on validation, or the last. With `patience`, always the best."""
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between evaluations on the validation rows."""
