"""Pairs of texts: two files, a table, and what is wrong with them, by row."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data.dataset import Dataset, prepare, text_of
from potstill.data.parallel import PairedFiles, ParallelSpec

PAIRS = [(f"der Satz {i} ☕", f"sentence {i}") for i in range(20)]


def two_files(folder: Path, pairs: list[tuple[str, str]] = PAIRS, suffix: str = "") -> PairedFiles:
    for side, name in enumerate(("de", "en")):
        data = "".join(pair[side] + "\n" for pair in pairs).encode()
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(data) if suffix == ".gz" else data)
    return PairedFiles(source=folder / f"de{suffix}", target=folder / f"en{suffix}")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_lines_of_two_files_belong_together(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "out").mkdir()
    prepare(ParallelSpec(train=two_files(tmp_path, suffix=suffix)), tmp_path / "out", Progress("quiet"))
    dataset = Dataset.open(tmp_path / "out")
    train = dataset.splits["train"]
    assert train.targets is not None and train.targets.dtype == np.uint8
    for source, target in zip(train.samples, train.targets, strict=True):
        assert (text_of(source), text_of(target)) in PAIRS
    texts = list(dataset.stats.texts())
    assert len(texts) == 2 * len(train) and texts[0].startswith("der") and texts[-1].startswith("sentence")


def test_a_table_has_two_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("de,en\n" + "".join(f"{a},{b}\n" for a, b in PAIRS))
    spec = ParallelSpec(train=PairedFiles(source=tmp_path / "t.csv"), source_column="de", target_column="en")
    chunk = next(spec.open().splits["train"].chunks())
    assert (
        chunk.targets is not None
        and text_of(chunk.targets[3]) == "sentence 3"
        and text_of(chunk.samples[3]) == PAIRS[3][0]
    )
    with pytest.raises(DataError, match=r"must have a column 'english'. .*It has: de, en"):
        ParallelSpec(train=PairedFiles(source=tmp_path / "t.csv"), source_column="de", target_column="english").open()


def test_what_is_wrong_is_named_by_its_line(tmp_path: Path) -> None:
    files = two_files(tmp_path)
    (tmp_path / "en").write_text("".join(f"{b}\n" for _, b in PAIRS[:-3]))
    with pytest.raises(DataError, match=r"en: must have as many lines as de; it ends after 17"):
        ParallelSpec(train=files).open()
    files = two_files(tmp_path, [*PAIRS[:4], ("", "x"), *PAIRS[5:]])
    with pytest.raises(DataError, match=r"de line 5, source: text must not be empty"):
        ParallelSpec(train=files).open()
    files = two_files(tmp_path, [*PAIRS[:6], ("ja", " "), *PAIRS[7:]])
    with pytest.raises(DataError, match=r"de line 7: must have a translation; got ' '"):
        ParallelSpec(train=files).open()
    (tmp_path / "en").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="must be UTF-8"):
        ParallelSpec(train=files).open()
    with pytest.raises(DataError, match="must be a table"):
        ParallelSpec(train=PairedFiles(source=tmp_path / "de")).open()


def test_untranslated_rows_may_be_kept_for_a_teacher(tmp_path: Path) -> None:
    files = two_files(tmp_path, [*PAIRS[:6], ("ja", ""), *PAIRS[7:]])
    chunk = next(ParallelSpec(train=files, untranslated="keep").open().splits["train"].chunks())
    assert chunk.labels[6] == -1 and chunk.labels.sum() == -1
    assert chunk.targets is not None and not chunk.targets[6].any()
