"""The strided 1×1 convolution that does not use PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from potstill.models._blocks import Projection
from potstill.models.resnet import ResNetSpec
from potstill.testing import tiny


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7, 8])
def test_it_is_the_strided_convolution(stride: int, size: int) -> None:
    torch.manual_seed(0)
    ours, theirs = Projection(3, 5, 1, stride), nn.Conv2d(3, 5, 1, stride)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 3, size, size, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    found, expected = ours(x), theirs(twin)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_a_narrow_resnet_trains_in_channels_last_memory() -> None:
    """Four channels: with PyTorch's own kernel this ended in a corrupted heap."""
    torch.manual_seed(0)
    module = ResNetSpec(depth=8, width=4).build(tiny.IO).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert {type(m) for n, m in module.named_modules() if n.endswith("shortcut.0")} == {Projection}
    for _ in range(3):
        x = torch.rand(16, 1, 8, 8).contiguous(memory_format=torch.channels_last)
        module(x).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())
