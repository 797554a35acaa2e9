"""Fill a feature store: what one place inside the teacher gives, for every training row and view, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import TeacherError
from potstill.data.augment import AnyAugment, make_batch
from potstill.labels.codecs import AnyCodec
from potstill.labels.codecs.float16 import Float16Spec
from potstill.stages._base import StageContext, StageSpec, registry
from potstill.stages._parts import MICRO_BATCH, data_io, set_threads, store_identity
from potstill.teachers import AnyTeacher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@registry.register
class FeaturesStage(StageSpec):
    """Data and teacher -> a store of one place's outputs. One place a stage: another tap leaves the others as they are."""

    requires: ClassVar[tuple[str, ...]] = ("data", "teacher")
    provides: ClassVar[str] = "features"
    reads_long: ClassVar[bool] = True
    kind: Literal["features"] = "features"
    teacher: AnyTeacher
    """Loads what the teach stage left."""
    place: str = Field(examples=["layer1"])
    """Path of a module of the teacher, as `potstill taps` lists them."""
    shape: tuple[int, ...] = Field(examples=[[8, 4, 4]])
    """Of one row's output there, as the dry run found it: [C, H, W], [L, D] or [D]."""
    views: int = Field(default=1, ge=1)
    """Augmented versions of each row."""
    codec: AnyCodec = Field(default_factory=Float16Spec)
    """How each row is kept."""
    augment: tuple[AnyAugment, ...] = ()
    """The same for teacher and student."""
    augment_seed: int = 0
    """Of every augmentation draw."""

    def run(self, context: StageContext) -> dict[str, Any]:
        from potstill.data.dataset import Dataset
        from potstill.labels.store import LabelStore
        from potstill.labels.writer import write_store

        set_threads(context.options.threads)
        dataset = Dataset.open(context.inputs["data"])
        labeller = self.teacher.load(context.inputs["teacher"], data_io(dataset), dataset.mean, dataset.std)
        train = dataset.splits["train"]
        write_store(
            context.work,
            self._outputs(labeller, train),
            num_rows=len(train),
            shape=self.shape,
            views=self.views,
            codec=self.codec,
            output="features",
            identity=store_identity(context.inputs, self.augment, self.augment_seed) | {"place": self.place},
            fingerprint=context.options.fingerprint(),
            micro_batch=MICRO_BATCH,
            accept_fingerprint=context.options.accept_fingerprint,
            progress=context.progress,
        )
        return {"place": self.place, "shape": list(self.shape), **LabelStore.open(context.work).facts()}

    def _outputs(self, labeller: Any, split: Any) -> Callable[[NDArray[np.int64], int], NDArray[Any]]:
        """Return (rows [M], view) -> outputs [M, *shape] float32 of the place, the teacher run no further than that."""
        import numpy as np
        import torch

        from potstill.taps.capture import Capture
        from potstill.taps.places import ROWS, list_places

        def pixels(rows_M: NDArray[np.int64], view: int) -> Any:
            return labeller.preprocess(
                make_batch(split, rows_M, view, self.augment, self.augment_seed, reveal=False).pixels_BCHW
            )

        module = labeller.module.eval()
        sample = make_batch(split, np.arange(ROWS) % len(split), 0, (), 0, reveal=False).pixels_BCHW
        places = {p.name: p for p in list_places(module, labeller.preprocess(sample), "teacher")}
        place = places.get(self.place)
        if place is None or place.shape != self.shape:
            raise TeacherError(
                f"teacher: must give {list(self.shape)} at {self.place!r}, as its dry run did; got "
                f"{None if place is None else list(place.shape)}. A module must not change its shapes with its weights."
            )
        captured = Capture(module, [place], "teacher", stop=True)

        @torch.inference_mode()
        def outputs(rows_M: NDArray[np.int64], view: int) -> NDArray[Any]:
            given = pixels(rows_M, view)
            with captured:
                module(given)
            out: NDArray[Any] = captured.take()[place.name].float().numpy()
            return out

        return outputs
