"""The nets of the calibration: each file gives what the others of its net give, and costs what the net costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.core.onnx_session import OnnxSession
from potstill.devices.calibration.nets import NETS, QUICK, Net, sample
from potstill.devices.calibration.onnx_file import onnx_bytes
from potstill.devices.calibration.tflite_file import tflite_bytes
from potstill.devices.read import read_cost

SMALL = [net for net in NETS if net.name in ("conv-16", "separable-32", "dense-128", "text-32")]


def answers(net: Net, folder: Path) -> dict[str, Any]:
    """Return what each file of a net gives for the same sample, and what it costs."""
    from potstill.core.runtimes.litert import LiteRTSession

    out = {}
    for kind, write, opened in (("onnx", onnx_bytes, OnnxSession), ("tflite", tflite_bytes, LiteRTSession)):
        for int8 in (False, True):
            path = folder / f"{int8}.{kind}"
            path.write_bytes(write(net, int8=int8))
            out[kind, int8] = (opened(path)(sample(net, channels_first=kind == "onnx")), read_cost(path))
    return out


@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
def test_four_files_of_a_net_agree(net: Net, tmp_path: Path) -> None:
    found = answers(net, tmp_path)
    reference, cost = found["onnx", False]
    assert np.ptp(reference) > 0.1
    for (kind, int8), (given, its) in found.items():
        assert given.shape == reference.shape, kind
        assert np.abs(given - reference).max() < (0.2 if int8 else 1e-4), (kind, int8)
        assert its.macs_by_class == cost.macs_by_class and its.params == cost.params, (kind, int8)
        assert its.dtype == ("int8" if int8 else "float32"), (kind, int8)


def test_the_set_covers_sizes_and_kinds(tmp_path: Path) -> None:
    found = []
    for net in QUICK:
        (tmp_path / "m.onnx").write_bytes(onnx_bytes(net, int8=False))
        found.append(read_cost(tmp_path / "m.onnx"))
    assert max(c.macs for c in found) > 1000 * min(c.macs for c in found)
    for kind, share in (("conv", 0.9), ("pw", 0.6), ("dw", 0.05), ("fc", 0.9)):
        assert sum(c.macs_by_class.get(kind, 0) / c.macs >= share for c in found) >= 2, kind
    assert len({net.name for net in NETS}) == len(NETS) and 9 <= len(QUICK) < len(NETS)
