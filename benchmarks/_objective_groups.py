"""A student, a batch and what its objectives read, for outputs other than classes; numbers are random, which costs the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _measure as measure
import numpy as np
import torch
from torch import Tensor, nn

from potstill.models import ModelIO
from potstill.objectives import LossInputs
from potstill.objectives import registry as objectives
from potstill.testing.tiny import Rows

STEPS = 12
Make = Callable[[], tuple[nn.Module, Tensor, Callable[[Tensor], LossInputs]]]


@dataclass(frozen=True)
class Group:
    """Objectives of one output, and the one that reads the truth alone."""

    control: str
    others: tuple[str, ...]
    what: str
    """The student and its batch, in words."""
    make: Callable[[str], tuple[nn.Module, Tensor, Callable[[Tensor], LossInputs]]]
    """Kind -> (student, inputs, what an objective sees of an output)."""


def _values(kind: str) -> Any:
    from potstill.models.forecast_mlp import ForecastMlpSpec

    module = ForecastMlpSpec(hidden=64).build(ModelIO((96, 7), (7, 336), "series"))
    inputs, truth, taught = torch.randn(64, 7, 336), torch.randn(64, 96, 7), torch.randn(64, 96 * 7)
    labels = torch.zeros(64, dtype=torch.int64)
    return module, inputs, lambda out: LossInputs(out, labels, 0.5, Rows(taught, "values"), targets_BHV=truth)


def _flags(kind: str) -> Any:
    from potstill.models.ds_cnn import DsCnnSpec

    module = DsCnnSpec(width=16, depth=3, downsample=1, stem_stride=2).build(ModelIO((39,), (1, 28, 28)))
    inputs, taught, flags = torch.rand(128, 1, 28, 28), torch.randn(128, 39), (torch.rand(128, 39) < 0.1).float()
    labels = torch.zeros(128, dtype=torch.int64)
    return module, inputs, lambda out: LossInputs(out, labels, 0.5, Rows(taught), flags_BK=flags)


class _Writer(nn.Module):
    """A language model over embedded tokens: what stands behind a decoder's loss."""

    def __init__(self, words: int, dim: int) -> None:
        super().__init__()
        from potstill.models._blocks import TransformerBlock

        self.embed = nn.Embedding(words, dim)
        self.blocks = nn.Sequential(*(TransformerBlock(dim, 4, 2 * dim, nn.GELU) for _ in range(2)))
        self.out = nn.Linear(dim, words)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """[B, L] -> [B, L, K]."""
        out: Tensor = self.out(self.blocks(self.embed(ids_BL)))
        return out


def _tokens(kind: str) -> Any:
    words, ids = 2000, torch.from_numpy(np.random.default_rng(0).integers(0, 2000, (32, 30)))
    mask, labels = torch.ones(32, 30, dtype=torch.bool), torch.full((32,), -1)
    teacher = Rows(ids, "tokens") if kind == "sequence-level" else Rows(torch.randn(32, 30 * words))
    return _Writer(words, 128), ids, lambda out: LossInputs(
        out, labels, 0.5, teacher, tokens_BL=ids, token_mask_BL=mask
    )  # fmt: skip


GROUPS = {
    "values": Group("hard-target", ("soft-target-regression", "multi-scale", "spectrum"),
                    "forecast-mlp (hidden 64), 64 windows of 336 steps, 96 steps of 7 variables ahead", _values),
    "flags": Group("multi-label", ("multi-label-soft",), "ds-cnn of 4 thousand parameters, 128 pictures of 28 by 28, 39 classes",
                   _flags),
    "tokens": Group("token-hard-label", ("token-soft-label", "sequence-level"),
                    "two Transformer blocks of width 128, 32 texts of 30 tokens, 2,000 words", _tokens),
}  # fmt: skip


def block(group: str, kind: str) -> Callable[[], measure.Seconds]:
    """Return what trains a few steps and says how long they took."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module, inputs, seen = GROUPS[group].make(kind)
    objective = objectives[kind].model_validate({"kind": kind})
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            x = seen(module(inputs))
            objective.loss(x).mean().backward()
            optimizer.step()

    return lambda: measure.timed(steps)


def cost(rounds: int, child: Callable[[str], Any]) -> dict[str, Any]:
    """Return the time of a step and the memory of each objective, by group.

    Args:
        rounds: of all blocks of a group by turns.
        child: "group/kind" -> memory of a process that trains one block.
    """
    out: dict[str, Any] = {}
    for name, group in GROUPS.items():
        kinds = (group.control, *group.others)
        seconds = measure.alternate({kind: block(name, kind) for kind in kinds}, rounds)
        out[name] = {
            kind: {
                "step_ms": measure.median([s.cpu / STEPS * 1e3 for s in of]),
                "cpu": measure.ratio(of, seconds[group.control], "cpu"),
                "VmHWM": measure.median([child(f"{name}/{kind}")["VmHWM"] / 1e6 for _ in range(3)]),
            }
            for kind, of in seconds.items()
        }
    return out


def part(found: dict[str, Any]) -> str:
    """Return the page's part."""
    text = [
        "## Of values, flags and tokens",
        "Each alone with its defaults, a bare step (forward, loss, backward, AdamW) on random numbers of these shapes; the teacher's "
        "outputs lie in memory. A ratio is over the group's loss on the truth.",
    ]
    for name, of in found.items():
        rows = [
            [f"`{kind}`", measure.shown(f["step_ms"], 1), measure.shown(f["cpu"]), measure.shown(f["VmHWM"], 0)]
            for kind, f in of.items()
        ]
        text += [
            f"{name}: {GROUPS[name].what}.",
            measure.table(["objective", "CPU ms a step", "ratio", "peak memory, MB"], rows),
        ]
    return "\n\n".join(text)
