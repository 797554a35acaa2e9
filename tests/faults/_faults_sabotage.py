"""Ways to break potstill on purpose, each in one place: a check that stays green under its own is no check."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def forgetful_optimizer() -> None:
    """A resumed training starts with an empty optimiser."""
    from potstill.train import checkpoint

    checkpoint.load_optimizer = lambda optimizer, tensors: None


def forgetful_labelling() -> None:
    """A resumed labelling does not see what is finished."""
    from potstill.labels import writer

    writer._finished = lambda *args: None


def no_digests() -> None:
    """Checksums are all alike."""
    from potstill.core import artifact
    from potstill.labels import _layout, writer

    for module in (artifact, _layout, writer):
        for name in ("digest_file", "digest_json"):
            if hasattr(module, name):
                setattr(module, name, lambda *args: "0")


def no_second_look() -> None:
    """Nothing is verified before it is used or published."""
    from potstill.pipeline.execute import Executor
    from potstill.pipeline.results import artifact

    Executor._verify_inputs = lambda self, node: None  # type: ignore[method-assign]
    artifact.verify = lambda folder: None


def trusting_resume() -> None:
    """Half-done work is gone on with, whatever became of what it reads."""
    from potstill.pipeline.cache import ArtifactCache

    ArtifactCache.begin = lambda self, key, makings: True  # type: ignore[method-assign]


def maps_without_a_look() -> None:
    """Nobody looks whether a mapped file still has its pages."""
    from potstill.core.tensorfile import Map

    Map.check_whole = lambda self: None  # type: ignore[method-assign]


def raw_errors() -> None:
    """A full disk is an error of Python's own."""
    from potstill.core import atomic

    atomic._unwritable = lambda path, what, err: err  # type: ignore[assignment,return-value]


def careless_repair() -> None:
    """Repair draws other views than the first writing did."""
    from potstill.pipeline import check
    from potstill.stages import label

    mend, batches = check.repair, label.label_batches

    def repair(folder: Path, *args: Any) -> list[str]:
        label.label_batches = lambda labeller, train, augment, seed: batches(labeller, train, augment, seed + 1)
        try:
            return mend(folder, *args)
        finally:
            label.label_batches = batches

    check.repair = repair


def live_of_one_view() -> None:
    """A live teacher sees the first view in every pass."""
    from potstill.labels.live import LiveStore

    read = LiveStore.read
    LiveStore.read = lambda self, view, rows: read(self, 0, rows)  # type: ignore[method-assign]


def no_locks() -> None:
    """Nobody waits for anybody."""
    from contextlib import nullcontext

    from potstill.pipeline.cache import ArtifactCache

    ArtifactCache.lock = lambda self, key, waiting=None: nullcontext()  # type: ignore[method-assign]


def blind_to_changes() -> None:
    """Nobody looks whether files are still those of the key."""
    from potstill.pipeline import execute

    execute.still_so = lambda graph, node, digests: True


def raw_npz() -> None:
    """Errors of NumPy's archives come as they are."""
    import numpy as np

    from potstill.data._arrays import source_of
    from potstill.data.npz import NpzSpec

    def opened(self: Any) -> Any:
        with np.load(self.path, allow_pickle=False) as archive:
            return source_of({"train": (archive["x_train"], archive["y_train"])}, None, "x")

    NpzSpec.open = opened  # type: ignore[method-assign]


def nan_is_a_number() -> None:
    """Nobody looks whether what a model gives is finite."""
    import numpy as np

    from potstill.verify import accuracy

    accuracy.run_split = lambda artifact, num, inputs, progress: artifact(inputs(np.arange(num)))
