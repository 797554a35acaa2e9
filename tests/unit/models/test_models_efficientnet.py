"""EfficientNet-Lite: its published size, its padding, a start from a backbone. Shapes: B rows, C channels, H, W pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from potstill.core.errors import ShapeError
from potstill.core.samples import DataStats
from potstill.models import ModelIO
from potstill.models._mbconv import SameConv2d
from potstill.models.efficientnet_lite import EfficientNetLiteSpec
from potstill.models.tools.build import new_model

STATS = DataStats((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(("variant", "params"), [("lite0", 4_652_008), ("lite1", 5_416_680), ("lite2", 6_092_072)])
def test_variants_have_the_published_number_of_parameters(variant: str, params: int) -> None:
    """4.7, 5.4, 6.1 and 13.0 million in the model's own table; the exact counts are of those with 1,000 classes."""
    module = EfficientNetLiteSpec.model_validate({"variant": variant}).build(ModelIO((1000,), (3, 64, 64)))
    assert sum(p.numel() for p in module.parameters()) == params


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
def test_an_odd_pixel_of_padding_goes_to_the_end(size: int, kernel: int) -> None:
    """As TensorFlow's "SAME": output i is centred on input 2 i + kernel // 2 - before."""
    conv = SameConv2d(1, 1, kernel, 2, 1, (size, size))
    torch.nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, size, size))
    num = -(-size // 2)
    total = (num - 1) * 2 + kernel - size
    before = total // 2
    counts = torch.tensor([sum(0 <= 2 * i - before + k < size for k in range(kernel)) for i in range(num)]).float()
    assert torch.equal(out[0, 0], counts[:, None] * counts[None, :])


def test_a_backbone_starts_all_but_the_last_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = EfficientNetLiteSpec().build(ModelIO((7,), (3, 32, 32)))
    save_file(source.state_dict(), tmp_path / "b.safetensors")
    spec = EfficientNetLiteSpec(backbone=tmp_path / "b.safetensors")
    new = new_model(spec, ModelIO((3,), (3, 32, 32)), STATS).module.state_dict()
    for name, value in source.state_dict().items():
        if not name.startswith("_fc."):
            assert torch.equal(new[name], value), name
    assert new["_fc.weight"].shape == (3, 1280)
    with pytest.raises(ShapeError, match=r"_fc\.(bias|weight) must be"):
        new_model(EfficientNetLiteSpec(weights=tmp_path / "b.safetensors"), ModelIO((3,), (3, 32, 32)), STATS)
    missing = {k: v for k, v in source.state_dict().items() if "_conv_head" not in k}
    save_file(missing, tmp_path / "c.safetensors")
    with pytest.raises(ShapeError, match=r"1 missing \(_conv_head\.weight\)"):
        new_model(EfficientNetLiteSpec(backbone=tmp_path / "c.safetensors"), ModelIO((3,), (3, 32, 32)), STATS)
