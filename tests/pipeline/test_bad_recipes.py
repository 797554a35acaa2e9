"""What a user gets wrong: one message a fault, all at once, with the place, never a traceback."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_recipe import TINY, changed

from potstill.core.errors import PotstillError, RecipeError
from potstill.recipe.load import from_text, load


def faults(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        from_text(text, "recipe.yaml", tmp_path)
    return caught.value.faults


def test_every_fault_at_once_each_with_its_place(tmp_path: Path) -> None:
    text = (
        "name: my run\n"
        "data: {kind: digits, validaton: 0.1}\n"
        "teacher: {kind: trian, model: {kind: resnet}}\n"
        "student: {kind: ds-cnn, width: -3}\n"
        "steps:\n"
        "  - kind: distill\n"
        "    objectives:\n"
        "      - {kind: soft-label, temperature: hot}\n"
    )
    found = faults(text, tmp_path)
    assert len(found) == 5
    assert found[0].startswith("recipe.yaml:1:7 name: ")
    assert found[1].startswith("recipe.yaml:2:22 data.validaton: ") and "Nearest: 'validation'" in found[1]
    assert "Nearest: 'train'" in found[2] and found[2].startswith("recipe.yaml:3:10 ")
    assert found[3].startswith("recipe.yaml:4:32 student.width: ") and "-3" in found[3]
    assert found[4].startswith("recipe.yaml:8:41 steps[0].objectives[0].temperature: ")
    assert "must be a number or a schedule" in found[4] and "'hot'" in found[4]


def test_missing_sections_are_named(tmp_path: Path) -> None:
    found = "\n".join(faults("name: x\ndata: {kind: digits}\n", tmp_path))
    for section in ("teacher", "student", "steps"):
        assert f"{section}: is required" in found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("- a\n- b\n", "mapping"),
        ("name: [unclosed\n", "YAML"),
        ("name: a\nname: b\n", "twice"),
        ("? {a: 1}\n: 2\n", "must be text"),
        ("a: &a [*a]\n", ""),
        ("\x00", "YAML"),
        ("name: !!python/object/apply:os.system ['echo hi']\n", ""),
    ],
)
def test_what_is_no_recipe_is_named(tmp_path: Path, text: str, words: str) -> None:
    assert words in "\n".join(faults(text, tmp_path))


def test_what_cannot_work_together_is_found_before_any_compute(tmp_path: Path) -> None:
    topk = {"kind": "topk", "k": 3, "temperatures": [1.0, 2.0]}
    text = yaml.safe_dump(changed(("labels.codec", topk), ("steps.0.objectives.0.temperature", 4.0)), sort_keys=False)
    (found,) = faults(text, tmp_path)
    assert "T=4.0 must be declared" in found and "steps[0].objectives[0].temperature" in found
    varying = {"kind": "linear", "start": 4, "end": 1}
    text = yaml.safe_dump(
        changed(("labels.codec", topk), ("steps.0.objectives.0.temperature", varying)), sort_keys=False
    )
    assert "changes over training" in faults(text, tmp_path)[0]
    text = yaml.safe_dump(
        changed(("labels.codec", topk), ("steps.0.objectives.0", {"kind": "logit-mse"})), sort_keys=False
    )
    assert "cannot read labels kept as 'topk'" in faults(text, tmp_path)[0]


@pytest.mark.parametrize(
    ("kind", "teaches"), [("token-soft-label", "tokens"), ("sequence-level", "tokens"), ("multi-scale", "values"),
                          ("spectrum", "values"), ("soft-target-regression", "values")],
)  # fmt: skip
def test_an_objective_of_another_task_is_refused_with_what_fits(tmp_path: Path, kind: str, teaches: str) -> None:
    text = yaml.safe_dump(changed(("steps.0.objectives.1", {"kind": kind})), sort_keys=False)
    (found,) = faults(text, tmp_path)
    assert "steps[0].objectives[1].kind: " in found and found.startswith("recipe.yaml:")
    assert f"{kind!r} teaches {teaches}, and a task of kind 'image-classification' asks for classes" in found
    allowed = found.split("Use one of: ")[1].split(", ")
    assert {"soft-label", "feature-l2", "attention-kl"} <= set(allowed) and kind not in allowed


def test_labels_kept_as_tokens_serve_no_logits(tmp_path: Path) -> None:
    text = yaml.safe_dump(changed(("labels.codec", {"kind": "token-ids"})), sort_keys=False)
    (found,) = faults(text, tmp_path)
    assert (
        "'soft-label' reads the teacher's logits, which labels kept as 'token-ids' are not. Set labels.codec to one of: "
        in found
    )
    assert "token-ids" not in found.split("one of: ")[1]
    text = yaml.safe_dump(
        changed(("labels.codec", {"kind": "token-ids"}), ("steps.0.objectives", "auto")), sort_keys=False
    )
    assert any(
        "auto reads logits, which labels kept as 'token-ids' are not" in fault for fault in faults(text, tmp_path)
    )


def test_the_command_line_says_it_with_exit_code_2(cli: Any, write: Any, tmp_path: Path) -> None:
    assert "must be a file that exists" in cli("run", "recipy.yaml", check=2).stderr
    write()
    assert "Nearest: 'recipe.yaml'" in cli("run", "recipy.yaml", check=2).stderr
    (tmp_path / "folder").mkdir()
    assert "got a folder" in cli("plan", "folder", check=2).stderr
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in cli("plan", "binary.yaml", check=2).stderr
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("mine")
    assert "thesis.tex" in cli("run", "recipe.yaml", "--out", "taken", check=2).stderr
    assert (tmp_path / "taken" / "thesis.tex").read_text() == "mine"
    assert "must be the folder of a finished run" in cli("report", "taken", check=2).stderr
    assert "must be a label store" in cli("labels", "check", "taken", check=2).stderr
    assert cli("list", "objectivs", check=2).stderr
    assert "must be a checkpoint file" in cli("import-weights", "nothing.pth", check=2).stderr


VALUES = st.sampled_from(
    [
        None,
        -1,
        0,
        1e9,
        float("inf"),
        "",
        "x",
        "\u0000",
        [],
        {},
        True,
        ["a"],
        {"kind": "linear"},
        {"kind": "nope"},
        3.7,
        10**30,
    ]
).map(copy.deepcopy)  # one that was set may be mutated in its turn


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths_of(item, (*path, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            found += paths_of(item, (*path, i))
    return found


@settings(max_examples=150)
@given(st.data())
def test_mutated_recipes_never_give_a_traceback(data: st.DataObject) -> None:
    recipe = changed()
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(paths_of(recipe)))
        target: Any = recipe
        for part in where[:-1]:
            target = target[part]
        action = data.draw(st.sampled_from(["set", "delete", "add"]))
        if action == "delete":
            del target[where[-1]]
        elif action == "add" and isinstance(target, dict):
            target[data.draw(st.text(max_size=5))] = data.draw(VALUES)
        else:
            target[where[-1]] = data.draw(VALUES)
        if not recipe:
            break
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    try:
        from_text(text, "recipe.yaml", Path.cwd())
    except PotstillError as err:
        assert str(err)


@settings(max_examples=150)
@given(st.data())
def test_mutated_text_never_gives_a_traceback(data: st.DataObject) -> None:
    text = yaml.safe_dump(TINY, sort_keys=False)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + data.draw(st.sampled_from(["\t", ":", "- ", "{", "}", "&a ", "*a", "!!", "\n", "|", "0x", "'", "%"]))
            + text[at + data.draw(st.integers(0, 3)) :]
        )
    try:
        from_text(text, "recipe.yaml", Path.cwd())
    except PotstillError as err:
        assert str(err)


def test_a_recipe_file_is_loaded_with_its_folder_on_the_path(write: Any) -> None:
    assert load(write()).name == "tiny"
