"""Every family of the zoo, quantised after training, in ONNX Runtime against the model that rounds; or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.core.errors import ExportError
from potstill.exporters.onnx import OnnxSpec
from potstill.models import registry
from potstill.quant.graph import trace
from potstill.quant.plan import make_plan
from potstill.testing.examples import example
from potstill.testing.quantised import check_quantised, trained

INT8 = "int8_static_per_channel"
RECURRENT = ("gru", "text-gru")
WRITERS = ("encoder-decoder",)
"""Judged by what they write token by token: only their weights are narrowed."""


def spec_of(kind: str, folder: Path) -> Any:
    spec: Any = example(registry[kind], folder)
    smaller = {"efficientnet-lite": {"width": 0.1}, "mobilenet-v2": {"width": 0.35}}.get(kind, {})
    known = {k: v for k, v in smaller.items() if k in type(spec).model_fields}
    try:
        return type(spec).model_validate({**{n: getattr(spec, n) for n in type(spec).model_fields}, **known})
    except ValueError:
        return spec


@pytest.mark.parametrize("kind", [k for k in registry.kinds() if k not in (*RECURRENT, *WRITERS)])
def test_int8_in_the_runtime_is_what_the_model_that_rounds_gives(kind: str, tmp_path: Path) -> None:
    found = check_quantised(spec_of(kind, tmp_path), INT8, OnnxSpec())
    assert found.codes_equal is not None and found.codes_equal > 0.95
    assert found.codes_max is not None and found.codes_max < 2.5


@pytest.mark.parametrize("kind", ["ds-cnn-1d", "text-transformer", *RECURRENT])
def test_dynamic_int8_gives_what_the_model_that_rounds_gives(kind: str, tmp_path: Path) -> None:
    check_quantised(spec_of(kind, tmp_path), "int8_dynamic", OnnxSpec())


@pytest.mark.parametrize("kind", ["ds-cnn", "text-cnn"])
def test_four_bits_give_what_the_model_that_rounds_gives(kind: str, tmp_path: Path) -> None:
    found = check_quantised(spec_of(kind, tmp_path), "int4_conv", OnnxSpec())
    assert found.codes_equal is not None and found.codes_equal > 0.95


@pytest.mark.parametrize("kind", ["vit", *RECURRENT, *WRITERS])
def test_float16_gives_what_narrowed_weights_give(kind: str, tmp_path: Path) -> None:
    assert check_quantised(spec_of(kind, tmp_path), "float16", OnnxSpec()).max_abs_diff < 1e-4


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_families_are_refused_with_what_to_use(kind: str, tmp_path: Path) -> None:
    new, x = trained(spec_of(kind, tmp_path), steps=1)
    with pytest.raises(ExportError, match="int8_dynamic"):
        make_plan(trace(new.module, x[:2]), INT8)
