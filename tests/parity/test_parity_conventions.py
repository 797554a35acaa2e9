"""The convention table of docs/explanation.md on numbers: each library's formula as it is documented, written out here, against
our loss. Shapes: B rows, K classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from potstill.objectives.dist import dist
from potstill.objectives.dkd import dkd
from potstill.objectives.hard_label import hard_label
from potstill.objectives.logit_mse import logit_mse
from potstill.objectives.nkd import nkd
from potstill.objectives.soft_label import soft_label
from potstill.objectives.wttm import wttm

B, K, T, BETA = 7, 10, 4.0, 0.3
TABLE = Path(__file__).parents[2] / "docs" / "explanation.md"
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(student logits, teacher logits, labels) -> the loss of the batch."""


def logs(z: Tensor, t: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return (ln q, ln p) of the softened student and teacher."""
    return torch.log_softmax(z / temperature, 1), torch.log_softmax(t / temperature, 1)


def batchmean(log_q: Tensor, log_p: Tensor) -> Tensor:
    """The Kullback-Leibler divergence, summed over classes, averaged over rows."""
    return (log_p.exp() * (log_p - log_q)).sum() / len(log_q)


def cross_entropy(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Mean over the labelled rows, a tenth of the target spread over all K classes."""
    known = y >= 0
    target = 0.9 * torch.eye(K, dtype=z.dtype)[y[known]] + 0.1 / K
    return -(target * torch.log_softmax(z[known], 1)).sum(1).mean()


def ours_hard(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """As the trainer reduces it: over the rows that have a label."""
    return hard_label(z, y, 0.1).sum() / (y >= 0).sum()


def kd(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """modelopt, mdistiller and RepDistiller: T² times the divergence."""
    return batchmean(*logs(z, t, T)) * T**2


def torchdistill_with_labels(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The soft part of KDLoss with `alpha` > 0: beta T² KL."""
    return BETA * T**2 * batchmean(*logs(z, t, T))


def torchdistill_without(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """KDLoss with `alpha` = 0 or no labels: KL alone."""
    return batchmean(*logs(z, t, T))


def textbrewer_ce(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy between the softened distributions."""
    log_q, log_p = logs(z, t, T)
    return -(log_p.exp() * log_q).sum(1).mean()


def textbrewer_mse(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Mean over rows and classes of the squared distance of logits divided by T."""
    return ((z / T - t / T) ** 2).sum() / (B * K)


def bessel(z: Tensor) -> Tensor:
    """A row less its mean, by its standard deviation over K - 1, plus 1e-7."""
    centred = z - z.mean(1, keepdim=True)
    return centred / (1e-7 + (centred.square().sum(1, keepdim=True) / (K - 1)).sqrt())


def logit_std_with_labels(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return torchdistill_with_labels(bessel(z), bessel(t), y)


def logit_std_without(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return torchdistill_without(bessel(z), bessel(t), y)


def ours_standardised(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """At the temperature that the table names."""
    return soft_label(z, t, T * (K / (K - 1)) ** 0.5, standardize=True).mean()


def mdistiller_dkd(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """T² (alpha KL of (target, rest) + beta KL of the others, the target being pushed down by 1000), over the batch's rows."""
    hot = torch.eye(K, dtype=z.dtype)[y]
    q, p = torch.softmax(z / T, 1), torch.softmax(t / T, 1)
    two_q, two_p = (torch.stack([(v * hot).sum(1), (v * (1 - hot)).sum(1)], 1) for v in (q, p))
    rest = logs(z - 1000 * T * hot, t - 1000 * T * hot, T)
    return (1.0 * batchmean(two_q.log(), two_p.log()) + 8.0 * batchmean(*rest)) * T**2


def cosine(a: Tensor, b: Tensor, product_eps: float) -> Tensor:
    """Of rows; `product_eps` is added to the product of the norms (torch's own bounds each norm instead)."""
    if product_eps:
        return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + product_eps)
    return (a * b).sum(1) / (a.norm(dim=1).clamp(min=1e-8) * b.norm(dim=1).clamp(min=1e-8))


def relations(z: Tensor, t: Tensor, temperature: float, product_eps: float) -> Tensor:
    """tau² (1 - mean correlation of rows) + tau² (1 - mean correlation of columns)."""
    q, p = torch.softmax(z / temperature, 1), torch.softmax(t / temperature, 1)
    total = z.new_zeros(())
    for a, b in ((q, p), (q.T, p.T)):
        total = total + 1 - cosine(a - a.mean(1)[:, None], b - b.mean(1)[:, None], product_eps).mean()
    return temperature**2 * total


def cls_kd_nkd(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """-p_t ln q_t, unsoftened, minus 1.5 T² the cross-entropy of the softened logits without the target's; batch means."""
    rows = torch.arange(B)
    first = -(torch.softmax(t, 1)[rows, y] * torch.log_softmax(z, 1)[rows, y]).mean()
    others = torch.ones(B, K, dtype=torch.bool)
    others[rows, y] = False
    log_q, log_p = logs(z[others].reshape(B, K - 1), t[others].reshape(B, K - 1), T)
    return first - 1.5 * T**2 * (log_p.exp() * log_q).sum(1).mean()


def ttm_wttm(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Mean of Σ p^l times KL(p^l / Σ p^l || q), l = 1 / T."""
    power = torch.softmax(t, 1) ** (1 / T)
    target = power / power.sum(1, keepdim=True)
    return (power.sum(1) * (target * (target.log() - torch.log_softmax(z, 1))).sum(1)).mean()


def ours_soft(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return soft_label(z, t, T).mean()


@dataclass(frozen=True)
class Row:
    """A line of the table: `factor` is its third column, `value` what that is for the numbers here."""

    ours: str
    library: str
    factor: str
    value: float
    our_loss: Loss
    their_loss: Loss
    unlabelled: bool = False
    values_too: bool = True


CE = "torch `CrossEntropyLoss` (mdistiller, RepDistiller, torchdistill), smoothed or not"
WITH, WITHOUT = "labels given and `alpha` > 0", "`alpha` = 0 or no labels"
ROWS = [
    Row("`hard-label`", CE, "1", 1, ours_hard, cross_entropy, unlabelled=True),
    Row("`soft-label`", "modelopt `LogitsDistillationLoss`", "1", 1, ours_soft, kd),
    Row("`soft-label`", "mdistiller `kd_loss`", "1", 1, ours_soft, kd),
    Row("`soft-label`", "RepDistiller `DistillKL`", "1", 1, ours_soft, kd),
    Row("`soft-label`", f"torchdistill `KDLoss`, {WITH}", "1 / `beta` (default `beta` = 1 − `alpha`)", 1 / BETA, ours_soft,
        torchdistill_with_labels),
    Row("`soft-label`", f"torchdistill `KDLoss`, {WITHOUT}", "T²", T**2, ours_soft, torchdistill_without),
    Row("`soft-label`", "TextBrewer `kd_ce_loss`", "gradients: T²", T**2, ours_soft, textbrewer_ce, values_too=False),
    Row("`soft-label`, standardised", f"torchdistill `LogitStdKDLoss`, {WITH}", "K / ((K − 1) `beta`)", K / ((K - 1) * BETA),
        ours_standardised, logit_std_with_labels),
    Row("`soft-label`, standardised", f"torchdistill `LogitStdKDLoss`, {WITHOUT}", "T² K / (K − 1)", T**2 * K / (K - 1),
        ours_standardised, logit_std_without),
    Row("`logit-mse`", "TextBrewer `kd_mse_loss`", "K T² / 2", K * T**2 / 2, lambda z, t, y: logit_mse(z, t).mean(),
        textbrewer_mse),
    Row("`dkd`", "mdistiller `dkd_loss`", "1", 1, lambda z, t, y: dkd(z, t, y).mean(), mdistiller_dkd),
    Row("`dist`", "torchdistill `DISTLoss`", "1", 1, lambda z, t, y: dist(z, t, T).mean(),
        lambda z, t, y: relations(z, t, T, 0)),
    Row("`dist`", "the authors' `DIST`", "1 at T = 1", 1, lambda z, t, y: dist(z, t).mean(),
        lambda z, t, y: relations(z, t, 1, 1e-8)),
    Row("`nkd`", "the authors' `NKDLoss` (cls_KD)", "1", 1, lambda z, t, y: nkd(z, t, y, 1.5, T).mean(), cls_kd_nkd),
    Row("`wttm`", "the authors' `WTTM` (TTM)", "1", 1, lambda z, t, y: wttm(z, t, T).mean(), ttm_wttm),
]  # fmt: skip
LISTED = {row.ours.split(",")[0] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=[f"{i}-{r.ours.strip('`')}" for i, r in enumerate(ROWS)])
def test_the_factor_holds_on_numbers(row: Row) -> None:
    generator = np.random.default_rng(5)
    student, teacher = (torch.from_numpy(generator.normal(scale=1.5, size=(B, K))) for _ in range(2))
    labels = torch.from_numpy(generator.integers(0, K, B))
    if row.unlabelled:
        labels[2] = -1
    found = []
    for loss in (row.our_loss, row.their_loss):
        given = student.clone().requires_grad_()
        value = loss(given, teacher, labels)
        value.backward()
        assert given.grad is not None
        found.append((float(value.detach()), given.grad))
    (our_value, our_gradient), (their_value, their_gradient) = found
    torch.testing.assert_close(our_gradient, row.value * their_gradient, rtol=1e-4, atol=1e-9)
    assert float(our_gradient.abs().max()) > 1e-3
    ratio = our_value / their_value
    assert (ratio == pytest.approx(row.value, rel=1e-5)) is row.values_too


def test_the_table_says_what_is_checked() -> None:
    """Every line of ours is in the table with its factor, and every line of the table for these losses is one of ours."""
    text = TABLE.read_text().split("| ours | library's")[1].split("\n\n")[0]
    lines = [tuple(cell.strip() for cell in line.strip("|").split("|")[:3]) for line in text.splitlines()[2:]]
    stated = [line for line in lines if line[0].split(",")[0] in LISTED]
    assert stated == [(row.ours, row.library, row.factor) for row in ROWS]
