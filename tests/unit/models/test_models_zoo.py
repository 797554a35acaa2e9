"""Families, their cost, and models on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from potstill.core.errors import PotstillError, ShapeError, StoreError
from potstill.core.samples import DataStats
from potstill.models import ImageInput, ModelIO, ModelSpec
from potstill.models.ds_cnn import DsCnnSpec
from potstill.models.mobilenet_v2 import MobileNetV2Spec
from potstill.models.object import object_digest, object_model
from potstill.models.resnet import ResNetSpec
from potstill.models.tools.build import new_model
from potstill.models.tools.import_weights import import_weights
from potstill.models.tools.profile import profile
from potstill.models.tools.saved import load_model, load_weights, save_model
from potstill.models.torch_module import TorchModuleSpec
from potstill.models.vit import ViTSpec

FAMILIES: list[ModelSpec] = [
    ResNetSpec(depth=8, width=4), ResNetSpec(depth=8, width=4, shortcut="pad"), DsCnnSpec(width=4, depth=3),
    MobileNetV2Spec(width=0.25, depth=0.5), ViTSpec(dim=16, depth=2, heads=2),
]  # fmt: skip
IO = ModelIO((5,), (3, 16, 16))


def module_of(spec: ModelSpec, io: ModelIO = IO) -> nn.Module:
    torch.manual_seed(0)
    return spec.build(io)


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda s: f"{s.kind}-{getattr(s, 'shortcut', '')}")
@pytest.mark.parametrize("size", [(8, 1), (28, 1), (32, 3)])
def test_a_family_gives_logits_and_every_parameter_learns(spec: ModelSpec, size: tuple[int, int]) -> None:
    io = ModelIO((10,), (size[1], size[0], size[0]))
    module = module_of(spec, io)
    logits = module(torch.rand(3, size[1], size[0], size[0]))
    assert logits.shape == (3, 10) and torch.isfinite(logits).all()
    (logits * torch.randn(3, 10)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    again = module_of(spec, io).state_dict()
    assert all(torch.equal(v, again[k]) for k, v in module_of(spec, io).state_dict().items())


def num_params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("settings", "size", "params"),
    [
        ({"width": 8, "depth": 2, "downsample": 1}, 8, 970),
        ({"width": 12, "depth": 2, "downsample": 1}, 8, 1738),
        ({"width": 16, "depth": 3, "downsample": 1}, 28, 4138),
    ],
)
def test_ds_cnn_has_the_sizes_that_our_results_name(settings: dict[str, Any], size: int, params: int) -> None:
    assert num_params(module_of(DsCnnSpec(**settings), ModelIO((10,), (1, size, size)))) == params


def test_pictures_that_are_too_small_are_named() -> None:
    for spec in (ResNetSpec(), DsCnnSpec(depth=4, downsample=2, stem_stride=2), MobileNetV2Spec()):
        with pytest.raises(ShapeError, match="got 3×3"):
            spec.build(ModelIO((10,), (1, 3, 3)))
    with pytest.raises(ShapeError, match="multiple of patch=4"):
        ViTSpec().build(ModelIO((10,), (1, 10, 10)))


class ByHand(nn.Module):
    """Costs that anybody can work out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        out: torch.Tensor = self.head(self.depthwise(x).mean(dim=(2, 3)))
        return out


def test_profile_agrees_with_a_count_by_hand() -> None:
    found = profile(ByHand(), IO)
    assert found.params == 3 * 8 * 9 + 16 + (8 * 9 + 8) + 45
    assert found.macs == 16 * 16 * 8 * 3 * 9 + 8 * 8 * 8 * 9 + 8 * 5
    # The depthwise convolution reads 8×16×16 and writes 8×8×8; the first convolution reads 3×16×16, writes 8×16×16.
    assert found.peak_activation_bytes == 4 * (3 + 8) * 16 * 16


def test_profile_counts_attention() -> None:
    dim, tokens, heads, classes = 16, 16, 2, 5
    found = profile(module_of(ViTSpec(dim=dim, depth=1, heads=heads, mlp_ratio=2)), IO)
    embed = tokens * dim * 3 * 16
    block = tokens * dim * 3 * dim + 2 * tokens * tokens * dim + tokens * dim * dim + 2 * tokens * dim * 2 * dim
    assert found.macs == embed + block + dim * classes


def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    for i, spec in enumerate(FAMILIES):
        new = new_model(
            spec.model_copy(update={"input": ImageInput(size=16)}),
            ModelIO((5,), (3, 20, 20)),
            DataStats((0.4,) * 3, (0.2,) * 3),
        )
        folders = [tmp_path / f"{i}{c}" for c in "ab"]
        for folder in folders:
            save_model(folder, new.module, new.spec, new.data_io, list("abcde"))
        assert (folders[0] / "student.safetensors").read_bytes() == (folders[1] / "student.safetensors").read_bytes()
        loaded = load_model(folders[0])
        x = torch.rand(2, 3, 20, 20)
        new.module.eval()
        assert torch.equal(loaded.module(loaded.preprocess(x)), new.module(new.preprocess(x)))
        assert loaded.classes == list("abcde") and loaded.io.height == 16


def test_damaged_and_foreign_weights_are_named(tmp_path: Path) -> None:
    spec = DsCnnSpec(width=4, depth=2)
    module = module_of(spec)
    resolved = spec.model_copy(update={"input": ImageInput(mean=(0.5,) * 3, std=(0.2,) * 3)})
    save_model(tmp_path, module, resolved, IO, list("abcde"))
    path = tmp_path / "student.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match="SHA-256 differs"):
        load_model(tmp_path)
    path.write_bytes(whole[:100])
    with pytest.raises(StoreError, match="whole safetensors"):
        load_weights(module, path, "w")
    path.write_bytes(whole)
    with pytest.raises(ShapeError, match=r"\[3, 4\], as the model has it; got \[5, 4\].*classifier"):
        load_weights(nn.Linear(4, 3), save(tmp_path, {"weight": torch.zeros(5, 4), "bias": torch.zeros(3)}), "w")
    with pytest.raises(ShapeError, match="Nearest: 'weight'"):
        load_weights(nn.Linear(4, 3), save(tmp_path, {"weights": torch.zeros(3, 4), "bias": torch.zeros(3)}), "w")
    with pytest.raises(StoreError, match="weight has NaN"):
        load_weights(
            nn.Linear(4, 3), save(tmp_path, {"weight": torch.full((3, 4), float("nan")), "bias": torch.zeros(3)}), "w"
        )


def save(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, folder / "made.safetensors")
    return folder / "made.safetensors"


def test_published_cifar_weights_load_and_know_cifar(shared_data: Path) -> None:
    """On 500 rows of our JPEG copy; over all 10,000 it is 81.0 % (a 95 % interval of 500 rows is ±3.4 points)."""
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    weights = shared_data / "models" / "cifar10_resnet" / "resnet20.safetensors"
    spec = ResNetSpec(
        depth=20,
        shortcut="pad",
        weights=weights,
        input=ImageInput(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    )
    new = new_model(spec, ModelIO((10,), (3, 32, 32)), DataStats((0.5,) * 3, (0.2,) * 3))
    table = pq.read_table(shared_data / "cifar10" / "test.parquet").slice(0, 500)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(v["bytes"]))) for v in table["image"].to_pylist()])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        predicted = new.module.eval()(new.preprocess(x)).argmax(1)
    accuracy = float((predicted == torch.tensor(table["label"].to_pylist())).float().mean())
    assert 0.76 < accuracy < 0.87


def test_input_is_the_models_own_or_the_datas() -> None:
    io = ModelIO((10,), (1, 8, 9))
    assert ImageInput().resolved(io, DataStats((0.1,), (0.0,))) == ImageInput(mean=(0.1,), std=(1e-3,))
    own = ImageInput(size=4, mean=(0.5,), std=(0.25,))
    assert own.resolved(io, DataStats((0.1,), (0.2,))) == own
    assert ImageInput().seen(io) == io and own.seen(io) == ModelIO((10,), (1, 4, 4))
    with pytest.raises(ShapeError, match="one number a channel, 3"):
        ImageInput(mean=(0.5,)).resolved(ModelIO((10,), (3, 8, 8)), DataStats((0.1,) * 3, (0.2,) * 3))
    pixels = torch.rand(2, 1, 8, 9)
    plain = ImageInput(mean=(0.5,), std=(0.25,)).preprocess(io)
    assert torch.allclose(plain(pixels), (pixels - 0.5) / 0.25)
    small = ImageInput(size=4, mean=(0.0,), std=(1.0,)).preprocess(io)
    assert small(torch.full((1, 1, 8, 9), 0.7)).allclose(torch.full((1, 1, 4, 4), 0.7))


def test_a_model_of_another_kind_of_sample_is_refused() -> None:
    series = ModelIO((5,), (3, 32), "series")
    with pytest.raises(ShapeError, match="must read what the data gives, series; it reads image"):
        new_model(DsCnnSpec(), series, DataStats((0.0,) * 3, (1.0,) * 3))


def test_an_objects_digest_follows_its_weights_and_structure() -> None:
    a, b = module_of(FAMILIES[2]), module_of(FAMILIES[2])
    assert object_digest(a) == object_digest(b)
    with torch.no_grad():
        next(b.parameters()).view(-1)[0] += 1e-6
    assert object_digest(a) != object_digest(b)
    assert object_digest(nn.Sequential(nn.ReLU())) != object_digest(nn.Sequential(nn.GELU()))
    built = object_model(a).build(IO)
    assert built is not a and all(torch.equal(v, a.state_dict()[k]) for k, v in built.state_dict().items())
    with pytest.raises(PotstillError, match="or a callable"):
        object_model("resnet")  # type: ignore[arg-type]


def test_a_users_factory_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_for_test.py").write_text("def broken(): raise ValueError('no')\ndef wrong(): return 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for factory, words in (("nets_for_test:broken", "ValueError: no"), ("nets_for_test:wrong", "got int"),
                           ("nets_for_test:absent", "must name an attribute"), ("no_such_module:x", "must be importable")):  # fmt: skip
        with pytest.raises(PotstillError, match=words):
            TorchModuleSpec(factory=factory).build(IO)


def test_import_weights_converts_and_says_what_it_did(tmp_path: Path) -> None:
    module = module_of(FAMILIES[2])
    state = {f"module.{k}": v for k, v in module.state_dict().items()}
    torch.save({"state_dict": {**state, "module.note": 3}, "epoch": 4}, tmp_path / "a.pth")
    facts = import_weights(tmp_path / "a.pth")
    assert (
        facts["unwrapped"] == ["state_dict"] and facts["stripped"] == "module." and facts["dropped"] == ["module.note"]
    )
    loaded = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(v, loaded[k]) for k, v in module.state_dict().items())
    with pytest.raises(PotstillError, match="must be new"):
        import_weights(tmp_path / "a.pth")


def test_import_weights_runs_no_code(tmp_path: Path) -> None:
    code = (
        "import os, sys, torch\n"
        "class Evil:\n    def __reduce__(self): return (os.system, ('touch ' + sys.argv[2],))\n"
        "torch.save({'w': torch.zeros(2), 'x': Evil()}, sys.argv[1])\n"
    )
    path, mark = tmp_path / "evil.pth", tmp_path / "executed"
    subprocess.run([sys.executable, "-c", code, str(path), str(mark)], check=True)
    with pytest.raises(PotstillError, match="tensors and plain values"):
        import_weights(path)
    assert not mark.exists() and not (tmp_path / "evil.safetensors").exists()
    (tmp_path / "junk.pth").write_bytes(b"\x80\x04junk")
    with pytest.raises(PotstillError, match=r"junk\.pth"):
        import_weights(tmp_path / "junk.pth")


def test_a_models_card_holds_no_path(tmp_path: Path) -> None:
    weights = save(tmp_path, module_of(FAMILIES[2]).state_dict())
    spec = DsCnnSpec(width=4, depth=3, weights=weights)
    save_model(tmp_path / "m", module_of(FAMILIES[2]), spec, IO, list("abcde"))
    assert str(tmp_path) not in json.dumps(json.loads((tmp_path / "m" / "student.json").read_text()))
