"""Fill a feature store: what one place inside the teacher gives, for every training row and view, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from potstill.core.errors import TeacherError
from potstill.data.augment import make_batch
from potstill.labels.codecs import AnyCodec
from potstill.labels.codecs.float16 import Float16Spec
from potstill.stages._base import StageContext, registry
from potstill.stages._store import Rows, StoreStage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@registry.register
class FeaturesStage(StoreStage):
    """Data and teacher -> a store of one place's outputs. One place a stage: another tap leaves the others as they are."""

    provides: ClassVar[str] = "features"
    kind: Literal["features"] = "features"
    place: str = Field(examples=["layer1"])
    """Path of a module of the teacher, as `potstill taps` lists them."""
    shape: tuple[int, ...] = Field(examples=[[8, 4, 4]])
    """Of one row's output there, as the dry run found it: [C, H, W], [L, D] or [D]."""
    views: int = Field(default=1, ge=1)
    """Augmented versions of each row."""
    codec: AnyCodec = Field(default_factory=Float16Spec)
    """How each row is kept."""

    def run(self, context: StageContext) -> dict[str, Any]:
        facts = self.fill(context, self.views, self.codec, place=self.place)
        return {"place": self.place, "shape": list(self.shape), **facts}

    def rows(self, labeller: Any, dataset: Any) -> Rows:
        return Rows(self._outputs(labeller, dataset.splits["train"]), self.shape, "features")

    def _outputs(self, labeller: Any, split: Any) -> Callable[[NDArray[np.int64], int], NDArray[Any]]:
        """Return (rows [M], view) -> outputs [M, *shape] float32 of the place, the teacher run no further than that."""
        import numpy as np
        import torch

        from potstill.taps.capture import Capture
        from potstill.taps.places import ROWS, list_places

        def inputs(rows_M: NDArray[np.int64], view: int) -> Any:
            return labeller.preprocess(
                make_batch(split, rows_M, view, self.augment, self.augment_seed, reveal=False).inputs_BX
            )

        module = labeller.module.eval()
        sample = make_batch(split, np.arange(ROWS) % len(split), 0, (), 0, reveal=False).inputs_BX
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
            given = inputs(rows_M, view)
            with captured:
                module(given)
            out: NDArray[Any] = captured.take()[place.name].float().numpy()
            return out

        return outputs
