"""ExecuTorch: what is refused, and that a damaged file is an error that names it; what it gives is checked by the contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.core.errors import ExportError, PotstillError
from potstill.exporters.executorch import ExecuTorchSpec
from potstill.quant.spec import QuantSpec
from potstill.testing.modules import plain


@pytest.mark.parametrize("data", [b"", b"hello", b"\x10\0\0\0ET12" + bytes(200)], ids=["empty", "words", "zeros"])
def test_a_damaged_file_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pte"
    path.write_bytes(data)
    with pytest.raises(PotstillError, match=r"damaged\.pte"):
        ExecuTorchSpec().load(path)


def test_integers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="must be in float32; got scheme 'float16'"):
        ExecuTorchSpec().export(
            plain().eval(), np.zeros((2, 1, 8, 8), np.float32), tmp_path, QuantSpec(scheme="float16")
        )
