"""A text for a text. Shapes: N rows, W bytes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import DataError, ShapeError
from potstill.core.outputs import TaskOutput
from potstill.core.samples import SampleKind
from potstill.tasks._base import TaskSpec, Truth, registry
from potstill.tasks._translation import bleu_counts, interval, metric, resampled, sentence_chrf, strings


@registry.register
class TranslationSpec(TaskSpec):
    """A text that says the same in another language; judged by chrF, the mean over sentences, with BLEU beside it."""

    headline: ClassVar[str] = "sentence_chrf"
    called: ClassVar[str] = "sentence chrF"
    output: ClassVar[TaskOutput] = "tokens"
    reads: ClassVar[tuple[SampleKind, ...]] = ("text",)
    kind: Literal["translation"] = "translation"

    def metrics(self, outputs_NX: NDArray[Any], truth: Truth) -> dict[str, Any]:
        """Return mean chrF of a sentence in [0, 1] (the headline: a mean over rows, as verdicts need); BLEU and chrF of the corpus
        in [0, 100] by sacrebleu with their signatures, and BLEU's bootstrap 95 % interval over sentences.

        Corpus figures count every row alike, whatever its weight. Rows without a true text are left out.

        Raises:
            ShapeError: outputs are not texts, a row for each row of the truth.
            DataError: no row has a true text.
        """
        written, wanted, weights = self._judged(outputs_NX, truth)
        bleu, chrf = metric("BLEU"), metric("CHRF")
        found = bleu.corpus_score(written, [wanted])
        return {
            "sentence_chrf": float(np.average(sentence_chrf(written, wanted), weights=weights)),
            "bleu": float(found.score),
            "bleu_interval": interval(resampled(bleu_counts(written, wanted))),
            "bleu_signature": str(bleu.get_signature()),
            "chrf": float(chrf.corpus_score(written, [wanted]).score),
            "chrf_signature": str(chrf.get_signature()),
            "length_ratio": float(found.sys_len / max(found.ref_len, 1)),
            "rows": len(written),
        }

    def correct(self, outputs_NX: NDArray[Any], truth: Truth) -> NDArray[Any]:
        """Return float64 of each row's chrF in [0, 1], times weight over mean weight. Raises as `metrics`."""
        written, wanted, weights = self._judged(outputs_NX, truth)
        share = sentence_chrf(written, wanted)
        share *= weights / weights.mean()
        return share

    def _judged(self, outputs_NX: NDArray[Any], truth: Truth) -> tuple[list[str], list[str], NDArray[np.float64]]:
        targets = truth.targets_NHV
        if targets is None or targets.ndim != 2:
            raise DataError(f"{self.kind}: rows must have a text to be written; this data has none. Use a source that gives pairs: "
                            "kind: parallel.")  # fmt: skip
        if outputs_NX.ndim != 2 or len(outputs_NX) != len(targets) or outputs_NX.dtype != np.uint8:
            raise ShapeError(f"{self.kind}: outputs must be [{len(targets)}, bytes] uint8, a text a row; got "
                             f"{list(outputs_NX.shape)} {outputs_NX.dtype}. Use a model that writes.")  # fmt: skip
        known = np.flatnonzero(truth.labels_N >= 0)
        if len(known) == 0:
            raise DataError(
                f"{self.kind}: at least one row must have a true text; got {len(targets)} rows, all without."
            )
        weights = np.ones(len(known)) if truth.weights_N is None else truth.weights_N[known].astype(np.float64)
        return strings(outputs_NX[known]), strings(np.asarray(targets)[known]), weights
