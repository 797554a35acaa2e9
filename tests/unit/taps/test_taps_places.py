"""Listing and capturing places: what is seen, and that the model is as it was before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import ShapeError, TrainingError
from potstill.models import ModelIO, ModelSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.resnet import ResNetSpec
from potstill.models.vit import ViTSpec
from potstill.taps import Place
from potstill.taps.capture import Capture
from potstill.taps.places import list_places
from potstill.testing.modules import Restless


def places(module: nn.Module, *names: str) -> list[Place]:
    found = {p.name: p for p in list_places(module, torch.zeros(2, 1, 8, 8), "model")}
    return [found[name] for name in names]


IO = ModelIO((10,), (1, 8, 8))


def built(spec: ModelSpec) -> nn.Module:
    torch.manual_seed(0)
    return spec.build(IO)


class Odd(nn.Module):
    """A bit of everything: a tuple, a module used twice, one never used, one that drops the batch, one in place, and
    buffers and a generator that a forward pass changes, in eval mode too."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.unused = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 1), nn.Linear(2, 2)
        self.relu, self.pair, self.lost = nn.ReLU(inplace=True), _Pair(), _Lost()
        self.head = nn.Linear(3, 10)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + torch.rand(1)
        x = self.relu(self.first(x))
        x = self.again(self.again(x)[:, :, :4, :4])
        x = self.pair(x)[0]
        self.lost(x)
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return x + 1, 3


class _Lost(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=0)


def test_places_have_names_shapes_and_order() -> None:
    places = list_places(Odd(), torch.zeros(2, 1, 8, 8), "model")
    assert [(p.name, p.shape) for p in places] == [
        ("first", (3, 8, 8)), ("relu", (3, 8, 8)), ("again", (3, 4, 4)), ("pair", (3, 4, 4)), ("head", (10,))
    ]  # fmt: skip
    assert [p.name for p in places if p.overwritten] == ["first"]
    assert not any(p.block or p.listed for p in places)


@pytest.mark.parametrize(
    ("spec", "name", "shape", "block", "listed"),
    [
        (ResNetSpec(depth=8, width=4), "layer2", (8, 4, 4), True, False),
        (ResNetSpec(depth=8, width=4), "layer2.0", (8, 4, 4), True, True),
        (DsCnnSpec(width=4, depth=2), "3", (8, 4, 4), True, True),
        (DsCnnSpec(width=4, depth=2), "2", (4, 8, 8), False, True),
        (ViTSpec(dim=16, depth=2), "blocks.1", (4, 16), True, True),
        (ViTSpec(dim=16, depth=2), "embed", (16, 2, 2), False, False),
    ],
    ids=lambda v: str(getattr(v, "kind", v)),
)
def test_places_of_the_zoo(spec: ModelSpec, name: str, shape: Any, block: bool, listed: bool) -> None:
    place = {p.name: p for p in list_places(built(spec), torch.zeros(2, 1, 8, 8), "model")}[name]
    assert (place.shape, place.block, place.listed, place.overwritten) == (shape, block, listed, False)


def test_a_listing_leaves_the_model_and_the_generator_as_they_were() -> None:
    for module in (Odd(), Restless(), built(ResNetSpec(depth=8, width=4))):
        module.train()
        frozen = next(m for m in module.modules() if isinstance(m, (nn.BatchNorm2d, nn.ReLU)))
        frozen.eval()
        modes = [m.training for m in module.modules()]
        before, buffers, rng = (
            copy.deepcopy(module.state_dict()),
            [id(b) for b in module.buffers()],
            torch.get_rng_state(),
        )
        list_places(module, torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)), "model")
        assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
        assert [id(b) for b in module.buffers()] == buffers
        assert [m.training for m in module.modules()] == modes
        assert torch.equal(torch.get_rng_state(), rng)
        assert not any(m._forward_hooks for m in module.modules())


def test_a_listing_that_fails_leaves_no_hooks_and_no_modes() -> None:
    module = Restless().train()
    with pytest.raises(ShapeError, match=r"teacher: must take pixels \[2, 5, 8, 8\].*Set teacher\.input"):
        list_places(module, torch.zeros(2, 5, 8, 8), "teacher")
    assert module.norm.training and not any(m._forward_hooks for m in module.modules())


def test_a_capture_reads_and_changes_nothing() -> None:
    plain, tapped = built(ResNetSpec(depth=8, width=4)), built(ResNetSpec(depth=8, width=4))
    x = torch.rand(3, 1, 8, 8)
    capture = Capture(tapped, places(tapped, "layer1", "layer3.0"), "student")
    torch.manual_seed(5)
    expected = plain(x)
    torch.manual_seed(5)
    with capture:
        found = tapped(x)
    taps = capture.take()
    assert torch.equal(found, expected) and torch.equal(torch.get_rng_state(), torch.manual_seed(5).get_state())
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), tapped.buffers(), strict=True))
    torch.testing.assert_close(tapped.linear(taps["layer3.0"].mean(dim=(2, 3))), found)  # type: ignore[operator]
    assert taps["layer1"].shape == (3, 4, 8, 8) and taps["layer1"].requires_grad
    expected.sum().backward()
    found.sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), tapped.parameters(), strict=True))


def test_hooks_exist_only_inside_the_capture() -> None:
    module = Odd()
    capture = Capture(module, places(module, "again", "pair"), "student")
    assert not any(m._forward_hooks for m in module.modules())
    with pytest.raises(RuntimeError), capture:
        assert sum(len(m._forward_hooks) for m in module.modules()) == 2
        module(torch.zeros(2, 7, 8, 8))
    assert not any(m._forward_hooks for m in module.modules())
    with capture:
        module(torch.ones(2, 1, 8, 8))
    taps = capture.take()
    assert taps["again"].shape[2:] == (4, 4), "of a module that ran twice, the last"
    torch.testing.assert_close(taps["pair"], taps["again"] + 1)


def test_a_module_that_did_not_run_is_named() -> None:
    module = Odd()
    capture = Capture(module, places(module, "relu"), "student")
    with capture:
        pass
    with pytest.raises(TrainingError, match=r"student: must run each tapped module .* nothing from \['relu'\]"):
        capture.take()


def test_taps_are_taken_once() -> None:
    module = Odd()
    capture = Capture(module, places(module, "relu"), "model")
    with capture:
        module(torch.ones(2, 1, 8, 8))
    capture.take()
    with pytest.raises(TrainingError):
        capture.take()


class Counted(Odd):
    """Catches everything that its parts raise, and counts how far it comes."""

    reached = 0

    def forward(self, x: Tensor) -> Tensor:
        try:
            x = self.again(self.again(self.first(x)))
        except Exception:
            self.reached -= 100
        self.reached += 1
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


def test_a_pass_may_end_once_everything_is_captured() -> None:
    """Not before the last run of a module that runs several times, and past a module that catches exceptions."""
    module = Counted()
    whole, short = (Capture(module, places(module, "again"), "teacher", stop=stop) for stop in (False, True))
    module.reached = 0
    x = torch.rand(3, 1, 8, 8)
    with whole:
        module(x)
    with short:
        module(x)
    assert module.reached == 1, "the second pass went on"
    expected = whole.take()["again"]
    assert torch.equal(expected, short.take()["again"])
    assert not any(m._forward_hooks for m in module.modules())
    with short:
        module(x)
    assert module.reached == 1 and torch.equal(expected, short.take()["again"]), "and so each time"
    assert places(module, "again")[0].runs == 2
