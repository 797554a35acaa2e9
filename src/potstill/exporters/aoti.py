"""AOTInductor, a model compiled ahead of time for this kind of processor. Shapes: B rows, X the shape of one input, Y of one output."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from potstill.core import atomic
from potstill.core.errors import ExportError, MissingExtraError
from potstill.core.runtimes._torch import card
from potstill.core.runtimes.aoti import CARD, ROOT
from potstill.exporters._base import Artifact, ExporterSpec, registry
from potstill.exporters._told import culprit, float_only, quiet

if TYPE_CHECKING:
    from torch import nn

    from potstill.quant.spec import QuantSpec

_ROWS = 1 << 20


@registry.register
class AotiSpec(ExporterSpec):
    """AOTInductor with an open batch: one .pt2 package of machine code, in float32. It is a program for processors that have this one's
    instructions, and runs under the version of PyTorch that made it. Needs a C++ compiler here, none where it runs."""

    suffix: ClassVar[str] = ".pt2"
    runtime: ClassVar[str] = "potstill.core.runtimes.aoti"
    program: ClassVar[bool] = True
    kind: Literal["aoti"] = "aoti"
    tolerance: float = Field(default=1e-4, gt=0)
    """Largest difference of a logit from the module's, absolute plus relative to the largest logit."""

    def check_tools(self) -> None:
        for program in (os.environ.get("CXX", "g++"), "strip"):
            if shutil.which(program) is None:
                raise MissingExtraError(
                    f"export.aoti: needs a C++ compiler and binutils; got no program {program!r}. Install them (apt-get install g++), "
                    "name another compiler in the variable CXX, or use kind: onnx."
                )

    def export(
        self, module: nn.Module, example_BX: NDArray[Any], out: Path, quant: QuantSpec | None = None
    ) -> Artifact:
        import torch

        float_only(self.kind, quant)
        self.check_tools()
        example = torch.from_numpy(example_BX[:2].copy())
        batch = ({0: torch.export.Dim("batch", min=1, max=_ROWS)},)
        try:
            with quiet(), torch.no_grad():
                data, folders = _compiled(torch.export.export(module, (example,), dynamic_shapes=batch))
        except Exception as err:
            raise ExportError(
                f"export.aoti: the model must be expressible in torch.export with an open batch, and compile; got {culprit(err, module)}. "
                "Replace it in the model's forward, or use kind: onnx."
            ) from err
        atomic.write_bytes(out / "student.pt2", _packed(data, folders, card(example_BX)))
        return self.load(out / "student.pt2")


def _compiled(program: Any) -> tuple[bytes, list[str]]:
    """Return (the package that the compiler leaves, folders whose names stand in it). In a folder of its own: what others left where it
    works is written into it."""
    import torch._inductor
    from torch._inductor.utils import fresh_cache

    with tempfile.TemporaryDirectory() as folder, fresh_cache(dir=folder):
        path = torch._inductor.aoti_compile_and_package(
            program, package_path=str(Path(folder) / f"{ROOT}.pt2"),
            inductor_configs={"aot_inductor.precompile_headers": False},
        )  # fmt: skip
        return Path(path).read_bytes(), [os.environ["TORCHINDUCTOR_CACHE_DIR"], str(Path(torch.__file__).parent)]


def _packed(data: bytes, folders: Sequence[str], says: str) -> bytes:
    """Return the package with what it takes, and without what tells where it was compiled: source, symbols, names of folders."""
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as package, zipfile.ZipFile(held, "w") as ours:
        for name in package.namelist():
            if name.endswith((".cpp", ".kernel_metadata.json", "/serialization_id")):
                continue
            part = package.read(name)
            ours.writestr(zipfile.ZipInfo(name), _stripped(part, folders) if name.endswith(".so") else part)
        ours.writestr(zipfile.ZipInfo(CARD), says)
    return held.getvalue()


def _stripped(code: bytes, folders: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code.so"
        path.write_bytes(code)
        command = ["strip", "--strip-all", "--remove-section=.note.gnu.build-id", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        code = path.read_bytes()
    for name in folders:
        code = code.replace(name.encode(), b"/" * len(name.encode()))
    return code
