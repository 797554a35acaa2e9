"""The convention table's lines for losses on tokens, attention and values: each library's formula as it is documented, written out
here, against our loss. Shapes: B rows, A heads, L tokens, K classes, H horizon, V variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from potstill.objectives.attention_kl import attention_kl
from potstill.objectives.hidden_l2 import hidden_l2
from potstill.objectives.multi_scale import multi_scale
from potstill.objectives.spectrum import spectrum
from potstill.objectives.token_soft_label import token_soft_label

B, A, L, K, H, V, T = 4, 3, 6, 5, 14, 2, 4.0
TABLE = Path(__file__).parents[2] / "docs" / "explanation.md"
Loss = Callable[[Tensor, Tensor], Tensor]
"""(student, teacher) -> the loss of the batch."""


def textbrewer_ce(z: Tensor, t: Tensor) -> Tensor:
    """Cross-entropy between softened distributions, over every token of the batch, padding too."""
    return -((t / T).softmax(2) * (z / T).log_softmax(2)).sum(2).mean()


def textbrewer_hidden(z: Tensor, t: Tensor) -> Tensor:
    """Mean over all elements of real tokens; here all are."""
    return (z - t).square().sum() / (z.shape[0] * z.shape[1] * z.shape[2])


def textbrewer_attention(z: Tensor, t: Tensor) -> Tensor:
    """With a mask of ones: softmax of the given scores, cross-entropy summed over heads, divided by the masks of all heads."""
    mask = torch.ones(B, A, L, dtype=z.dtype)
    return -((t.softmax(3) * z.log_softmax(3) * mask[:, :, None]).sum(3) * mask).sum() / mask.sum()


def ours_attention(z: Tensor, t: Tensor) -> Tensor:
    """Probabilities are what is tapped."""
    return attention_kl(z.softmax(3), t.softmax(3)).mean()


def authors_spectrum(z: Tensor, t: Tensor) -> Tensor:
    """Elementwise mean over rows, frequencies and variables of p (ln p - ln(q + 1e-8))."""
    q, p = (torch.softmax(torch.fft.rfft(v, dim=1).abs()[:, 1:] / 0.5, 1) for v in (z, t))
    return (p * (p.log() - (q + 1e-8).log())).mean()


def authors_scales(z: Tensor, t: Tensor) -> Tensor:
    """Mean over the values and three halvings, each the mean of neighbours, of the mean squared error."""
    total, a, b = z.new_zeros(()), z, t
    for _ in range(4):
        total = total + (a - b).square().mean()
        even = a.shape[1] // 2 * 2
        a, b = ((v[:, 0:even:2] + v[:, 1:even:2]) / 2 for v in (a, b))
    return total / 4


@dataclass(frozen=True)
class Row:
    """A line of the table: `factor` is its third column, `value` what that is for the numbers here."""

    ours: str
    library: str
    factor: str
    value: float
    shape: tuple[int, ...]
    our_loss: Loss
    their_loss: Loss
    values_too: bool = True


ROWS = [
    Row("`token-soft-label`", "TextBrewer `kd_ce_loss` on tokens, no padding", "gradients: T²", T**2, (B, L, K),
        lambda z, t: token_soft_label(z, t, T).mean(), textbrewer_ce, values_too=False),
    Row("`hidden-l2`", "TextBrewer `hid_mse_loss`, rows of one length", "1", 1, (B, L, K),
        lambda z, t: hidden_l2(z, t).mean(), textbrewer_hidden),
    Row("`attention-kl`", "TextBrewer `att_ce_loss`, a mask given, rows of one length", "gradients: 1", 1, (B, A, L, L),
        ours_attention, textbrewer_attention, values_too=False),
    Row("`multi-scale`", "the authors' TimeDistill", "1", 1, (B, H, V), lambda z, t: multi_scale(z, t).mean(), authors_scales),
    Row("`spectrum`", "the authors' TimeDistill", "⌊H / 2⌋", H // 2, (B, H, V), lambda z, t: spectrum(z, t).mean(),
        authors_spectrum),
]  # fmt: skip
LISTED = {row.ours for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=[r.ours.strip("`") for r in ROWS])
def test_the_factor_holds_on_numbers(row: Row) -> None:
    generator = np.random.default_rng(5)
    student, teacher = (torch.from_numpy(generator.normal(scale=0.3, size=row.shape)) for _ in range(2))
    found = []
    for loss in (row.our_loss, row.their_loss):
        given = student.clone().requires_grad_()
        value = loss(given, teacher)
        value.backward()  # type: ignore[no-untyped-call]
        assert given.grad is not None
        found.append((float(value.detach()), given.grad))
    (our_value, our_gradient), (their_value, their_gradient) = found
    torch.testing.assert_close(our_gradient, row.value * their_gradient, rtol=1e-4, atol=1e-8)
    assert float(our_gradient.abs().max()) > 1e-3
    assert (our_value / their_value == pytest.approx(row.value, rel=1e-5)) is row.values_too


def test_the_table_says_what_is_checked() -> None:
    text = TABLE.read_text().split("| ours | library's")[1].split("\n\n")[0]
    lines = [tuple(cell.strip() for cell in line.strip("|").split("|")[:3]) for line in text.splitlines()[2:]]
    assert [line for line in lines if line[0] in LISTED] == [(row.ours, row.library, row.factor) for row in ROWS]
