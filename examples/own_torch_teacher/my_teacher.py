"""A teacher that somebody trained long ago, in a module of their own."""

from torch import Tensor, nn


class MyTeacher(nn.Module):
    """A plain convolutional network for 8 by 8 pictures."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Linear(width * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pixels [B, 1, 8, 8] -> logits [B, 10]."""
        out: Tensor = self.classifier(self.features(x))
        return out
