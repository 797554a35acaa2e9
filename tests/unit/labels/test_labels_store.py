"""The store: no wrong row, no lost shard, whatever happens to the disk or the process."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.core.errors import PotstillError, StoreError
from potstill.labels.codecs import registry
from potstill.labels.codecs.float16 import Float16Spec
from potstill.labels.codecs.float32 import Float32Spec
from potstill.labels.codecs.token_ids import TokenIdsSpec
from potstill.labels.codecs.topk import TopKSpec
from potstill.labels.live import LiveStore
from potstill.labels.rows import StoreRows
from potstill.labels.store import LabelStore
from potstill.labels.writer import check, discard_damaged, write_store

ROWS, CLASSES, VIEWS = 330, 12, 2
Z = np.random.default_rng(0).normal(scale=3, size=(VIEWS, ROWS, CLASSES)).astype(np.float32)
FINGERPRINT = {"threads": 1, "packages": {"numpy": "1"}}


def label(rows: np.ndarray, view: int) -> np.ndarray:
    assert len(rows) == 32, "the teacher always sees a whole micro-batch"
    return Z[view][rows]


def write(folder: Path, codec: Any = None, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "num_rows": ROWS, "shape": (CLASSES,), "views": VIEWS, "codec": codec or Float16Spec(), "output": "logits",
        "identity": {"teacher": "t"}, "fingerprint": FINGERPRINT, "micro_batch": 32, "shard_rows": 96,
    }  # fmt: skip
    write_store(folder, **{"label": label, **settings, **changes})
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", ["float32", "float16", "int8-affine", "topk"])
def test_rows_come_back_in_the_order_asked_across_shards(tmp_path: Path, kind: str) -> None:
    codec = registry[kind](k=4) if kind == "topk" else registry[kind]()
    store = LabelStore.open(write(tmp_path, codec))
    rows = np.random.default_rng(1).integers(0, ROWS, 200)
    for view in range(VIEWS):
        expected = codec.decode(codec.encode(Z[view][rows]), CLASSES, 2.0)
        assert np.array_equal(store.values(view, rows, 2.0), expected)
    assert len(store.manifest["shards"]) == 8
    with pytest.raises(IndexError):
        store.read(VIEWS, rows)
    with pytest.raises(IndexError):
        store.read(0, np.array([ROWS]))
    with pytest.raises(IndexError):
        store.read(0, np.array([-1]))


def test_a_live_teacher_reads_the_same_bits(tmp_path: Path) -> None:
    """The labeller's rows depend on their micro-batch, as real ones do: only canonical batches agree."""

    def fussy(rows: np.ndarray, view: int) -> np.ndarray:
        return Z[view][rows] + np.float32(rows.sum() % 97) * np.float32(1e-3)

    for codec in (Float32Spec(), Float16Spec(), TopKSpec(k=3)):
        folder = tmp_path / codec.kind
        store = LabelStore.open(write(folder, codec, label=fussy))
        live = LiveStore(fussy, num_rows=ROWS, width=CLASSES, views=VIEWS, codec=codec, output="logits", micro_batch=32)
        draw = np.random.default_rng(2)
        for view in (0, 1, 0):
            rows = draw.integers(0, ROWS, 50)
            ours, theirs = live.read(view, rows), store.read(view, rows)
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_every_flipped_bit_is_found_named_and_mended(tmp_path: Path) -> None:
    whole = content(write(tmp_path / "whole"))
    folder = write(tmp_path / "store")
    assert content(folder) == whole, "the same labels give the same bytes"
    draw = random.Random(3)
    for _ in range(60):
        name = draw.choice(sorted(whole))
        path, at = folder / name, draw.randrange(len(whole[name]))
        data = bytearray(whole[name])
        data[at] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(data))
        found = [d.file for d in check(folder)]
        assert name in found, f"{name} byte {at}: {found}"
        if not name.startswith("logits/") or name.endswith(".safetensors"):
            with pytest.raises(StoreError, match="potstill labels repair"):
                LabelStore.open(folder)
        assert name in discard_damaged(folder)
        write(folder)
        assert content(folder) == whole
        assert check(folder) == []


def test_truncated_files_are_errors_never_a_signal(tmp_path: Path) -> None:
    folder = write(tmp_path)
    shard = folder / "logits" / "v001-s00002.safetensors"
    whole = shard.read_bytes()
    for length in (0, 7, 8, 60, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:length])
        for verify in (True, False):
            with pytest.raises(StoreError, match="v001-s00002"):
                LabelStore.open(folder, verify=verify)
    shard.unlink()
    with pytest.raises(StoreError, match="is missing"):
        LabelStore.open(folder)
    shard.write_bytes(whole)
    LabelStore.open(folder).verify()
    (folder / "manifest.json").unlink()
    with pytest.raises(StoreError, match="must be a finished label store"):
        LabelStore.open(folder)


WRITER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    import test_labels_store as t
    def slow(rows, view):
        time.sleep(0.004)
        return t.label(rows, view)
    t.write(Path(sys.argv[1]), label=slow)
    """
)


def writer(folder: Path) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), here], stderr=subprocess.PIPE)


def test_killed_at_random_moments_the_writer_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    whole = content(write(tmp_path / "whole"))
    folder = tmp_path / "store"
    draw = random.Random(4)
    for _ in range(8):
        process = writer(folder)
        try:
            process.wait(timeout=draw.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    process = writer(folder)
    assert process.wait(timeout=60) == 0
    left = {name: data for name, data in content(folder).items() if not name.endswith(".tmp") and name != ".lock"}
    assert left == whole


def test_finished_shards_are_not_labelled_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def failing(rows: np.ndarray, view: int) -> np.ndarray:
        if view == 1:
            raise RuntimeError("the teacher's machine went away")
        calls.append(view)
        return label(rows, view)

    with pytest.raises(RuntimeError):
        write(tmp_path, label=failing)
    calls.clear()

    def counting(rows: np.ndarray, view: int) -> np.ndarray:
        calls.append(view)
        return label(rows, view)

    write(tmp_path, label=counting)
    assert set(calls) == {1}


def test_two_writers_at_once_leave_one_whole_store(tmp_path: Path) -> None:
    processes = [writer(tmp_path / "store") for _ in range(2)]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error.decode()
    assert check(tmp_path / "store") == []


def test_work_begun_under_other_numerics_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "manifest.json").unlink()
    other = {**FINGERPRINT, "threads": 2}
    with pytest.raises(StoreError, match="threads"):
        write(folder, fingerprint=other)
    write(folder, fingerprint=other, accept_fingerprint=True)
    assert LabelStore.open(folder).manifest["fingerprint"] == other


def test_another_stores_shards_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with pytest.raises(StoreError, match="belong to this store"):
        write(folder, identity={"teacher": "another"})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_row_and_view(tmp_path: Path, bad: float) -> None:
    def broken(rows: np.ndarray, view: int) -> np.ndarray:
        out = label(rows, view).copy()
        out[(rows == 201) & (view == 1)] = bad
        return out

    with pytest.raises(StoreError, match="row 201, view 1"):
        write(tmp_path, label=broken)
    assert not (tmp_path / "manifest.json").exists()


def test_what_is_no_probability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="sum to 1"):
        write(tmp_path / "a", output="probabilities")
    good = write(tmp_path / "b", output="probabilities", label=lambda r, v: np.full((len(r), CLASSES), 1 / CLASSES))
    rows = StoreRows(LabelStore.open(good), 0, np.arange(5))
    assert rows.probabilities().sum(dim=1).allclose(rows.probabilities().sum(dim=1).new_ones(5), atol=1e-2)
    with pytest.raises(StoreError, match="needs the teacher's logits"):
        rows.logits()


def test_a_full_disk_and_a_read_only_folder_are_named(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_labels_store as t
        from pathlib import Path
        from potstill.core.errors import PotstillError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2200, 2200))
        try:
            t.write(Path(sys.argv[1]))
        except PotstillError as err:
            print(err)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "could not be written" in done.stdout and "run the same command again" in done.stdout
    write(tmp_path)
    LabelStore.open(tmp_path)
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(PotstillError):
            write(locked / "store")


def test_reading_adds_no_anonymous_memory(tmp_path: Path) -> None:
    """RssAnon of a child that reads every row of a small and of a ten times larger store."""
    code = textwrap.dedent(
        """
        import sys
        import numpy as np
        from potstill.labels.store import LabelStore
        store = LabelStore.open(sys.argv[1])
        for start in range(0, store.num_rows, 256):
            store.read(0, np.arange(start, min(start + 256, store.num_rows)))
        assert "torch" not in sys.modules
        print([l for l in open("/proc/self/status") if l.startswith("RssAnon")][0].split()[1])
        """
    )
    used = []
    for num in (2_000, 20_000):
        folder = tmp_path / str(num)
        values = np.random.default_rng(0).normal(size=(num, 100)).astype(np.float32)
        write_store(
            folder, lambda r, v, values=values: values[r], num_rows=num, shape=(100,), views=1, codec=Float32Spec(),
            output="logits", identity={}, fingerprint={}, micro_batch=500,
        )  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        used.append(int(done.stdout) * 1024)
    assert (used[1] - used[0]) / 18_000 < 16, "bytes a row"


def test_the_manifest_says_where_labels_come_from(tmp_path: Path) -> None:
    manifest = json.loads((write(tmp_path) / "manifest.json").read_text())
    assert manifest["identity"] == {"teacher": "t"} and manifest["fingerprint"] == FINGERPRINT
    assert set(manifest["error"]) == {"1", "2", "4", "standardized"}
    first = manifest["shards"][0]
    assert first["min"] == pytest.approx(float(Z[0][:96].min())) and first["max"] == pytest.approx(
        float(Z[0][:96].max())
    )


def test_tokens_come_back_as_they_were_and_nothing_else_does(tmp_path: Path) -> None:
    """Ids of a vocabulary of 250,000, with padding; no error of a distribution is stated, since they are none."""
    ids = np.random.default_rng(5).integers(-1, 250_000, (ROWS, 7)).astype(np.float32)
    write(tmp_path, TokenIdsSpec(), shape=(7,), views=1, output="tokens", label=lambda rows, view: ids[rows])
    store, rows = LabelStore.open(tmp_path), np.array([3, 0, 329, 3])
    found = StoreRows(store, 0, rows).tokens()
    assert str(found.dtype) == "torch.int64" and np.array_equal(found.numpy(), ids[rows].astype(np.int64))
    assert store.manifest["error"] == {} and store.facts()["bytes_per_row"] >= 28
    with pytest.raises(StoreError, match="needs the teacher's logits; the store holds tokens"):
        StoreRows(store, 0, rows).logits()
    with pytest.raises(StoreError, match=r"must be given ids of tokens, whole numbers from -1 to 16777216; got 0\.5"):
        write(tmp_path / "b", TokenIdsSpec(), views=1, output="tokens", label=lambda rows, view: np.full((32, 12), 0.5))


def test_values_come_back_flat_and_are_no_logits(tmp_path: Path) -> None:
    store = LabelStore.open(write(tmp_path, Float32Spec(), output="values"))
    rows = np.array([1, 200])
    assert np.array_equal(StoreRows(store, 1, rows).values().numpy(), Z[1][rows])
    assert store.manifest["error"] == {}
    for read in ("logits", "probabilities", "tokens"):
        with pytest.raises(StoreError, match=r"the store holds values\. Use an objective that reads these"):
            getattr(StoreRows(store, 0, rows), read)()
    with pytest.raises(StoreError, match="needs the teacher's values; the store holds logits"):
        StoreRows(LabelStore.open(write(tmp_path / "l")), 0, rows).values()
