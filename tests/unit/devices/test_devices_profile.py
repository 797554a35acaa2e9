"""Profiles: every number has a status and a source, and a wrong file says what is wrong where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from potstill.core.errors import DeviceError
from potstill.devices.catalogue import PROFILES, names, profile_of
from potstill.devices.rows import groups


def test_the_sixteen_devices_and_the_host_are_there() -> None:
    assert len(names()) == 17 and names()[-1] == "host"
    for name in names():
        assert profile_of(name).name == name


@pytest.mark.parametrize("name", [n for n in names() if n != "host"])
def test_a_profile_says_where_it_knows_from(name: str) -> None:
    profile = profile_of(name)
    for field, fact in profile.facts():
        assert fact.source or fact.status == "unknown", field
    asked = {(e.board, e.runtime, e.version, e.dtype, e.threads) for e in profile.latency}
    there = {group for group in groups() if group[0] in profile.boards}
    assert asked == there  # no group of rows is forgotten, none made up


def test_the_host_is_measured_now() -> None:
    host = profile_of("host")
    assert host.cores.status == host.ram_bytes.status == "measured" and not host.latency
    assert host.ram_bytes.low == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert host.clock_mhz.status == "unknown" and host.clock_mhz.low is None


def written(folder: Path, **changes: object) -> str:
    """Return the path of a copy of a profile with changes; None takes a field away."""
    raw = {**yaml.safe_load((PROFILES / "rp2350.yaml").read_text()), "name": "mine", **changes}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in raw.items() if v is not None}))
    return str(path)


def test_ones_own_file_is_a_device(tmp_path: Path) -> None:
    assert profile_of(written(tmp_path)).name == "mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ram_byte": 3}, "ram_byte: is not a field here. Nearest: 'ram_bytes'"),
        ({"cores": None}, "cores: is required; got nothing"),
        ({"flash_bytes": None}, "flash_bytes is required of a microcontroller"),
        ({"ram_bytes": {"low": 5, "high": 4, "status": "verified", "source": "x"}}, "ram_bytes: low must be at most high; got 5.0 and 4.0"),
        ({"ram_bytes": {"low": 5, "high": 5, "status": "verified"}}, "ram_bytes: source is required of what is verified"),
        ({"ram_bytes": {"low": 5, "high": 5, "status": "unknown"}}, "ram_bytes: low and high must both be there unless status is unknown"),
        ({"ram_bytes": {"status": "guessed"}}, "ram_bytes.status: input should be 'verified'"),
        ({"name": "other"}, "name: must be the file's, 'mine'; got 'other'"),
        ({"latency": [{"board": "b", "runtime": "r", "version": "", "dtype": "int8", "threads": "1", "form": "macs"}]}, "must be one of boards"),
    ],
)  # fmt: skip
def test_a_wrong_profile_says_what_is_wrong_where(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(DeviceError) as err:
        profile_of(path)
    assert words in str(err.value) and path in str(err.value)


@pytest.mark.parametrize("text", ["a: " + "[" * 2000, "a: 2001-13-45", "\0"], ids=["nested", "no date", "no text"])
def test_what_yaml_cannot_hold_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(DeviceError, match=r"x\.yaml: must be a profile in YAML"):
        profile_of(str(tmp_path / "x.yaml"))


def test_what_is_no_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [")
    for name, words in ((str(tmp_path / "x.yaml"), "must be a profile in YAML"), (str(tmp_path / "none.yaml"), "No such file"),
                        ("rpi44", "Nearest: 'rpi4'")):  # fmt: skip
        with pytest.raises(DeviceError, match=words):
            profile_of(name)
