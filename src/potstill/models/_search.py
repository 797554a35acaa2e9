"""Writing with a model, token by token: greedy and beam search over a whole batch. Loads torch. Shapes: B rows, S tokens of a
source, L tokens at most, K tokens to choose from, W texts followed (beam), R = B W rows of a step."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Stepper(Protocol):
    """A model that has read its sources, and remembers what was written."""

    rows: int
    """B at first; `take` changes it."""

    def step(self, last_R: Tensor, place: int) -> Tensor:
        """Return [R, K] logits of the token after the `last_R` tokens, which stand at `place`, from 0."""
        ...

    def take(self, index_R: Tensor) -> None:
        """Go on from these rows of what is remembered; they keep their source's order, each as often as any other."""
        ...


class Whole:
    """A module [R, 2, L] ids -> [R, L, K] logits that is run anew for each token; for artifacts, and modules without a memory.

    Args:
        module: as such.
        source_BS: ids of the sources.
        length: L.
    """

    def __init__(self, module: Any, source_BS: Tensor, length: int) -> None:
        self.module, self.rows = module, len(source_BS)
        self.ids = torch.zeros(self.rows, 2, length, dtype=torch.int32, device=source_BS.device)
        self.ids[:, 0, : source_BS.shape[1]] = source_BS

    def step(self, last_R: Tensor, place: int) -> Tensor:
        """Return [R, K] logits."""
        self.ids[:, 1, place] = last_R.to(torch.int32)
        out: Tensor = self.module(self.ids)[:, place].float()
        return out

    def take(self, index_R: Tensor) -> None:
        """Go on from these rows."""
        self.ids, self.rows = self.ids[index_R], len(index_R)


def stepper_of(module: nn.Module, source_BS: Tensor, length: int) -> Stepper:
    """Return the module's own way to write (`module.reads(source)`), or `Whole`."""
    reads = getattr(module, "reads", None)
    found: Stepper = Whole(module, source_BS, length) if reads is None else reads(source_BS)
    return found


def search(stepper: Stepper, mark: int, length: int, beam: int = 1, length_penalty: float = 1.0) -> Tensor:
    """Return what a model writes, as likely as the search finds; a pure function of the batch.

    Texts that have ended keep their place in the beam with their score, the sum of log-probabilities over the number of tokens
    to the power of `length_penalty`; a row ends when all of its beam has.

    Args:
        stepper: of B rows.
        mark: stands before the first token, and ends a text; never padding (0), which is not written.
        length: L.
        beam: W; 1 is greedy.
        length_penalty: >= 0, dimensionless.

    Returns:
        [B, L] int64, the tokens with the mark that ends them (a text of L tokens may lack it), -1 after it.

    Reference:
        Sutskever et al. 2014, arXiv:1409.3215, section 3.2. Departs: scores are compared over lengths, not only at the end.
    """
    rows = stepper.rows
    last = torch.full((rows,), mark)
    written = torch.full((rows, 1, length), -1)
    sums, lengths = torch.zeros(rows, 1), torch.zeros(rows, 1)
    ended = torch.zeros(rows, 1, dtype=torch.bool)
    for place in range(length):
        logits = stepper.step(last, place).cpu()
        logits[:, 0] = -torch.inf
        log_p = torch.log_softmax(logits, dim=1).view(rows, -1, logits.shape[1])
        # A text that has ended has one way on, which costs nothing.
        going = log_p.masked_fill(ended[:, :, None], -torch.inf)
        going[:, :, mark] = torch.where(ended, 0.0, log_p[:, :, mark])
        sum_BWK, length_BW = sums[:, :, None] + going, lengths + ~ended
        index = (sum_BWK / length_BW[:, :, None] ** length_penalty).flatten(1).topk(beam, dim=1).indices
        parent, token = index // log_p.shape[2], index % log_p.shape[2]
        sums, lengths = sum_BWK.flatten(1).gather(1, index), length_BW.gather(1, parent)
        before = ended.gather(1, parent)
        written = written.gather(1, parent[:, :, None].expand(-1, -1, length))
        written[:, :, place] = torch.where(before, -1, token)
        ended = before | (token == mark)
        if bool(ended.all()):
            break
        if beam > 1:
            stepper.take((parent + torch.arange(rows)[:, None] * log_p.shape[1]).reshape(-1))
        last = token.reshape(-1)
    best = (sums / lengths**length_penalty).argmax(dim=1)
    return written[torch.arange(rows), best]
