"""Blocks that text families share. Imported inside `build` only: this file loads torch. Shapes: B rows, T tokens, C channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's own name

from potstill.models._blocks import Act, TransformerBlock


def embedding(num_tokens: int, dim: int) -> nn.Embedding:
    """Return an embedding whose id 0, padding, is and stays zero."""
    found = nn.Embedding(num_tokens, dim, padding_idx=0)
    nn.init.normal_(found.weight, std=0.1)
    with torch.no_grad():
        found.weight[0].zero_()
    return found


def mask_of(ids_BT: Tensor) -> Tensor:
    """Return [B, T, 1] float32: 1 where there is a token, 0 where the text has ended."""
    return (ids_BT > 0).to(torch.float32).unsqueeze(2)


def pooled(x_BTC: Tensor, mask_BT1: Tensor) -> Tensor:
    """Return [B, 2 C]: the largest value over a text's tokens, and their mean; padding counts for neither."""
    num = mask_BT1.sum(dim=1).clamp(min=1.0)
    highest = (x_BTC * mask_BT1 - 1e4 * (1 - mask_BT1)).amax(dim=1)
    some = mask_BT1.amax(dim=1)  # 0 for a text without a token, whose highest value must not be -1e4
    return torch.cat([highest * some, (x_BTC * mask_BT1).sum(dim=1) / num], dim=1)


class TextCnn(nn.Module):
    """Convolutions of several widths over embeddings, side by side."""

    def __init__(self, num_tokens: int, num_classes: int, *, dim: int, width: int, kernels: tuple[int, ...],
                 dropout: float) -> None:  # fmt: skip
        super().__init__()
        self.embed = embedding(num_tokens, dim)
        self.convolutions = nn.ModuleList(nn.Conv1d(dim, width, k, padding=k // 2) for k in kernels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width * len(kernels), num_classes)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """[B, T] ids -> logits [B, K]."""
        mask, length = mask_of(ids_BT), ids_BT.shape[1]
        x = (self.dropout(self.embed(ids_BT)) * mask).transpose(1, 2)
        seen = [F.relu(conv(x))[:, :, :length].transpose(1, 2) for conv in self.convolutions]
        out: Tensor = self.head(self.dropout(torch.cat([pooled(h, mask) for h in seen], dim=1)))
        return out


class TextGru(nn.Module):
    """A GRU forwards and one backwards; the second reads each text from its own last token, not from the padding."""

    def __init__(self, num_tokens: int, num_classes: int, *, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = embedding(num_tokens, dim)
        self.forwards = nn.GRU(dim, width, batch_first=True)
        self.backwards = nn.GRU(dim, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """[B, T] ids -> logits [B, K]."""
        mask, length = mask_of(ids_BT), ids_BT.shape[1]
        num = mask.sum(dim=1).to(torch.int64)
        turned = (num - 1 - torch.arange(length, device=ids_BT.device).unsqueeze(0)).clamp(min=0)
        # Past its end a turned text repeats its first token; the mask leaves that out of what is pooled.
        reverse = torch.gather(ids_BT.to(torch.int64), 1, turned)
        parts = [pooled(gru(self.dropout(self.embed(ids)))[0], mask)
                 for gru, ids in ((self.forwards, ids_BT), (self.backwards, reverse))]  # fmt: skip
        out: Tensor = self.head(self.dropout(torch.cat(parts, dim=1)))
        return out


class TextTransformer(nn.Module):
    """A small encoder with learnt positions that pools its tokens."""

    def __init__(
        self, num_tokens: int, num_classes: int, length: int, *, dim: int, depth: int, heads: int, hidden: int,
        dropout: float, act: Act,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embed = embedding(num_tokens, dim)
        self.position = nn.Parameter(torch.randn(1, length, dim) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, hidden, act) for _ in range(depth))
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.head = nn.Linear(2 * dim, num_classes)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """[B, T] ids -> logits [B, K]."""
        mask = mask_of(ids_BT)
        unseen = ((mask - 1) * 1e4).transpose(1, 2).unsqueeze(1)  # [B, 1, 1, T], added to attention's scores
        x = self.dropout(self.embed(ids_BT) + self.position)
        for block in self.blocks:
            x = block(x, unseen)
        out: Tensor = self.head(self.dropout(pooled(self.norm(x), mask)))
        return out
