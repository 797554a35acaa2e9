"""A file whose rows are read in no order is mapped so that the kernel fetches only the pages touched."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from potstill.core.tensorfile import open_arrays, write_arrays

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="machine: only Linux says how a file is mapped")


def flags_of(path: Path) -> list[list[str]]:
    """Return the kernel's flags of each mapping of a file; "rr" is random reading."""
    found, ours = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("VmFlags:"):
            found.append(line.split()[1:])
    return found


@pytest.mark.parametrize("scattered", [True, False])
def test_the_kernel_is_told_how_rows_are_read(tmp_path: Path, scattered: bool) -> None:
    path = tmp_path / "rows.safetensors"
    write_arrays(path, {"values": np.arange(8192, dtype=np.int64)})
    arrays = open_arrays(path, scattered=scattered)
    assert int(arrays["values"][4097]) == 4097
    assert [("rr" in flags) for flags in flags_of(path)] == [scattered]
