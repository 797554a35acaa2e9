"""The losses and the label store in your own training loop.

Usage: python own_loop.py RUN_FOLDER      # a finished run of recipes/digits.yaml, whose labels are read
"""

import sys

import numpy as np
import torch
from torch import nn

import potstill as ps


def main(run: str) -> float:
    """Train a student on cached labels and return its last loss."""
    labelled = ps.open_labels(run)  # every shard's SHA-256 is checked here
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, labelled.store.width))
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    loss = torch.tensor(0.0)
    for step in range(400):
        rows, view = rng.integers(0, len(labelled.split), 64), step % labelled.store.views
        batch, teacher = labelled.batch(rows, view), labelled.teacher(rows, view)
        loss = ps.soft_label(student(batch.inputs_BX), teacher.logits(), temperature=2.0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.3f}")
    return loss.item()


if __name__ == "__main__":
    main(sys.argv[1])
