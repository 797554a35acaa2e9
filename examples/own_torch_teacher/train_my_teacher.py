"""Train the teacher in a loop of one's own and keep its weights as a .pth, as people do.

Usage: python train_my_teacher.py my_teacher.pth
"""

import sys

import torch
from my_teacher import MyTeacher
from sklearn.datasets import load_digits
from torch.nn import functional as F


def main(out: str) -> None:
    """Train for a few seconds."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = (torch.from_numpy(images).float().view(-1, 1, 8, 8) / 16 - 0.3) / 0.37
    y = torch.from_numpy(labels).long()
    teacher = MyTeacher()
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=2e-3)
    for step in range(300):
        rows = torch.randint(0, len(x), (64,), generator=torch.Generator().manual_seed(step))
        loss = F.cross_entropy(teacher(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save({"state_dict": teacher.state_dict(), "epoch": 17}, out)


if __name__ == "__main__":
    main(sys.argv[1])
