"""Terms on features while a student trains: adapters beside it and never in it, a teacher that is left as it was."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from _train_parts import RESTLESS, live_teacher, make_fit, run_until, state

from potstill.core.errors import RecipeError, ShapeError, TrainingError
from potstill.core.progress import Progress
from potstill.models.resnet import ResNetSpec
from potstill.objectives.attention_transfer import AttentionTransferSpec
from potstill.objectives.feature_l2 import FeatureL2Spec
from potstill.objectives.rkd import RkdSpec
from potstill.objectives.similarity_preserving import SimilarityPreservingSpec
from potstill.objectives.soft_label import SoftLabelSpec
from potstill.taps import TapPair
from potstill.testing import tiny
from potstill.train import checkpoint, features, logs
from potstill.train.loop import Fit, Trainer

RESNET, WIDE = ResNetSpec(depth=8, width=4), ResNetSpec(depth=8, width=6)
HINT = (SoftLabelSpec(), FeatureL2Spec())


def feature_fit(folder: Path, objectives: Any = HINT, model: Any = RESNET, **changes: Any) -> Fit:
    return make_fit(folder, model, objectives=objectives, **{"teacher": live_teacher(WIDE), **changes})


def test_the_trained_student_has_no_trace_of_its_adapters(tmp_path: Path) -> None:
    fit = feature_fit(tmp_path)
    torch.manual_seed(1)
    plain = RESNET.build(tiny.IO)
    trainer = Trainer(fit)
    facts = trainer.run()
    assert list(fit.module.state_dict()) == list(plain.state_dict())
    assert sum(p.numel() for p in fit.module.parameters()) == sum(p.numel() for p in plain.parameters())
    assert not any(m._forward_hooks for m in fit.module.modules())
    assert sum(f["parameters"] for f in facts["taps"]["feature-l2"]) == 4 * 6 + 6 + 8 * 12 + 12 + 16 * 24 + 24
    assert [(f["student"], f["teacher"]) for f in facts["taps"]["feature-l2"]] == [
        (f"layer{i}", f"layer{i}") for i in (1, 2, 3)
    ]
    assert facts["taps"]["feature-l2"][1]["student_shape"] == [8, 4, 4]
    assert facts["taps"]["feature-l2"][1]["joined_by"] == "1×1 convolution of 8 to 12 channels"


def test_adapters_train_and_lie_in_the_checkpoint(tmp_path: Path) -> None:
    fit = feature_fit(tmp_path)
    before = {k: v.clone() for k, v in Trainer(fit).features.adapters.state_dict().items()}
    run_until(feature_fit(tmp_path), 7)
    found = checkpoint.read(tmp_path)
    assert found is not None
    saved = found[0]["adapters"]
    assert saved.keys() == before.keys() == {f"feature-l2.{i}.{w}" for i in range(3) for w in ("weight", "bias")}
    assert all(not torch.equal(saved[k], before[k]) for k in saved)
    resumed = Trainer(feature_fit(tmp_path)).features.adapters.state_dict()
    assert all(torch.equal(saved[k], resumed[k]) for k in saved)


@pytest.mark.parametrize("model", [RESNET, RESTLESS], ids=["resnet", "dropout"])
def test_a_term_of_weight_nothing_leaves_the_student_bit_for_bit(tmp_path: Path, model: Any) -> None:
    """So captures, the teacher and the dry run have no effect on outputs, statistics or the generator."""
    taps: Any = "auto" if model is RESNET else (TapPair(student="norm", teacher="layer2"),)
    extra = (FeatureL2Spec(weight=0.0, taps=taps), SimilarityPreservingSpec(weight=0.0, taps=taps))
    with_taps = feature_fit(tmp_path / "with", (SoftLabelSpec(), *extra), model)
    without = make_fit(tmp_path / "without", model, objectives=(SoftLabelSpec(),))
    for fit in (with_taps, without):
        Trainer(fit).run()
    assert state(with_taps) == state(without)


def test_the_teacher_is_at_rest_and_stays_as_it_was(tmp_path: Path) -> None:
    teacher = live_teacher(WIDE)
    teacher.module.train()
    before = copy.deepcopy(teacher.module.state_dict())
    Trainer(feature_fit(tmp_path, teacher=teacher)).run()
    assert all(torch.equal(v, before[k]) for k, v in teacher.module.state_dict().items())
    assert not any(m.training or m._forward_hooks for m in teacher.module.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.module.parameters())


def test_the_teacher_runs_only_as_far_as_it_is_read(tmp_path: Path) -> None:
    teacher, ran = live_teacher(WIDE), []
    spec = FeatureL2Spec(taps=(TapPair(student="layer1", teacher="layer1"),))
    trainer = Trainer(feature_fit(tmp_path, (SoftLabelSpec(), spec), teacher=teacher))
    for name in ("layer1", "layer2"):
        teacher.module.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    trainer.run()
    assert ran == ["layer1"] * 20


def test_what_the_teacher_gives_moves_the_student(tmp_path: Path) -> None:
    fits = [feature_fit(tmp_path / str(s), teacher=live_teacher(WIDE, s)) for s in (1, 2)]
    for fit in fits:
        Trainer(fit).run()
    assert state(fits[0]) != state(fits[1])


def test_initial_adapters_are_of_the_seed_the_term_and_the_pair(tmp_path: Path) -> None:
    def weights(folder: str, **changes: Any) -> list[Any]:
        torch.manual_seed(len(folder))
        specs = (FeatureL2Spec(), FeatureL2Spec(), SoftLabelSpec())
        return [
            p.tolist() for p in Trainer(feature_fit(tmp_path / folder, specs, **changes)).features.adapters.parameters()
        ]

    first = weights("a")
    assert first == weights("again") and first[0] != weights("other", seed=4)[0] and first[0] != first[6]


def test_shares_are_read_at_the_weights_where_every_term_arrives(tmp_path: Path) -> None:
    """Against the gradients of the first step, term by term; the warning says where."""
    stream = io.StringIO()
    specs = (SoftLabelSpec(), FeatureL2Spec(weight=300.0), RkdSpec())
    trainer = Trainer(feature_fit(tmp_path / "all", specs, progress=Progress("json", stream)))
    norms = {}
    for spec in specs:
        fit = feature_fit(tmp_path / spec.kind, (spec,), store=trainer.fit.store if spec is specs[0] else None)
        alone = Trainer(fit)
        alone._step(0)
        norms[spec.kind] = (
            sum(float(p.grad.square().sum()) for p in fit.module.parameters() if p.grad is not None) ** 0.5
        )
    trainer.run()
    shares = {name: term["share"] for name, term in logs.read(tmp_path / "all" / "log.jsonl")[0]["terms"].items()}
    assert shares == pytest.approx({kind: norm / sum(norms.values()) for kind, norm in norms.items()}, rel=1e-3)
    assert max(shares.values()) > 10 * min(shares.values())
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    (said,) = [e["text"] for e in events if e["event"] == "warning"]
    assert said.startswith("gradient shares at the weights, step 0: soft-label")


def test_terms_that_are_balanced_are_not_warned_of(tmp_path: Path) -> None:
    stream = io.StringIO()
    Trainer(
        feature_fit(tmp_path, (FeatureL2Spec(), FeatureL2Spec()), store=None, progress=Progress("json", stream))
    ).run()
    assert not any(json.loads(line)["event"] == "warning" for line in stream.getvalue().splitlines())


@pytest.mark.parametrize(
    "spec", [FeatureL2Spec(), AttentionTransferSpec(), RkdSpec(), SimilarityPreservingSpec()], ids=lambda s: s.kind
)
def test_a_term_on_features_alone_moves_the_student(tmp_path: Path, spec: Any) -> None:
    fit = feature_fit(tmp_path, (spec,), store=None)
    before = state(fit)
    Trainer(fit).run()
    assert state(fit) != before
    losses = [r["terms"][spec.kind]["loss"] for r in logs.read(tmp_path / "log.jsonl")]
    assert losses[-1] < losses[0]


def test_a_term_on_features_that_moves_nothing_is_found_on_the_first_batch(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"must move the student; got a gradient of zero, .* at its weights"):
        Trainer(feature_fit(tmp_path, (FeatureL2Spec(weight=0.0),), store=None)).run()


def test_half_precision_takes_features_in_float32(tmp_path: Path) -> None:
    fit = feature_fit(tmp_path, training={"precision": "bfloat16"})
    seen = []

    class Seen(FeatureL2Spec):
        def pair_loss(self, student: Any, teacher: Any) -> Any:
            seen.append((student.dtype, teacher.dtype))
            return super().pair_loss(student, teacher)

    Trainer(feature_fit(tmp_path, (Seen(),), training={"precision": "bfloat16"})).run()
    assert set(seen) == {(torch.float32, torch.float32)} and fit.training.precision == "bfloat16"


def test_without_terms_on_features_nothing_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> Any:
        raise AssertionError("a dry run was made")

    monkeypatch.setattr(features, "list_places", forbidden)
    trainer = Trainer(make_fit(tmp_path))
    facts = trainer.run()
    assert "taps" not in facts and not trainer.features and not list(trainer.features.adapters.parameters())


@pytest.mark.parametrize(
    ("objectives", "changes", "error", "words"),
    [
        (HINT, {"teacher": None}, TrainingError, "needs a teacher that is a torch module"),
        ((FeatureL2Spec(taps=(TapPair(student="layer9", teacher="layer1"),)),), {}, RecipeError, r"feature-l2\.taps\[0\]\.student: .*Nearest"),
        ((AttentionTransferSpec(taps=(TapPair(student="linear", teacher="layer1"),)),), {}, ShapeError,
         r"attention-transfer linear:layer1: .*\[10\] \(a vector\) of the student and \[6, 8, 8\]"),
    ],
    ids=["teacher", "name", "shapes"],
)  # fmt: skip
def test_what_cannot_be_read_is_said_before_the_first_step(
    tmp_path: Path, objectives: Any, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Trainer(feature_fit(tmp_path, objectives, **changes))
