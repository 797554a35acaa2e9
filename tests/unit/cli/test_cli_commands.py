"""The command line as a stranger meets it: help that fits, every fault in one message, the exit codes of the README."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from potstill.cli import main
from potstill.cli.app import app

RUNNER = CliRunner()
ROOT = Path(__file__).resolve().parents[3]

SURFACE = {
    "init": {"task", "--data", "--out", "--force"},
    "plan": {"recipe", "--json"},
    "run": {"recipe", "--out", "--threads", "--device", "--log", "--samples", "--no-samples", "--accept-fingerprint",
            "--json"},
    "compare": {"recipe", "--arms", "--seeds", "--weight-bytes", "--macs", "--latency-ms", "--out", "--threads", "--accept-fingerprint", "--json"},
    "taps": {"recipe", "--json"},
    "bundle": {"run", "--export", "--rows", "--out", "--json"},
    "verify": {"model", "--data", "--device", "--rows", "--from-device", "--threads", "--scale", "--run-program", "--json"},
    "export-c": {"model", "--out", "--json"},
    "fit": {"models", "--device", "--all-devices", "--latency-ms", "--peak-memory-bytes", "--flash-bytes", "--energy-mj", "--as", "--dim",
            "--json"},
    "devices": {"--json"},
    "devices show": {"name"},
    "devices measure": {"--out", "--quick", "--json"},
    "report": {"run", "--samples", "--no-samples"},
    "list": {"family", "--json"},
    "schema": set(),
    "import-weights": {"file", "--out"},
    "labels check": {"folder", "--json"},
    "labels repair": {"folder", "--accept-fingerprint"},
    "cache ls": {"--json"},
    "cache gc": {"--older-than-days", "--damaged", "--all"},
}  # fmt: skip
"""Other tools call these: an entry that goes away or changes its name breaks them."""


def said(*args: object, columns: int = 80) -> tuple[int, str, str]:
    """Return (exit code, standard output, standard error) of a command, in this process."""
    done = RUNNER.invoke(app, list(map(str, args)), env={"COLUMNS": str(columns), "TERMINAL_WIDTH": str(columns)})
    return done.exit_code, done.stdout, done.stderr


def faulty(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    """Return (exit code, message) of a command through `main`; nothing may be printed as a result."""
    before = sys.argv
    sys.argv = ["potstill", *map(str, args)]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    assert isinstance(stop.value.code, int)
    return stop.value.code, err


def test_the_surface_is_what_other_tools_rely_on() -> None:
    found = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        alone = [(name, command)] if getattr(command, "invoke_without_command", True) else []
        for full, leaf in [*alone, *((f"{name} {n}", c) for n, c in getattr(command, "commands", {}).items())]:
            found[full] = {o for p in leaf.params for o in (*p.opts, *p.secondary_opts)} - {"--help", "-h"}
    assert found == SURFACE


@pytest.mark.parametrize("command", ["", "labels", "cache", *SURFACE])
def test_help_fits_eighty_columns_and_is_complete(command: str) -> None:
    code, out, _ = said(*command.split(), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out, "nothing is cut off"
    assert not re.search(r"\w\.\.\.$", out, re.M), "nothing is cut off"
    for option in SURFACE.get(command, set()):
        assert option in out
    assert said(*command.split(), "-h")[1] == out


def test_every_option_and_argument_says_what_it_is() -> None:
    from typer._click.core import Command

    def leaves(command: Command) -> list[Command]:
        alone = [command] if getattr(command, "invoke_without_command", True) and command.name != "root" else []
        return alone + [leaf for c in getattr(command, "commands", {}).values() for leaf in leaves(c)]

    for command in leaves(get_command(app)):
        assert command.help
        bare = [p.name for p in command.params if not getattr(p, "help", None)]
        assert not bare, f"{command.name}: {bare}"


def test_without_a_command_it_shows_the_help() -> None:
    code, out, err = said()
    assert code == 2
    assert "Usage: potstill" in (out + err).replace("root", "potstill") and "init " in out + err


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert said("--version")[1] == f"potstill {version('potstill')}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["pln", "x.yaml"], "Did you mean 'plan'?"),
        (["labels", "chek", "x"], "Did you mean 'check'?"),
        (["nonsense"], "No such command 'nonsense'"),
        (["run"], "Missing argument 'recipe'"),
        (["run", "a", "b"], "unexpected extra argument"),
        (["run", "--treads", "2", "x"], "--threads"),
        (["run", "--threads", "-1", "x"], "--threads"),
        (["run", "--threads", "two", "x"], "--threads"),
        (["run", "--log", "wandb", "x"], "'csv', 'tensorboard'"),
        (["verify", "a.onnx", "--data", "r.yaml", "--threads", "0"], "--threads"),
        (["cache", "gc", "--older-than-days", "-1"], "--older-than-days"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_which_part(args: list[str], words: str) -> None:
    code, out, err = said(*args)
    assert code == 2
    assert words in err
    assert out == "" and "Traceback" not in err


def test_list_says_what_there_is() -> None:
    code, out, _ = said("list")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert re.search(r"^ *models +ds-cnn, ds-cnn-1d", out, re.M)
    families = json.loads(said("list", "--json")[1])
    assert "soft-label" in families["objectives"] and "image-folder" in families["data"]
    for family, kinds in families.items():
        code, out, _ = said("list", family)
        assert code == 0 and max(map(len, out.splitlines())) <= 80
        listed = json.loads(said("list", family, "--json")[1])
        assert [entry["kind"] for entry in listed] == kinds
        assert all(entry["summary"] for entry in listed)


def test_list_names_the_nearest_family(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = faulty(capsys, "list", "objectivs")
    assert code == 2 and "Nearest: 'objectives'" in err and "schedules" in err


def test_the_schema_is_json() -> None:
    schema = json.loads(said("schema")[1])
    assert "teacher" in schema["properties"]


def test_no_plan_of_a_recipe_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, err = faulty(capsys, "plan", tmp_path / "nothing.yaml")
    assert code == 2 and "must be a file that exists" in err and "potstill init" in err


def test_several_faults_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("name: x\ndata: {kind: digit}\nstudent: {kind: ds-cnn, widht: 3}\n")
    code, err = faulty(capsys, "run", tmp_path / "r.yaml")
    assert code == 2
    assert len(err.splitlines()) == 4
    assert all(line.startswith(str(tmp_path / "r.yaml:")) for line in err.splitlines())
    assert "Nearest: 'digits'" in err and "Nearest: 'width'" in err


def test_a_cache_that_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "file"))
    for args in (["cache", "ls"], ["cache", "gc"], ["plan", ROOT / "recipes" / "digits.yaml"]):
        code, err = faulty(capsys, *args)
        assert code == 2
        assert err.count("\n") == 1 and "the cache must be a folder" in err and "POTSTILL_CACHE" in err


def test_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    for option in ((), ("--all",), ("--damaged",), ("--older-than-days", "0")):
        assert said("cache", "gc", *option)[:2] == (0, "0 removed, 0 B freed\n")
    assert said("cache", "ls")[1] == f"{tmp_path / 'cache'}: 0 artifacts, 0 B\n"
    assert said("cache", "ls", "--json")[1] == "[]\n"


def test_an_out_folder_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("x")
    code, err = faulty(capsys, "run", ROOT / "recipes" / "digits.yaml", "--out", tmp_path / "file" / "run")
    assert code == 2 and f"--out {tmp_path / 'file' / 'run'}" in err


def test_no_other_device_than_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = faulty(capsys, "run", ROOT / "recipes" / "digits.yaml", "--device", "gpu")
    assert code == 2 and "'gpu'" in err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "got a folder without results.json"),
        ("{", "must be a readable JSON file"),
        ("{}", "schema 1; got None"),
        ("[]", "schema 1; got list"),
        ('{"schema": 99}', "schema 1; got 99"),
        ('{"schema": 1, "name": "x"}', "must be as a run wrote it"),
        ("[" * 9000, "must be a readable JSON file"),
    ],
)
def test_a_report_of_what_is_no_finished_run(
    tmp_path: Path, content: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    code, err = faulty(capsys, "report", tmp_path)
    assert code == 2 and words in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ([] if content is None else ["results.json"])
    code, err = faulty(capsys, "report", tmp_path / "nowhere")
    assert code == 2 and "got none. Finish it first: potstill run" in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no.onnx", "must be a .onnx file that exists; got none"),
        ("folder.onnx", "got a folder"),
        ("weights.bin", "got .bin"),
        ("text.onnx", "must be an ONNX model"),
    ],
)
def test_verify_of_a_wrong_file(
    tmp_path: Path, name: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "folder.onnx").mkdir()
    for file in ("weights.bin", "text.onnx"):
        (tmp_path / file).write_text("hello")
    code, err = faulty(capsys, "verify", tmp_path / name, "--data", ROOT / "recipes" / "digits.yaml")
    assert code == 2 and words in err


def test_labels_of_what_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["check", tmp_path], ["repair", tmp_path], ["check", tmp_path / "nowhere"]):
        code, err = faulty(capsys, "labels", *args)
        assert code == 2 and "must be a label store or a run folder" in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "a.bin"), "a.bin: No space left on device. Free space"),
        (OSError(30, "Read-only file system"), "Read-only file system. Make it writable"),
        (PermissionError(13, "Permission denied", "photos"), "photos: Permission denied. Make it accessible"),
    ],
)
def test_the_disks_faults_are_one_line(
    error: OSError, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("potstill.cli.init.write_recipe", fail)
    code, err = faulty(capsys, "init")
    assert code == 2 and words in err and "run the same command again" in err


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("potstill.cli.init.write_recipe", fail)
    monkeypatch.setattr(sys, "argv", ["potstill", "init"])
    with pytest.raises(OSError, match="Invalid argument"):
        main()


@pytest.mark.parametrize(("error", "code"), [("BudgetError", 3), ("ParityError", 4), ("MissingExtraError", 5)])
def test_errors_have_the_exit_codes_of_the_readme(
    error: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from potstill.core import errors

    def fail(*_: object, **__: object) -> None:
        raise getattr(errors, error)("here: it does not fit.")

    monkeypatch.setattr("potstill.cli.init.write_recipe", fail)
    assert faulty(capsys, "init") == (code, "error: here: it does not fit.\n")


def test_an_interruption_says_what_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("potstill.cli.init.write_recipe", fail)
    code, err = faulty(capsys, "init")
    assert code == 130 and "the same command goes on from there" in err


def test_a_terminal_without_unicode_is_written_to_all_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "potstill", "cache", "ls"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "POTSTILL_CACHE": str(tmp_path / "c\u00e4che")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "c\\xe4che: 0 artifacts" in done.stdout


def test_weights_with_code_in_them_run_nothing_and_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil.pth").write_bytes(f"cos\nsystem\n(S'touch {tmp_path}/ran'\ntR.".encode())
    code, err = faulty(capsys, "import-weights", tmp_path / "evil.pth")
    assert code == 2 and err.count("\n") == 1
    assert "a name of code, os.system, which was not run" in err and "state_dict" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.pth"]
