"""Which model reads which corrupted rows, and what is refused before any compute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from potstill.core import artifact
from potstill.core.errors import RecipeError
from potstill.core.hashing import StatCache
from potstill.core.progress import Progress
from potstill.core.tensorfile import write_arrays
from potstill.data.arrays import arrays
from potstill.data.corrupt.rows import corrupted, some_rows
from potstill.data.dataset import Dataset, prepare
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.tools.build import new_model
from potstill.models.tools.saved import load_model, save_model
from potstill.pipeline.graph import build
from potstill.pipeline.plan import _Cost
from potstill.pipeline.shape import shape_of
from potstill.recipe.load import from_text
from potstill.stages import RunOptions, StageContext
from potstill.stages._parts import data_io
from potstill.stages.robust import RobustnessSpec, RobustStage
from potstill.tasks.image_classification import ImageClassificationSpec
from potstill.teachers.object import object_teacher
from potstill.testing import tiny
from potstill.testing.modules import plain
from potstill.train.loop import predict

SPEC = RobustnessSpec(corruptions=("noise", "contrast"), severities=(1, 4), rows=20)
RECIPE = """
name: r
data: {kind: digits, limit: 300}
teacher: {kind: train, model: {kind: resnet, depth: 8, width: 4}}
student: {kind: ds-cnn, width: 4, depth: 2}
steps: [{kind: distill, objectives: [{kind: soft-label}]}]
controls: [hard-label, label-smoothing]
seed: 3
seeds: 2
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Prepared data, two students of other weights, and what was said of each on the test split: nonsense, and the truth."""
    root = tmp_path_factory.mktemp("robust")
    made = {name: root / name for name in ("data", "teacher", "a", "b", "said-a", "said-b")}
    for folder in made.values():
        folder.mkdir()
    prepare(arrays(*tiny.pictures(160)), made["data"], Progress("quiet"))
    dataset = Dataset.open(made["data"])
    truth = np.eye(len(dataset.classes), dtype=np.float32)[np.maximum(dataset.splits["test"].labels, 0)]
    for name, outputs in (("a", -truth), ("b", truth)):
        new = new_model(DsCnnSpec(width=4, depth=1, downsample=1), data_io(dataset), dataset.stats)
        save_model(made[name], new.module, new.spec, new.data_io, dataset.classes, new.sizes)
        write_arrays(made[f"said-{name}"] / "outputs.safetensors", {"outputs": outputs})
    for folder in made.values():
        artifact.seal(folder, {"name": folder.name})
    return made


def run(stage: RobustStage, work: Path, **inputs: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    assert set(inputs) == set(stage.inputs_needed())
    work.mkdir(parents=True)
    facts = stage.run(StageContext("robust/x", inputs, work, RunOptions(cache=work)))
    return facts, load_file(work / "answers.safetensors")


def stage(**changes: Any) -> RobustStage:
    return RobustStage(**{"task": ImageClassificationSpec(), "robustness": SPEC, **changes})


def test_of_the_controls_the_strongest_is_run(folders: dict[str, Path], tmp_path: Path) -> None:
    inputs = {
        "student:a": folders["a"],
        "outputs:a": folders["said-a"],
        "student:b": folders["b"],
        "outputs:b": folders["said-b"],
    }
    facts, strongest = run(stage(controls=("a", "b")), tmp_path / "c", data=folders["data"], **inputs)
    assert facts["model"] == "b" and facts["rows"] == 20
    _, alone = run(stage(), tmp_path / "s", data=folders["data"], student=folders["b"])
    _, other = run(stage(), tmp_path / "o", data=folders["data"], student=folders["a"])
    assert set(strongest) == {"rows", "clean", "noise/1", "noise/4", "contrast/1", "contrast/4"}
    for name in strongest:
        assert np.array_equal(strongest[name], alone[name])
    assert np.array_equal(alone["rows"], other["rows"]) and not np.array_equal(alone["clean"], other["clean"])
    some, model = some_rows(Dataset.open(folders["data"]).splits["test"], alone["rows"]), load_model(folders["b"])
    for name in SPEC.corruptions:
        for severity in SPEC.severities:
            wanted = predict(model.module, model.preprocess, corrupted(some, name, severity, SPEC.seed))
            assert np.array_equal(alone[f"{name}/{severity}"], wanted) and not np.array_equal(wanted, alone["clean"])


def test_a_teachers_probabilities_become_logits(folders: dict[str, Path], tmp_path: Path) -> None:
    module = plain()
    whole = run(
        stage(teacher=object_teacher(module)), tmp_path / "l", data=folders["data"], teacher=folders["teacher"]
    )[1]
    shares = object_teacher(_Softmax(module), output="probabilities")
    logs = run(stage(teacher=shares), tmp_path / "p", data=folders["data"], teacher=folders["teacher"])[1]
    for name in ("clean", "noise/4"):
        centred = [a[name] - a[name].mean(axis=1, keepdims=True) for a in (whole, logs)]
        np.testing.assert_allclose(*centred, atol=1e-4)


def _Softmax(module: Any) -> Any:
    from torch import nn

    return nn.Sequential(module, nn.Softmax(dim=1)).eval()


def test_rows_are_drawn_by_the_seed_and_without_a_label_only_where_that_is_out_of_scope(
    folders: dict[str, Path],
) -> None:
    from potstill.tasks.text_classification import TextClassificationSpec

    dataset = Dataset.open(folders["data"])
    test = dataset.splits["test"]
    labels = test.labels.copy()
    labels[::2] = -1
    hidden = replace(dataset, splits={**dataset.splits, "test": replace(test, labels=labels)})
    few = stage()._rows(hidden)
    assert (labels[few] >= 0).all() and len(few) == min(20, (labels >= 0).sum())
    every = stage(task=TextClassificationSpec(unlabelled="out-of-scope"), robustness=RobustnessSpec(rows=9999))._rows(
        hidden
    )
    assert every.tolist() == list(range(len(labels)))
    drawn = [stage(robustness=RobustnessSpec(rows=10, seed=s))._rows(dataset).tolist() for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_graph_has_a_node_for_each_side_of_the_first_seed_and_none_unasked(tmp_path: Path) -> None:
    digests = StatCache(tmp_path / "digests.json")
    assert not build(from_text(RECIPE, "r.yaml", Path()), digests).named("robust/")
    graph = build(from_text(RECIPE + "robustness: {}\n", "r.yaml", Path()), digests)
    inputs = {node.name: node.inputs for node in graph.named("robust/")}
    last = "steps/{}/seed3/1-distill".format
    assert inputs == {
        "robust/teacher": {"data": "prepare", "teacher": "teach"},
        "robust/student": {"data": "prepare", "student": last("student")},
        "robust/onnx": {"data": "prepare", "student": last("student"), "exported": "export/onnx"},
        "robust/control": {"data": "prepare", **{f"student:{a}": last(a) for a in ("hard-label", "label-smoothing")},
                           **{f"outputs:{a}": f"evaluate/{a}/seed3" for a in ("hard-label", "label-smoothing")}},
    }  # fmt: skip
    assert all(set(node.spec.inputs_needed()) == set(node.inputs) for node in graph.named("robust/"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"corruptions": ["nois"]}, "robustness.corruptions[0]: must be a corruption of image samples; got 'nois'. Nearest: 'noise'. "
                                    "Known: brightness"),
        ({"corruptions": []}, "robustness.corruptions: must be all, or a list of names, each once; got corruptions=[]"),
        ({"corruptions": ["blur", "blur"]}, "each once"),
        ({"corruptions": "blur"}, "must be all, or a list"),
        ({"severities": [2, 1]}, "robustness.severities: must be numbers from 1 to 5, each once, the mildest first"),
        ({"severities": [0, 1]}, "from 1 to 5"),
        ({"severities": []}, "robustness.severities: "),
        ({"rows": 0}, "robustness.rows: "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        from_text(RECIPE + yaml.safe_dump({"robustness": given}), "r.yaml", Path())
    (fault,) = caught.value.faults
    assert said in fault and fault.startswith("r.yaml:1")


def test_a_plan_says_what_it_costs(tmp_path: Path) -> None:
    recipe = from_text(
        RECIPE + "robustness: {rows: 40, severities: [1, 5], corruptions: [noise, blur]}\n", "r.yaml", Path()
    )
    graph, shape = build(recipe, StatCache(tmp_path / "digests.json")), shape_of(recipe.data, None)
    cost = _Cost(
        graph, shape, {"student": {"macs": 10_000, "params": 10}, "teacher": {"macs": 10_000_000_000, "params": 10}}
    )
    assert cost.bytes(graph.nodes["robust/onnx"]) == 40 * (1 + 2 * 2) * 10 * 4
    seconds = {name: cost.seconds(graph.nodes[f"robust/{name}"]) for name in ("teacher", "control", "student", "onnx")}
    assert seconds["teacher"] > 10 * seconds["student"] and seconds["student"] == seconds["control"] == seconds["onnx"]
