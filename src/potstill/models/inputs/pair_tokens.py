"""Two texts to ids of tokens, and tokens that were written to text. Loads torch. Shapes: B rows, W bytes, L tokens, K tokens of
the vocabulary and a mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from potstill.core.writing import Writing
from potstill.models._parts import stepper_of
from potstill.models.inputs._ids import strings_of, texts_of
from potstill.models.inputs.tokens import Tokens

if TYPE_CHECKING:
    from potstill.models.inputs.pair import PairInput


class PairTokens(Tokens):
    """The host tokenizes both texts; the model reads ids [B, 2, L]: the source, and the target after a mark.

    Args:
        inside: as `Preprocess`.
        tokenizer: of the package `tokenizers`; id 0 is padding.
        spec: resolved.
        num_bytes: of a target in the data; a text that is written has at most twice as many.
    """

    def __init__(self, inside: nn.Module, tokenizer: Any, spec: PairInput, num_bytes: int) -> None:
        super().__init__(inside, tokenizer, spec.max_tokens)
        self.spec, self.num_bytes = spec, 2 * num_bytes
        self.mark = spec.vocabulary_size
        """Before the first token of a target, and after its last."""
        self.writing: Writing = Writing(self.mark, self.max_tokens, spec.beam, spec.length_penalty)

    def outside(self, inputs_BX: Tensor) -> Tensor:
        """[B, W] uint8 -> [B, 2, L] int32, nothing written yet; ids as they are."""
        if inputs_BX.ndim == 3:
            return inputs_BX
        return self.beside(inputs_BX, torch.full((len(inputs_BX), self.max_tokens), -1))

    def targets(self, targets_BW: Tensor) -> Tensor:
        """[B, W] uint8 -> [B, L] int64, the tokens of each text and the mark that ends it; -1 after it, and for an empty text."""
        out = np.full((len(targets_BW), self.max_tokens), -1, np.int64)
        for row, encoding in zip(out, self.tokenizer.encode_batch(texts_of(targets_BW.cpu().numpy())), strict=True):
            ids = encoding.ids
            if ids:
                ids = [*ids, self.mark][: self.max_tokens]
                row[: len(ids)] = ids
        return torch.from_numpy(out)

    def beside(self, inputs_BW: Tensor, tokens_BL: Tensor) -> Tensor:
        """Return [B, 2, L] int32, what a model reads to be asked for these tokens one after another.

        Args:
            inputs_BW: [B, W] uint8, the sources.
            tokens_BL: [B, L] int64 as `targets` gives them.
        """
        source = super().outside(inputs_BW.cpu())
        return self.told(torch.stack([source, source], dim=1), tokens_BL)

    def told(self, ids_B2L: Tensor, tokens_BL: Tensor) -> Tensor:
        """Return these sources' ids with these tokens, after the mark, in place of what was written."""
        written = torch.zeros_like(ids_B2L[:, 0])
        written[:, 0] = self.mark
        written[:, 1:] = tokens_BL[:, :-1].clamp(min=0)
        return torch.stack([ids_B2L[:, 0], written], dim=1)

    @torch.inference_mode()
    def tokens(self, module: nn.Module, inputs_BX: Tensor) -> Tensor:
        """Return [B, L] int64, what the model writes for these sources, as `targets` gives it."""
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        source = self.outside(inputs_BX)[:, 0]
        longest = max(1, int((source > 0).sum(dim=1).max()))
        stepper = stepper_of(module, source[:, :longest].to(device), self.max_tokens)
        return torch.from_numpy(self.writing.search(stepper))

    def texts(self, tokens_BL: Tensor) -> NDArray[np.uint8]:
        """Return [B, W] uint8, tokens as UTF-8, zero after the end; cut before a character that would pass the width."""
        out = np.zeros((len(tokens_BL), self.num_bytes), np.uint8)
        for row, text in zip(out, strings_of(self.tokenizer, tokens_BL.numpy(), self.mark), strict=True):
            data = text.encode("utf-8")[: self.num_bytes].decode("utf-8", "ignore").encode()
            row[: len(data)] = np.frombuffer(data, np.uint8)
        return out

    def answers(self, module: nn.Module, inputs_BX: Tensor) -> NDArray[Any]:
        """Return [B, W] uint8, what the model writes for these sources."""
        return self.texts(self.tokens(module, inputs_BX))

    def judged(self, outputs_BX: NDArray[Any]) -> NDArray[Any]:
        return self.texts(torch.from_numpy(outputs_BX))
