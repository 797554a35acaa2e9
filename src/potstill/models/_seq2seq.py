"""An encoder-decoder Transformer in plain matrix products. Imported inside `build` only: this file loads torch. Shapes: B rows, S
tokens of the source, T of what is written, L of either where both are padded alike, C channels, K tokens to choose from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from potstill.models._blocks import Act, TransformerBlock

_NEVER = -1e4
"""Added to the score of what must not be looked at."""


class CrossAttention(nn.Module):
    """Attention of what is written to the source, with places to tap as in SelfAttention.

    Args:
        dim: token width, a multiple of `heads`.
        heads: attention heads, of a fixed width as in SelfAttention.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.head_width = dim // heads
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(dim, dim)

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.out.in_features // self.head_width

    def of_source(self, source_BSC: Tensor) -> Tensor:
        """Return keys and values [2, B, heads, S, C / heads]."""
        num = source_BSC.shape[1]
        heads: Tensor = self.kv(source_BSC).reshape(-1, num, 2, self.heads, self.head_width)
        return heads.permute(2, 0, 3, 1, 4)

    def forward(self, x_BTC: Tensor, keys_values: Tensor | tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]; `bias` [B, 1, 1, S] is added to the scores."""
        num = x_BTC.shape[1]
        q = self.q(x_BTC).reshape(-1, num, self.heads, self.head_width).transpose(1, 2)
        scores = q @ keys_values[0].transpose(-2, -1) * self.head_width**-0.5 + bias
        mixed = (self.softmax(scores) @ keys_values[1]).transpose(1, 2).reshape(-1, num, self.heads * self.head_width)
        out: Tensor = self.out(mixed)
        return out


class EncoderBlock(TransformerBlock):
    """A Transformer block whose branches are dropped out before they are added."""

    def __init__(self, dim: int, heads: int, hidden: int, act: Act, dropout: float) -> None:
        super().__init__(dim, heads, hidden, act)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTC: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, S, C] -> [B, S, C]; `bias` is added to attention's scores."""
        x_BTC = x_BTC + self.dropout(self.attention(self.norm1(x_BTC), bias))
        out: Tensor = x_BTC + self.dropout(self.mlp(self.norm2(x_BTC)))
        return out


class DecoderBlock(EncoderBlock):
    """Attention to what is written, attention to the source, and a perceptron."""

    def __init__(self, dim: int, heads: int, hidden: int, act: Act, dropout: float) -> None:
        super().__init__(dim, heads, hidden, act, dropout)
        self.norm3, self.cross = nn.LayerNorm(dim), CrossAttention(dim, heads)

    def after(
        self, x_BTC: Tensor, mixed_BTC: Tensor, keys_values: Tensor | tuple[Tensor, Tensor], unseen: Tensor
    ) -> Tensor:
        """Return the block's output, of its input and what its attention to what is written gave."""
        x_BTC = x_BTC + self.dropout(mixed_BTC)
        x_BTC = x_BTC + self.dropout(self.cross(self.norm3(x_BTC), keys_values, unseen))
        out: Tensor = x_BTC + self.dropout(self.mlp(self.norm2(x_BTC)))
        return out

    def forward(self, x_BTC: Tensor, bias: Tensor, source_BSC: Tensor, unseen: Tensor) -> Tensor:  # type: ignore[override]
        """[B, T, C] -> [B, T, C]; `bias` [T, T] hides what is not written yet, `unseen` [B, 1, 1, S] the source's padding."""
        return self.after(x_BTC, self.attention(self.norm1(x_BTC), bias), self.cross.of_source(source_BSC), unseen)


class Side(nn.Module):
    """The blocks of encoder or decoder, and the norm after them."""

    def __init__(self, blocks: list[nn.Module], dim: int) -> None:
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(dim)


class EncoderDecoder(nn.Module):
    """Reads ids [B, 2, L]: the source, and after a mark what is written; 0 is padding. Gives logits [B, L, K] of what comes next.

    One embedding serves source, target and logits (Press and Wolf 2017, arXiv:1608.05859). Positions are learnt.
    """

    def __init__(
        self, num_tokens: int, length: int, *, dim: int, heads: int, hidden: int, encoder: int, decoder: int,
        dropout: float, act: Act,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embed = nn.Embedding(num_tokens, dim)
        self.scale = dim**0.5
        nn.init.normal_(self.embed.weight, std=dim**-0.5)
        self.position = nn.Parameter(torch.randn(2, length, dim) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.encoder = Side([EncoderBlock(dim, heads, hidden, act, dropout) for _ in range(encoder)], dim)
        self.decoder = Side([DecoderBlock(dim, heads, hidden, act, dropout) for _ in range(decoder)], dim)
        self.register_buffer("future", torch.full((length, length), _NEVER).triu(1), persistent=False)
        self.future: Tensor

    def forward(self, ids_B2L: Tensor) -> Tensor:
        """[B, 2, L] ids -> logits [B, L, K]."""
        source_BSC, unseen = self.encode(ids_B2L[:, 0])
        length = ids_B2L.shape[2]
        x = self._embedded(ids_B2L[:, 1], 1, 0)
        for block in self.decoder.blocks:
            x = block(x, self.future[:length, :length], source_BSC, unseen)
        return self.logits(x)

    def encode(self, source_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return (the source as the decoder reads it [B, S, C], what hides its padding [B, 1, 1, S])."""
        unseen = ((source_BS == 0).to(self.position.dtype) * _NEVER)[:, None, None, :]
        x = self._embedded(source_BS, 0, 0)
        for block in self.encoder.blocks:
            x = block(x, unseen)
        return self.encoder.norm(x), unseen

    def logits(self, x_BTC: Tensor) -> Tensor:
        """Return [B, T, K]."""
        out: Tensor = self.decoder.norm(x_BTC) @ self.embed.weight.T
        return out

    def token_masks(self, ids_B2L: Tensor, mask_BL: Tensor) -> dict[str, Tensor]:
        """Return, by the path of a part, which of the tokens that it works on are real, [B, L] bool; `mask_BL` of what is written."""
        return {"encoder": ids_B2L[:, 0] > 0, "decoder": mask_BL}

    def written(self) -> list[DecoderBlock]:
        """Return the blocks that write."""
        return list(self.decoder.blocks)  # type: ignore[arg-type]

    def parts(self) -> tuple[nn.Module, nn.Module]:
        """Return what reads and what writes a token (`models._parts`): so a text is written with a memory."""
        return Reader(self), Step(self)

    def _embedded(self, ids_BT: Tensor, side: int, place: int) -> Tensor:
        scaled = self.embed(ids_BT) * self.scale
        out: Tensor = self.dropout(scaled + self.position[side, place : place + ids_BT.shape[1]])
        return out


class Reader(nn.Module):
    """Sources [B, S] -> what hides their padding [B, 1, 1, S], then keys and values [B, heads, S, C / heads] for each block."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, source_BS: Tensor) -> tuple[Tensor, ...]:
        """Read."""
        source, unseen = self.model.encode(source_BS)
        pairs = [block.cross.of_source(source) for block in self.model.written()]
        return unseen, *(side for pair in pairs for side in (pair[0], pair[1]))


class Step(nn.Module):
    """Writes a token: keys and values of what was written are kept, and each token costs one place."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def nothing(self, rows: int) -> list[Tensor]:
        """Return what is kept before the first token: keys and values [R, heads, 0, C / heads] for each block."""
        parts = [block.attention for block in self.model.written() for _ in range(2)]
        shapes = [(rows, a.heads, 0, a.head_width) for a in parts]
        return [self.model.embed.weight.new_zeros(shape) for shape in shapes]

    def forward(self, last_R: Tensor, source: list[Tensor], kept: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the logits [R, K] of the token after `last_R`, then what is kept, longer by it.

        Args:
            last_R: the token before; its place is the length of what is kept.
            source: what `Reader` gives, [R, ...].
            kept: of the tokens before it.
        """
        x = self.model._embedded(last_R[:, None], 1, kept[0].shape[2])
        now: list[Tensor] = []
        for i, block in enumerate(self.model.written()):
            attention = block.attention
            heads, width = attention.heads, attention.head_width
            qkv = attention.qkv(block.norm1(x)).reshape(-1, 1, 3, heads, width).permute(2, 0, 3, 1, 4)
            keys, values = (torch.cat([kept[2 * i + side], qkv[1 + side]], dim=2) for side in (0, 1))
            shares = attention.softmax(qkv[0] @ keys.transpose(-2, -1) * width**-0.5)
            mixed = attention.out((shares @ values).transpose(1, 2).reshape(-1, 1, heads * width))
            x = block.after(x, mixed, (source[1 + 2 * i], source[2 + 2 * i]), source[0])
            now += [keys, values]
        return self.model.logits(x)[:, 0].float(), *now
