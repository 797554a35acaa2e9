"""A translator as files: it writes what the module writes, from text to text and without torch, and what is wrong with it is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import ExportError, ParityError, PotstillError
from potstill.core.onnx_writer import OnnxWriter, opened
from potstill.core.samples import DataStats
from potstill.exporters import ExporterSpec
from potstill.exporters.model import compare_model, export_model
from potstill.exporters.onnx import OnnxSpec
from potstill.exporters.translator import Translator
from potstill.models import io_of
from potstill.models.encoder_decoder import EncoderDecoderSpec
from potstill.models.inputs.pair import PairInput
from potstill.models.tools.build import new_model
from potstill.models.tools.saved import save_model

TEXTS = ["der Hund schläft ☕", "die Katze läuft", "the dog sleeps ☕", "the cat runs", "ein Mann", "a man"] * 4
LENGTH = 12


def texts() -> Iterator[str]:
    return iter(TEXTS)


def stored(some: list[str], width: int = 24) -> Tensor:
    out = np.zeros((len(some), width), np.uint8)
    for row, text in zip(out, some, strict=True):
        data = text.encode()
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return torch.from_numpy(out)


def wild(module: Any, mark: int) -> None:
    """Set weights so that what is written differs from row to row and place to place, and some of it ends."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=1.0)
        nn.init.normal_(module.embed.weight, std=0.1)
        nn.init.normal_(module.position, std=0.4)
        module.embed.weight[mark] *= 2.0


class Exported:
    """A translator of two blocks a side, searched by a beam of three, in a folder as a run leaves it."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        # 300 tokens of 16 numbers: an embedding of more than a page, which both graphs hold.
        tokens = PairInput(vocabulary_size=300, max_tokens=LENGTH, beam=3, length_penalty=0.6)
        spec = EncoderDecoderSpec(dim=16, heads=2, input=tokens)
        io = io_of("text", (24,), (24,), None)
        new = new_model(spec, io, DataStats((), (), texts))
        wild(new.module, new.preprocess.mark)
        self.folder, self.module, self.preprocess = folder, new.module.eval(), new.preprocess
        save_model(folder, new.module, new.spec, io, ["text"])
        self.ids = new.preprocess.outside(stored([*TEXTS[:6], "☕", "a b c d e f g h i j k l"])).numpy()
        self.artifact: Any = export_model(OnnxSpec(), self.preprocess, self.module, self.ids, folder)

    def written(self, some: list[str]) -> list[str]:
        rows = self.preprocess.answers(self.module, stored(some, 64))
        return [bytes(row).rstrip(b"\0").decode() for row in rows]

    def copy(self, to: Path) -> Path:
        shutil.copytree(self.folder, to)
        return to / "student.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("run"))


def test_it_writes_what_the_module_writes_at_every_batch(made: Exported) -> None:
    parity = compare_model(made.preprocess, made.module, made.artifact, made.ids, 1e-4)
    wrote = [[t for t in row if t >= 0] for row in made.artifact(made.ids).tolist()]
    assert len({tuple(row) for row in wrote}) > 5 and max(len(set(row)) for row in wrote) > 3
    assert min(map(len, wrote)) < max(map(len, wrote)), "some end early"
    assert parity.batches == [1, 2, 7, 8] and parity.num_rows == 8 and parity.agrees == "what is written"
    assert parity.max_abs_diff < 1e-4 and parity.top1_agreement == 1.0
    greedy = replace(made.preprocess.writing, beam=1)
    made.preprocess.writing, made.artifact.writing, beam = greedy, greedy, made.preprocess.writing
    try:
        assert compare_model(made.preprocess, made.module, made.artifact, made.ids, 1e-4).top1_agreement == 1.0
    finally:
        made.preprocess.writing = made.artifact.writing = beam


def test_every_length_of_source_up_to_the_stated_one(made: Exported) -> None:
    for length in range(1, LENGTH + 1):
        ids = np.zeros((2, 2, LENGTH), np.int32)
        ids[:, 0, :length] = 5 + np.arange(length)
        assert np.array_equal(made.artifact(ids), made.artifact(ids[:, 0, :length])), "padding changes nothing"
        with torch.no_grad():
            assert np.array_equal(made.artifact(ids), _tokens(made, ids))
    with pytest.raises(PotstillError, match=r"sources of at most 12 tokens; got \[1, 13\]"):
        made.artifact(np.ones((1, LENGTH + 1), np.int32))
    made.artifact.longest()


def _tokens(made: Exported, ids: Any) -> Any:
    return made.preprocess.tokens(made.module, torch.from_numpy(ids)).numpy()


def test_parity_stops_other_logits_and_another_search(made: Exported) -> None:
    with torch.no_grad():
        weight = made.module.decoder.blocks[1].cross.out.weight
        kept = weight.clone()
        weight[0] += 0.01
    try:
        with pytest.raises(ParityError, match="at batch 1 logits differ"):
            compare_model(made.preprocess, made.module, made.artifact, made.ids, 1e-4)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    other = opened(made.artifact.path)
    assert isinstance(other, OnnxWriter)
    other.writing = replace(other.writing, beam=1, length=LENGTH)
    with pytest.raises(ParityError, match="must write what the module writes"):
        compare_model(made.preprocess, made.module, other, made.ids, 1e-4)


def test_files_say_what_they_are_and_share_the_embedding(made: Exported) -> None:
    files = {
        p.name: p for p in made.folder.iterdir() if not p.name.startswith("student.s") or p.suffix != ".safetensors"
    }
    assert {"student.onnx", "student.step.onnx", "student.shared.bin"} <= set(files)
    embedding = 4 * made.module.embed.weight.numel()
    assert files["student.shared.bin"].stat().st_size == embedding
    reader, step = (onnx.load(str(files[n]), load_external_data=False) for n in ("student.onnx", "student.step.onnx"))
    card = json.loads({m.key: m.value for m in reader.metadata_props}["writing"])
    assert card == {
        "mark": made.preprocess.mark,
        "length": LENGTH,
        "beam": 3,
        "length_penalty": 0.6,
        "step": "student.step.onnx",
    }
    assert [i.name for i in reader.graph.input] == ["inputs"] and step.graph.input[0].name == "last"
    for model in (reader, step):
        assert [t.name for t in model.graph.initializer if t.external_data], "both hold the embedding outside"
        assert b".py" not in model.SerializeToString()


def test_from_text_to_text_without_torch(made: Exported) -> None:
    script = (
        "import sys, json, potstill as ps\n"
        "t = ps.Translator(sys.argv[1])\n"
        "print(json.dumps([t(json.loads(sys.argv[2])), t([]), 'torch' in sys.modules]))\n"
    )
    some = ["der Hund schläft ☕", "a man", "ein Mann läuft und läuft und läuft"]
    command = [sys.executable, "-c", script, str(made.folder), json.dumps(some)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == [made.written(some), [], False]
    assert len(set(found[0])) == 3


def test_what_is_wrong_with_texts_and_folders_is_named(made: Exported, tmp_path: Path) -> None:
    translate = Translator(made.folder / "student.onnx")
    with pytest.raises(PotstillError, match="must be a list of texts"):
        translate("ein Mann")
    with pytest.raises(PotstillError, match=r"texts\[1\]: must have characters"):
        translate(["ein Mann", " "])
    with pytest.raises(PotstillError, match="must be a run folder with a student"):
        Translator(tmp_path)
    file = made.copy(tmp_path / "no_card")
    (file.parent / "student.json").unlink()
    with pytest.raises(PotstillError, match="must say how texts become tokens"):
        Translator(file)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"step": "../student.step.onnx"}, "step is no file name"),
        ({"step": "/etc/passwd"}, "step is no file name"),
        ({"step": "other.onnx"}, "must have other.onnx beside it"),
        ({"mark": 0}, "numbers out of bounds"),
        ({"length": 1 << 40}, "numbers out of bounds"),
        ({"beam": "3"}, "numbers out of bounds"),
        ({"length_penalty": float("nan")}, "numbers out of bounds"),
        ({"more": 1}, "must say how texts are written"),
        (None, "must say how texts are written"),
    ],
)
def test_a_card_that_cannot_be_is_refused(
    made: Exported, tmp_path: Path, card: dict[str, Any] | None, words: str
) -> None:
    file = made.copy(tmp_path / "run")
    model = onnx.load(str(file), load_external_data=False)
    entry = next(m for m in model.metadata_props if m.key == "writing")
    entry.value = "[" if card is None else json.dumps({**json.loads(entry.value), **card})
    file.write_bytes(model.SerializeToString())
    with pytest.raises(PotstillError, match=words):
        opened(file)


def test_files_that_are_not_together_are_refused(made: Exported, tmp_path: Path) -> None:
    file = made.copy(tmp_path / "run")
    with pytest.raises(PotstillError, match=r"one writes its tokens\. Give student\.onnx"):
        opened(file.with_name("student.step.onnx"))
    shutil.copy(file, file.with_name("student.step.onnx"))
    with pytest.raises(PotstillError, match=r"Files of two models\?"):
        opened(file)
    file.with_name("student.shared.bin").unlink()
    with pytest.raises(PotstillError, match="external data must be a file in the model's own folder"):
        opened(file)


class Plain(nn.Module):
    """A translator without a memory."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, ids_B2L: Tensor) -> Tensor:
        out: Tensor = self.module(ids_B2L)
        return out


def test_a_model_without_a_memory_is_one_file_and_run_anew(made: Exported, tmp_path: Path) -> None:
    module = Plain(made.module).eval()
    artifact = export_model(OnnxSpec(), made.preprocess, module, made.ids, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["student.onnx"]
    parity = compare_model(made.preprocess, module, artifact, made.ids, 1e-4)
    assert parity.top1_agreement == 1.0
    assert np.array_equal(artifact(made.ids), made.artifact(made.ids))


class Classes(ExporterSpec):
    """A format of models that answer at once."""

    kind: str = "classes-only"
    tolerance: float = 1e-4

    def export(self, module: nn.Module, example_BX: Any, out: Path) -> Any:
        raise AssertionError("not asked")

    def load(self, path: Path, threads: int = 1) -> Any:
        raise AssertionError("not asked")


def test_a_format_that_cannot_write_says_so(made: Exported, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"export\.classes-only: the model must give one answer at once"):
        export_model(Classes(), made.preprocess, made.module, made.ids, tmp_path)
