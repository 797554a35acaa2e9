"""C of a student in four bits: the codes of its convolutions take a byte each, and it answers as in any other format of these codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from potstill.compress.quant_specs import CalibrationSpec
from potstill.compress.quantize import quantise
from potstill.exporters.c import CSpec
from potstill.exporters.parity import compare_rounded
from potstill.mcu.export import SOURCE
from potstill.mcu.oracle import Oracle
from potstill.mcu.read import read_model
from potstill.mcu.rows import as_inputs
from potstill.quant import rounding
from potstill.testing.modules import shortcut


def test_four_bits_take_a_byte_each_and_give_equal_codes(tmp_path: Path, require_tool: Callable[..., str]) -> None:
    require_tool("gcc")
    module, x = shortcut()
    made = quantise(module, x, "int4_conv", CalibrationSpec())
    artifact = CSpec().export(nn.Sequential(nn.Identity(), module), x.numpy(), tmp_path, made.spec)
    assert made.spec.output is not None
    out = made.spec.values[made.spec.output]
    found = compare_rounded(module, made.fake, artifact, x.numpy(), out.scale)
    assert found.codes_max is not None and found.codes_max <= 1.001, "no code is further off than the second rounding"

    source = artifact.path.parent / SOURCE
    model = read_model(source)
    oracle = Oracle(source.read_bytes(), model)
    rows = as_inputs(model, x.numpy())
    wanted = np.concatenate([np.asarray(row[0]) for row in oracle(rows)]).astype(np.float32)
    oracle.close()
    end = model.tensors[model.outputs[0]]
    if end.dtype == "int8":
        wanted = (wanted - end.zero) * np.float32(end.scale)
    np.testing.assert_array_equal(artifact(x.numpy()), wanted.reshape(len(x), -1))

    held = [model.tensors[op.inputs[1]] for op in model.ops if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    four = [w for w in made.spec.weights.values() if w.bits == 4]
    assert len(held) == len(four) > 0 and rounding.top_of(4) == 7
    for tensor, kept in zip(held, four, strict=True):
        assert tensor.data is not None and tensor.dtype == "int8" and np.abs(tensor.data).max() == 7
        np.testing.assert_allclose(np.sort(tensor.scales), np.sort(torch.tensor(kept.scales).numpy()), rtol=1e-6)
