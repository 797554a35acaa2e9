"""Tokenizers trained here, and text families: nothing but the text may count."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core.errors import PotstillError, ShapeError
from potstill.core.samples import DataStats
from potstill.models import ModelIO, ModelSpec, io_of
from potstill.models.inputs import TextInput
from potstill.models.inputs.text import PAD, train
from potstill.models.text_cnn import TextCnnSpec
from potstill.models.text_gru import TextGruSpec
from potstill.models.text_transformer import TextTransformerSpec
from potstill.models.tools.build import NewModel, new_model
from potstill.testing import tiny

FAMILIES = [TextCnnSpec(), TextGruSpec(), TextTransformerSpec()]
TEXTS = ["turn the lights on", "Turn the LIGHTS off please", "naïve café ☕", "what is 2+2?", "x"]

TRAIN = """
import sys, hashlib
from potstill.core.samples import DataStats
from potstill.models.inputs.text import train
texts = [f"request number {i % 97} for thing {i % 31} in Zürich, {chr(0x4e00 + i % 400)}" for i in range(3000)]
print(hashlib.sha256(train(DataStats((), (), lambda: iter(texts)), 900, lowercase=True).encode()).hexdigest())
"""


def rows(texts: list[str], length: int = 64) -> torch.Tensor:
    out = np.zeros((len(texts), length), np.uint8)
    for row, text in zip(out, texts, strict=True):
        data = text.encode()
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return torch.from_numpy(out)


def stats(texts: list[str]) -> DataStats:
    return DataStats((), (), lambda: iter(texts))


def built(spec: ModelSpec, seed: int = 0, io: ModelIO | None = None) -> NewModel:
    torch.manual_seed(seed)
    new = new_model(spec, io or tiny.io_for("text"), tiny.stats_for("text"))
    new.module.eval()
    return new


def test_two_trainings_in_two_processes_give_the_same_bytes() -> None:
    digests = set()
    for seed in ("1", "2"):  # of the interpreter's own hashes
        env = {**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": "true" if seed == "2" else "false"}
        done = subprocess.run([sys.executable, "-c", TRAIN], env=env, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == 64


def test_a_resolved_input_holds_its_tokenizer_and_trains_no_other() -> None:
    resolved = TextInput(vocabulary_size=300).resolved(tiny.io_for("text"), stats(TEXTS * 5))
    assert resolved.tokenizer and resolved.vocabulary_size <= 300
    again = TextInput.model_validate_json(resolved.model_dump_json()).resolved(
        tiny.io_for("text"), stats(["other texts"])
    )
    assert again == resolved


def test_nothing_is_unknown_and_padding_is_zero() -> None:
    spec = TextInput(vocabulary_size=300, max_tokens=40).resolved(tiny.io_for("text"), stats(TEXTS * 5))
    ids = spec.preprocess(tiny.io_for("text")).outside(rows([*TEXTS, "\U0001f9ea 試験管 [PAD]"]))
    assert ids.dtype == torch.int32 and ids.shape == (6, 40)
    for row in ids:
        used = int((row > 0).sum())
        assert used > 0 and bool((row[:used] > 0).all()) and not bool(row[used:].any())
    tokenizer = spec.preprocess(tiny.io_for("text")).tokenizer  # type: ignore[attr-defined]
    assert tokenizer.decode([int(i) for i in ids[5] if i]).strip() == "\U0001f9ea 試験管 [pad]"
    assert int(ids.max()) < spec.vocabulary_size


def test_case_counts_where_it_is_asked_for() -> None:
    for lowercase in (True, False):
        spec = TextInput(vocabulary_size=300, lowercase=lowercase).resolved(tiny.io_for("text"), stats(TEXTS * 5))
        small, large = spec.preprocess(tiny.io_for("text")).outside(rows(["lights", "LIGHTS"]))
        assert bool((small == large).all()) is lowercase


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    own = json.loads(train(stats(TEXTS * 5), 280, lowercase=True))
    (tmp_path / "tokenizer.json").write_text(json.dumps(own), encoding="utf-8")
    spec = TextInput(file=tmp_path / "tokenizer.json").resolved(tiny.io_for("text"), stats([]))
    assert spec.file is None and spec.vocabulary_size == 280
    own["added_tokens"], own["model"]["vocab"] = (
        [],
        {("a" if k == PAD else k): v for k, v in own["model"]["vocab"].items()},
    )
    (tmp_path / "tokenizer.json").write_text(json.dumps(own), encoding="utf-8")
    with pytest.raises(ShapeError, match="id 0 must be padding"):
        TextInput(file=tmp_path / "tokenizer.json").resolved(tiny.io_for("text"), stats([]))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ShapeError, match="must be a tokenizer as the package"):
        TextInput(file=tmp_path / "tokenizer.json").resolved(tiny.io_for("text"), stats([]))


def test_a_tokenizer_needs_texts() -> None:
    with pytest.raises(PotstillError, match=r"must have texts to be trained on; the data has none. Give input.file"):
        TextInput().resolved(tiny.io_for("text"), DataStats((), ()))


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda s: s.kind)
def test_padding_counts_for_nothing(spec: ModelSpec) -> None:
    new = built(spec)
    ids = new.preprocess(rows(TEXTS))
    with torch.no_grad():
        expected = new.module(ids)
        table = new.module.embed.weight  # type: ignore[union-attr]
        assert not bool(table[0].any())
        if spec.kind != "text-transformer":  # its positions are as many as its tokens
            longer = torch.cat([ids, torch.zeros(len(ids), 9, dtype=ids.dtype)], dim=1)
            torch.testing.assert_close(new.module(longer), expected, rtol=1e-5, atol=1e-6)
        table[0] = 50.0  # whatever stands in a place of padding
        torch.testing.assert_close(new.module(ids), expected, rtol=1e-4, atol=1e-5)
        used = ids.clone()
        used[:, 0] = (used[:, 0] % 200) + 5
        assert not torch.allclose(new.module(used), expected)


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda s: s.kind)
def test_a_text_without_tokens_gives_finite_logits(spec: ModelSpec) -> None:
    new = built(spec)
    with torch.no_grad():
        assert bool(torch.isfinite(new.module(torch.zeros(2, 32, dtype=torch.int32))).all())


def test_the_second_gru_reads_each_text_from_its_own_end() -> None:
    new = built(TextGruSpec(dim=8, width=4))
    gru = new.module
    ids = new.preprocess(rows(["turn the lights on"]))
    num = int((ids > 0).sum())
    with torch.no_grad():
        alone = gru(ids[:, :num])
        flipped = ids[:, :num].flip(1)
        gru.forwards, gru.backwards = gru.backwards, gru.forwards  # type: ignore[union-attr]
        gru.head.weight.copy_(gru.head.weight.view(10, 2, 8).flip(1).reshape(10, 16))  # type: ignore[union-attr, operator]
        torch.testing.assert_close(gru(flipped), alone)


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda s: s.kind)
def test_a_student_of_150_classes_fits_half_a_megabyte_in_int8(spec: ModelSpec) -> None:
    texts = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(400)]  # enough to fill the vocabulary
    new = new_model(spec, io_of("text", (136,), (150,), None), stats(texts))
    assert new.spec.input.vocabulary_size == 2000  # type: ignore[attr-defined]
    num = sum(p.numel() for p in new.module.parameters())
    assert 100_000 < num <= 500_000
