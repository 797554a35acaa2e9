"""The same from Python, with your own modules and arrays.

Usage: python from_python.py my_teacher.safetensors
"""

import sys

from my_teacher import MyTeacher
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

import potstill as ps


class MyStudent(nn.Sequential):
    """Two thousand parameters."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 16, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, 10),
        )  # fmt: skip


def main(weights: str) -> None:
    """Distil and say what came of it."""
    images, labels = load_digits(return_X_y=True)
    data = ps.arrays(images.reshape(-1, 8, 8) / 16, labels)
    teacher = MyTeacher()
    teacher.load_state_dict(load_file(weights))
    run = ps.distill(
        data, teacher=teacher, student=MyStudent, epochs=10, batch_size=64, learning_rate=5e-3, seeds=2, out="runs/mine"
    )
    print(run.verdict)
    print(run.folder / "report.html")


if __name__ == "__main__":
    main(sys.argv[1])
