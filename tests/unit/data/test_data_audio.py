"""Recordings as people have them: every depth of WAV, other rates, stereo, speakers who must not be on both sides."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import wavfile

from potstill.core.errors import DataError
from potstill.core.progress import Progress
from potstill.data._wav import decode_wav, encode_wav, read_header
from potstill.data.audio_folder import AudioFolderSpec
from potstill.data.audio_table import AudioTableSpec
from potstill.data.dataset import Dataset, prepare

RATE = 8000


def tone(num: int = 2000, hz: float = 440.0, rate: int = RATE, level: float = 0.5) -> NDArray[np.float64]:
    found: NDArray[np.float64] = level * np.sin(2 * np.pi * hz * np.arange(num) / rate)
    return found


def written(samples: NDArray[Any], rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, samples)
    return buffer.getvalue()


def of_24_bits(samples: NDArray[np.int64]) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(RATE)
        file.writeframes(b"".join(int(v).to_bytes(3, "little", signed=True) for v in samples))
    return buffer.getvalue()


def folder_of(root: Path, sounds: dict[str, bytes]) -> Path:
    for name, data in sounds.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def six(root: Path, **more: bytes) -> Path:
    """Three recordings of each of two classes, no two alike, by three speakers."""
    sounds = {f"{c}/{who}_{c}.wav": encode_wav((tone(hz=200 + 80 * i + 25 * j) * 32767).astype(np.int16), RATE)
              for i, c in enumerate(("no", "yes")) for j, who in enumerate(("ada", "bob", "cyd"))}  # fmt: skip
    return folder_of(root, {**sounds, **more})


def refused(spec: AudioFolderSpec | AudioTableSpec) -> str:
    with pytest.raises(DataError) as caught:
        for reader in spec.open().splits.values():
            list(reader.chunks())
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "step"),
    [
        (written((tone() * 127 + 128).round().astype(np.uint8)), 1 / 128), (written((tone() * 32767).astype(np.int16)), 2**-15),
        (of_24_bits((tone() * 8388607).astype(np.int64)), 2**-23), (written((tone() * 2147483647).astype(np.int32)), 2**-31),
        (written(tone().astype(np.float32)), 1e-7), (written(tone()), 1e-15),
    ],
    ids=["8", "16", "24", "32", "float32", "float64"],
)  # fmt: skip
def test_every_depth_gives_the_same_sound(data: bytes, step: float) -> None:
    rate, sound = decode_wav(data, "x")
    assert rate == RATE and sound.shape == (2000, 1)
    assert np.abs(sound[:, 0] - tone()).max() <= 2 * step


def test_sixteen_bits_are_kept_bit_for_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-32768, 32768, 2000).astype(np.int16)
    values[:2] = -32768, 32767
    folder_of(tmp_path, {"a/1.wav": encode_wav(values, RATE), "b/1.wav": encode_wav(values[::-1], RATE)})
    chunk = next(AudioFolderSpec(path=tmp_path, seconds=0.25).open().splits["train"].chunks())
    assert np.array_equal(chunk.samples[0], values)


def test_a_header_of_the_extensible_kind_and_odd_chunks_are_read() -> None:
    body = (tone(100) * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHHHHIH14s", 0xFFFE, 1, RATE, RATE * 2, 2, 16, 22, 16, 4, 1, b"\0" * 14)
    data = (
        b"RIFF\xff\xff\xff\xffWAVE"
        b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(form)) + form
    )
    piped = data + b"data\xff\xff\xff\xff" + body
    assert read_header(piped, "x").num_frames == 100
    assert np.array_equal(decode_wav(piped, "x")[1][:, 0] * 32768, np.frombuffer(body, "<i2"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "must be a WAV file"), (b"fLaC" + bytes(40), "got FLAC"), (encode_wav(np.ones(50, np.int16), RATE)[:-3], "whole WAV"),
        (encode_wav(np.ones(50, np.int16), RATE)[:38], "ends before its samples"), (encode_wav(np.ones(0, np.int16), RATE), "no samples"),
        (written(np.array([0, np.nan], np.float32)), "NaN or Inf at 1"), (written(np.array([0, 300], np.float32)), r"\[-1, 1\]; got 300"),
        (written(np.zeros(9, np.int16)).replace(b"\x10\0\0\0\1\0", b"\x10\0\0\0\7\0"), "µ-law"),
    ],
)  # fmt: skip
def test_what_is_no_sound_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=f"^clip.wav: .*{said}"):
        decode_wav(data, "clip.wav")


def test_cuts_and_pads_in_the_middle_or_at_the_start(tmp_path: Path) -> None:
    short, long = np.arange(1, 101, dtype=np.int16), np.arange(1, 1001, dtype=np.int16)
    folder_of(tmp_path, {"a/1.wav": encode_wav(short, 1000), "b/1.wav": encode_wav(long, 1000)})
    for align, where, first in (("centre", 200, 251), ("start", 0, 1)):
        chunk = next(AudioFolderSpec(path=tmp_path, seconds=0.5, align=align).open().splits["train"].chunks())
        assert (
            np.array_equal(chunk.samples[0, where : where + 100], short) and np.count_nonzero(chunk.samples[0]) == 100
        )
        assert np.array_equal(chunk.samples[1], np.arange(first, first + 500))


def test_mixed_rates_and_stereo_are_refused_with_the_file_unless_they_may_be_changed(tmp_path: Path) -> None:
    fast = written((tone(4000, rate=16000, hz=300) * 32767).astype(np.int16), 16000)
    root = six(tmp_path / "rates", **{"yes/z.wav": fast})
    assert f"{root}/yes/z.wav: must have the rate of all, 8000 Hz" in refused(AudioFolderSpec(path=root, seconds=0.25))
    chunk = next(AudioFolderSpec(path=root, seconds=0.25, rate_hz=8000).open().splits["train"].chunks())
    wanted = tone(2000, hz=300) * 32767
    assert np.abs(chunk.samples[-1, 100:-100] - wanted[100:-100]).max() < 200  # resampled: the same tone
    left, right = (tone(2000, hz=hz) for hz in (200, 900))
    both = written((np.stack([left, right], 1) * 32767).astype(np.int16))
    root = six(tmp_path / "stereo", **{"no/both.wav": both})
    assert "no/both.wav: must have one channel; got 2. Set data.downmix: true" in refused(
        AudioFolderSpec(path=root, seconds=0.25)
    )
    chunk = next(AudioFolderSpec(path=root, seconds=0.25, downmix=True).open().splits["train"].chunks())
    row = chunk.names.index(str(root / "no/both.wav"))
    assert np.abs(chunk.samples[row] / 32768 - (left + right) / 2).max() < 1e-4


def test_whole_speakers_fall_on_one_side(tmp_path: Path) -> None:
    spec = AudioFolderSpec(path=six(tmp_path / "wav"), seconds=0.25, group_pattern="^([a-z]+)_", test_groups=("bob",),
                           validation_groups=("ada",))  # fmt: skip
    source = spec.open()
    found = {name: {n.split("/")[-1][:3] for c in r.chunks() for n in c.names} for name, r in source.splits.items()}
    assert found == {"train": {"cyd"}, "test": {"bob"}, "validation": {"ada"}}
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    prepare(AudioFolderSpec(path=tmp_path / "wav", seconds=0.25, group_pattern="^([a-z]+)_"), drawn, Progress("quiet"))
    splits = Dataset.open(drawn).splits
    sides = [set(np.asarray(s.groups).tolist()) for s in splits.values()]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 3
    assert "test_groups: must name groups there are; got 'bop'. Nearest: 'bob'" in refused(
        spec.model_copy(update={"test_groups": ("bop",)})
    )
    assert "must not share groups" in refused(spec.model_copy(update={"test_groups": ("ada",)}))
    assert "ada_no.wav: must match data.group_pattern" in refused(spec.model_copy(update={"group_pattern": "([0-9]+)"}))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_table_names_files_labels_and_speakers(tmp_path: Path, suffix: str) -> None:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    root = six(tmp_path)
    rows = [
        {"file": f"{c}/{who}_{c}.wav", "word": c, "who": who} for c in ("yes", "no") for who in ("ada", "bob", "cyd")
    ]
    rows[-1]["word"] = None  # type: ignore[assignment]
    table = root / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), table)
    elif suffix == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        table.write_text("file,word,who\n" + "".join(f"{r['file']},{r['word'] or ''},{r['who']}\n" for r in rows))
    spec = AudioTableSpec(
        train=table, audio_column="file", label_column="word", group_column="who", seconds=0.25, test_groups=("cyd",)
    )
    source = spec.open()
    chunk = next(source.splits["train"].chunks())
    assert source.classes == ["no", "yes"] and source.kind == "audio" and source.rate_hz == RATE
    assert chunk.labels.tolist() == [1, 1, 0, 0] and next(source.splits["test"].chunks()).labels.tolist() == [1, -1]
    assert np.array_equal(chunk.samples[0], np.frombuffer((root / "yes/ada_yes.wav").read_bytes()[44:], "<i2"))


def test_a_table_that_is_wrong_names_its_row(tmp_path: Path) -> None:
    root = six(tmp_path)
    (root / "gone.csv").write_text("audio,label\nyes/ada_yes.wav,yes\nyes/zed.wav,no\n")
    assert "gone.csv line 3: audio must name a file" in refused(AudioTableSpec(train=root / "gone.csv", seconds=0.25))
    (root / "odd.csv").write_text("audio,label\nyes/ada_yes.wav,yes\nno/ada_no.wav,maybe\n")
    spec = AudioTableSpec(train=root / "odd.csv", seconds=0.25, classes=("yes", "no"))
    assert "odd.csv line 3: label must be a known class; got 'maybe'" in refused(spec)
    assert "must have a column 'labl'. Nearest: 'label'" in refused(
        AudioTableSpec(train=root / "odd.csv", label_column="labl", seconds=0.25)
    )
    (root / "bare.csv").write_text("audio,label,who\nyes/ada_yes.wav,yes,ada\nno/ada_no.wav,no,\n")
    assert "bare.csv line 3" in refused(AudioTableSpec(train=root / "bare.csv", group_column="who", seconds=0.25))


def test_layouts_that_would_leave_recordings_out_are_refused(tmp_path: Path) -> None:
    assert "at least two; got none" in refused(
        AudioFolderSpec(path=folder_of(tmp_path / "a", {"1.wav": b""}), seconds=1.0)
    )
    mp3 = six(tmp_path / "b", **{"yes/x.mp3": b"ID3"})
    assert "x.mp3: must be a WAV file; got .mp3 (1 such in yes)" in refused(AudioFolderSpec(path=mp3, seconds=1.0))
    split = folder_of(tmp_path / "c", {f"{s}/{c}/1.wav": b"" for s in ("train", "more") for c in ("no", "yes")})
    assert "more: must be train, validation or test" in refused(AudioFolderSpec(path=split, seconds=1.0))


@pytest.mark.data
def test_spoken_digits_are_read_with_whole_speakers_apart(shared_data: Path, tmp_path: Path) -> None:
    spec = AudioTableSpec(
        train=shared_data / "spoken_digits" / "all.parquet", seconds=1.0, group_column="speaker", test_groups=("theo",)
    )
    prepare(spec, tmp_path, Progress("quiet"))
    dataset = Dataset.open(tmp_path)
    assert dataset.kind == "audio" and dataset.rate_hz == 8000 and dataset.shape == (8000,)
    assert len(dataset.splits["test"]) == 500 and np.bincount(dataset.splits["test"].labels).tolist() == [50] * 10
    groups = [set(np.asarray(s.groups).tolist()) for s in dataset.splits.values()]
    assert len(set().union(*groups)) == sum(map(len, groups)) == 6
