"""A teacher in a user's own module, named by import path in recipes."""

from __future__ import annotations

from torch import nn


def make() -> nn.Module:
    """Return the module whose weights `_faults_runs.teacher_files` writes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 10, bias=False))
