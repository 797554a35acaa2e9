"""An exported translator, from text to text, without torch: the files of a run folder, NumPy, ONNX Runtime and `tokenizers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from potstill.core import atomic
from potstill.core.errors import PotstillError
from potstill.core.onnx_writer import OnnxWriter, opened
from potstill.models.inputs._ids import ids_of, strings_of


class Translator:
    """Writes a text for each text: `Translator("runs/multi30k")(["Ein Hund läuft."])`.

    Args:
        path: a run folder, or the student.onnx in it; the files beside it belong to it.
        threads: of the runtime.

    Raises:
        PotstillError: no translator is there.
        MissingExtraError: the package `tokenizers` is missing.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        from pydantic import TypeAdapter, ValidationError

        from potstill.models import ModelSpec, registry
        from potstill.models.inputs.pair import PairInput
        from potstill.models.inputs.text import opened as tokenizer_of

        file = Path(path) / "student.onnx" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise PotstillError(f"{path}: must be a run folder with a student.onnx, or that file; got none. Export one: export: "
                                "[{kind: onnx}] in the recipe.")  # fmt: skip
        card = file.parent / "student.json"
        try:
            spec: ModelSpec = TypeAdapter(registry.union()).validate_python(atomic.read_json(card)["model"])
        except (OSError, KeyError, TypeError, ValidationError, PotstillError) as err:
            raise PotstillError(
                f"{card}: must say how texts become tokens; got {err}. Keep it beside the model."
            ) from err
        model = opened(file, threads)
        if not isinstance(model, OnnxWriter) or not isinstance(spec.input, PairInput):
            raise PotstillError(
                f"{file}: must be a translator; it is a model of kind {spec.kind!r} that writes no texts."
            )
        self._model, self._input = model, spec.input
        self._tokenizer = tokenizer_of(spec.input.tokenizer or "", str(card))

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Return the text that is written for each; one that is longer than the model reads is cut. Raises PotstillError for a string in
        place of a list, and for an empty text."""
        if isinstance(texts, str):
            raise PotstillError("texts: must be a list of texts; got one text. Put it in a list.")
        empty = next((i for i, text in enumerate(texts) if not text.strip()), None)
        if empty is not None:
            raise PotstillError(f"texts[{empty}]: must have characters; got an empty text. Leave it out.")
        if not texts:
            return []
        tokens = self._model(ids_of(self._tokenizer, texts, self._input.max_tokens))
        return strings_of(self._tokenizer, np.asarray(tokens), self._input.vocabulary_size)
