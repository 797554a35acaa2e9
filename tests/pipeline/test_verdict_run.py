"""A whole run that is judged by devices: exit code 3 after all is written, 0 where it fits or nobody knows, and then loudly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EDITS = (
    ("data.limit", 200),
    ("teacher.training.epochs", 6),
    ("steps.0.training.epochs", 3),
    ("controls", []),
    ("labels.views", 1),
    ("augment", []),
)
HARD = [
    {"device": "host", "latency_ms": 1e-6, "accuracy_drop": 1e-3},
    {"device": "rpi4", "export": "onnx", "latency_ms": 100},
]
EASY = [
    {"device": "host", "latency_ms": 1e4, "accuracy_drop": 100},
    {"device": "rpi4", "export": "onnx", "latency_ms": 100},
]


def test_a_run_ends_in_a_verdict(tmp_path: Path, cache: Path, write: Any, cli: Any) -> None:
    hard = write(*EDITS, ("devices", HARD), name="hard.yaml")
    planned = cli("plan", hard).stdout
    assert "rpi4, student.onnx: UNKNOWN whether it fits" in planned and "the student untrained, as ONNX" in planned
    assert "measured once the student is exported" in planned and not list((cache / "artifacts").iterdir())

    done = cli("run", hard, "--out", "run", "--threads", "1", check=3)
    run = tmp_path / "run"
    assert (
        "host: must fit its budget; got student.onnx, which does not: latency" in done.stderr
        and "rpi4" not in done.stderr
    )
    assert (
        "host, student.onnx: DOES NOT FIT" in done.stdout
        and "rpi4, student.onnx: UNKNOWN whether it fits" in done.stdout
    )
    assert done.stdout.rstrip().splitlines()[-1].startswith("Student:"), "all is written before it stops"
    results = json.loads((run / "results.json").read_text())
    host, board = results["verdicts"]
    lines = {line["name"]: line for line in host["lines"]}
    (artifact,) = results["artifacts"]
    assert (
        lines["latency_ms"]["value"] == artifact["latency_ms"]["median"] and lines["latency_ms"]["word"] == "measured"
    )
    assert lines["peak_memory_bytes"]["value"] == artifact["peak_memory_bytes"]["value"]
    points = 100 * (results["teacher"]["accuracy"]["value"] - artifact["accuracy"]["value"])
    assert abs(lines["accuracy_drop"]["value"] - points) < 1e-9 and lines["accuracy_drop"]["low"] < points
    assert (host["verdict"], board["verdict"]) == ("does not fit", "unknown")
    page, card = (run / "report.html").read_text(), (run / "model_card.md").read_text()
    assert "<h2>Does it fit?</h2>" in page and 'class="pill does-not-fit">does not fit<' in page
    assert "## Devices" in card and "Whether it fits is unknown of rpi4 (student.onnx)." in card
    twin = json.loads((run / "model_card.json").read_text())
    assert [v["verdict"] for v in twin["results"]["devices"]] == ["does not fit", "unknown"]
    assert (
        twin["recipe"] == hard.read_text() and twin["digests"]["student.onnx"] == artifact["sha256"] and twin["limits"]
    )

    assert cli("run", hard, "--out", "run", "--threads", "1", check=3).stdout.startswith("Nothing to do"), (
        "still does not fit"
    )
    measured = json.loads(cli("verify", run / "student.onnx", "--data", hard, "--json", check=3).stdout)
    assert [v["verdict"] for v in measured["verdicts"]] == ["does not fit", "unknown"]
    assert measured["accuracy_drop"]["value"] == lines["accuracy_drop"]["value"]

    easy = write(*EDITS, ("devices", EASY), name="easy.yaml")
    said = cli("run", easy, "--out", "run", "--threads", "1", "--json").stderr
    assert [json.loads(line)["node"] for line in said.splitlines() if '"made"' in line] == ["verdict/host/onnx"]
    (finished,) = (json.loads(line) for line in said.splitlines() if '"finished"' in line)
    assert [v["verdict"] for v in finished["verdicts"]] == ["fits", "unknown"]
    assert "host, student.onnx: fits" in cli("verify", run / "student.onnx", "--data", easy).stdout
    assert "host, student.onnx: fits" in cli("plan", easy).stdout, "a finished verdict is shown as it is"
