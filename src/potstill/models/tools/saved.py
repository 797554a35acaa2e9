"""A model on disk: `student.safetensors` and `student.json`. Loading runs no code from either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from potstill.core import atomic
from potstill.core.errors import PotstillError, ShapeError, StoreError, nearest
from potstill.core.hashing import digest_bytes
from potstill.models import registry
from potstill.models._base import ModelSpec
from potstill.models._io import ModelIO
from potstill.models.inputs.preprocess import Preprocess
from potstill.models.tools.layout import laid_out
from potstill.models.tools.sizes import Sizes, resize

WEIGHTS, CARD = "student.safetensors", "student.json"
_NO_MODEL = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What numbers of a card that nobody wrote may lead to, from a key that is missing to a layer that no memory holds."""


@dataclass(frozen=True)
class LoadedModel:
    """A saved model, in eval mode."""

    module: nn.Module
    preprocess: Preprocess
    spec: ModelSpec
    """Its input resolved."""
    data_io: ModelIO
    """Of the data that it was trained on."""
    classes: list[str]
    sizes: Sizes = field(default_factory=dict)
    """Of the layers that were pruned."""

    @property
    def io(self) -> ModelIO:
        """What the module itself takes and gives."""
        found: ModelIO = self.spec.input.seen(self.data_io)
        return found


def save_model(
    folder: Path, module: nn.Module, spec: ModelSpec, data_io: ModelIO, classes: list[str], sizes: Sizes | None = None
) -> None:
    """Write a model; the same weights give the same bytes.

    Args:
        folder: for both files.
        module: trained.
        spec: of its family, its input resolved; its start weights are left out.
        data_io: of the data.
        classes: names in the order of its outputs.
        sizes: of the layers that were pruned; None where none was.
    """
    state = {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}
    data = save(dict(sorted(state.items())))
    atomic.write_bytes(folder / WEIGHTS, data)
    card = {
        "schema": 3,
        "model": spec.model_copy(update={"weights": None, "backbone": None}).model_dump(mode="json"),
        "io": asdict(data_io),
        "classes": classes,
        "sizes": sizes or {},
        "sha256": digest_bytes(data),
    }
    atomic.write_json(folder / CARD, card)


def load_model(folder: Path) -> LoadedModel:
    """Return a saved model.

    Raises:
        StoreError: a file is missing, its bytes are not those written, or its sizes are not those of its family, cut.
        ShapeError: the weights do not fit the model.
    """
    try:
        card = atomic.read_json(folder / CARD)
        data = (folder / WEIGHTS).read_bytes()
        if digest_bytes(data) != card["sha256"]:
            raise StoreError(f"{folder / WEIGHTS}: must be as it was written; its SHA-256 differs. Make it again.")
        spec: ModelSpec = TypeAdapter(registry.union()).validate_python(card["model"])
        stated: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in card["io"].items()}
        io = ModelIO(**stated)
        preprocess, sizes, classes = spec.input.preprocess(io), dict(card["sizes"]), [str(c) for c in card["classes"]]
        built = spec.build(spec.input.seen(io))
        resize(built, sizes, str(folder / CARD))
    except PotstillError:
        raise
    except _NO_MODEL as err:
        said = (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
        raise StoreError(f"{folder}: must hold a saved model ({CARD}, {WEIGHTS}); got {said}.") from err
    module, preprocess = laid_out(spec, built, preprocess)
    load_weights(module, folder / WEIGHTS, str(folder / WEIGHTS))
    return LoadedModel(module.eval(), preprocess.eval(), spec, io, classes, sizes)


def load_weights(module: nn.Module, path: Path, where: str, *, but_the_head: bool = False) -> None:
    """Load a safetensors file into a module; every name and shape must match.

    Args:
        module: changed in place.
        path: of the file.
        where: names it in errors.
        but_the_head: leave the last layer that has parameters as it is: the file is of a model for other classes.

    Raises:
        StoreError: not a whole safetensors file, or values that are not finite.
        ShapeError: names or shapes differ; names the first of them.
    """
    try:
        tensors = load(path.read_bytes())
    except (SafetensorError, OSError, ValueError) as err:
        raise StoreError(f"{where}: must be a whole safetensors file; got {err}.") from err
    expected = module.state_dict()
    ignorable = {k for k in expected if k.endswith("num_batches_tracked")}
    if but_the_head:
        head = _head(module)
        tensors = {k: v for k, v in tensors.items() if not k.startswith(head)}
        ignorable |= {k for k in expected if k.startswith(head)}
    _check_names(tensors, expected, ignorable, where)
    for name, tensor in tensors.items():
        if name in expected and tensor.shape != expected[name].shape:
            head = " A classifier for other classes? Start from a backbone without it." if tensor.shape[1:] == \
                expected[name].shape[1:] else ""  # fmt: skip
            raise ShapeError(
                f"{where}: {name} must be {list(expected[name].shape)}, as the model has it; got {list(tensor.shape)}.{head}"
            )
        if tensor.dtype.is_floating_point and not torch.isfinite(tensor).all():
            raise StoreError(f"{where}: values must be finite; {name} has NaN or Inf.")
    module.load_state_dict({**{k: expected[k] for k in ignorable}, **tensors})


def _head(module: nn.Module) -> str:
    """Return what the names of the last layer's tensors begin with."""
    last = ""
    for name, part in module.named_modules():
        if any(True for _ in part.parameters(recurse=False)):
            last = name
    return f"{last}."


def _check_names(tensors: Mapping[str, Tensor], expected: Mapping[str, Any], ignorable: set[str], where: str) -> None:
    missing = sorted(set(expected) - set(tensors) - ignorable)
    extra = sorted(set(tensors) - set(expected))
    if not missing and not extra:
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({', '.join(missing[:3])})")
    if extra:
        parts.append(f"{len(extra)} unknown ({', '.join(extra[:3])}). {nearest(extra[0], expected)}")
    raise ShapeError(f"{where}: names must be the model's own; got {'; '.join(parts)}".rstrip() + ".")
