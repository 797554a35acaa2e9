"""`objectives: auto` where losses stop being finite: the next candidate goes on, and with none left the control is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_stages_auto import JOB, STEPS, Killed, left, made, run, stage_of

from potstill.core import artifact
from potstill.core.errors import TrainingError
from potstill.objectives import registry as objectives
from potstill.objectives.hard_label import HardLabelSpec
from potstill.stages import _auto as auto
from potstill.stages.choose import ChooseStage
from potstill.train import loop
from potstill.train.choice import Picked
from potstill.train.loop import Trainer

__all__ = ["made", "run"]  # fixtures


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Name of a candidate -> the step at which its loss stops being finite; counts the steps that were taken."""
    at: dict[str, int] = {}
    step = Trainer._step

    def stepping(trainer: Trainer, number: int) -> Any:
        found = [n for name, n in at.items() if f"({name})" in trainer.fit.name]
        if found and number >= found[0]:
            raise TrainingError(f"{trainer.fit.name}: the loss must stay finite; got nan")
        return step(trainer, number)

    monkeypatch.setattr(loop.Trainer, "_step", stepping)
    return at


def ranking(race: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates that finished the first part, the best first."""
    able = [c for c in race["candidates"] if c["score"] is not None]
    return sorted(able, key=lambda c: (-c["score"], c["nll"]))


def test_the_next_best_goes_on_in_place_of_a_winner_that_fails(run: Any, failing: dict[str, int]) -> None:
    first, second, third = ranking(run("calm")[0]["race"])
    failing[first["name"]] = 9
    facts, folder = run("one fails")
    race = facts["race"]
    assert [c["name"] for c in race["candidates"] if c["won"]] == [second["name"]] and "untrained" not in facts
    gone = next(c for c in race["candidates"] if c["name"] == first["name"])
    assert gone["steps"] == 9 and "must stay finite" in gone["failed"] and gone["score"] == first["score"]
    assert race["extra_steps"] == 9 + 2 and race["decided_by"] == "next best of those whose loss stayed finite"
    stated = [objectives[o["kind"]].model_validate(o) for o in second["objectives"]]
    alone, other = run("alone", stage_of(stated))
    assert left(folder) == left(other) and facts["steps"] == alone["steps"] == STEPS
    failing[second["name"]] = 3
    facts, folder = run("two fail")
    assert [c["name"] for c in facts["race"]["candidates"] if c["won"]] == [third["name"]]
    assert {p.name for p in folder.iterdir()} == {"student.safetensors", "student.json", "fit.json", "log.jsonl"}


def test_killed_after_a_failure_it_ends_in_the_same_bits(
    run: Any, failing: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ranking(run("calm")[0]["race"])[0]
    failing[first["name"]] = 9
    whole = run("whole", every=0)
    step, taken = Trainer._step, []

    def killing(trainer: Trainer, number: int) -> Any:
        taken.append(trainer.fit.name)
        if len(taken) == 2 * 3 + 7 + 1 + 5:  # into the whole training of the second
            raise Killed
        return step(trainer, number)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "_step", killing)
        with pytest.raises(Killed):
            run("parts", every=0)
        facts, folder = run("parts", every=0)
    assert (facts["race"], left(folder)) == (whole[0]["race"], left(whole[1]))
    assert sum(f"({first['name']})" in name for name in taken) == 2 + 7 + 1, "the one that failed was tried again"


@pytest.mark.parametrize("at", [1, 5], ids=["in the race", "on the way"])
def test_with_none_left_the_control_is_kept(
    made: dict[str, Path], run: Any, failing: dict[str, int], tmp_path: Path, at: int
) -> None:
    names = [c["name"] for c in run("calm")[0]["race"]["candidates"]]
    failing |= dict.fromkeys(names, at)
    facts, folder = run("none")
    assert facts["steps"] == 0 and not any(c["won"] for c in facts["race"]["candidates"])
    assert all(f"{name}: " in facts["untrained"] for name in names) and facts["race"]["extra_steps"] == 3 * at
    assert (folder / "log.jsonl").exists() and not (folder / "race").exists()
    artifact.seal(folder, {"facts": facts})
    trained, control = run("control", stage_of((HardLabelSpec(),)))
    artifact.seal(control, {"facts": trained})
    chosen, kept = run("chosen", ChooseStage(task=JOB.task), student=folder, control=control, teacher=made["teacher"])
    choice = chosen["choice"]
    assert choice["chosen"] == "control" and choice["student"] is None and "so the control is kept" in choice["why"]
    assert chosen["steps"] == STEPS and "untrained" not in chosen and "race" not in chosen
    assert (kept / "student.safetensors").read_bytes() == (control / "student.safetensors").read_bytes()


def test_without_a_candidate_the_control_is_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "pick", lambda *_: Picked((), {"T=1": "it does not suit"}))
    facts, folder = run("nobody")
    assert facts["untrained"] == "no loss that the rules named suits this task and its labels"
    assert facts["race"]["candidates"] == [] and json.loads((folder / "fit.json").read_text())["steps"] == 0
    assert (folder / "student.safetensors").exists()
