"""Which channels of which layers go together: torch-pruning's dependency graph as plain data. Loads torch.

Shapes: N channels of a bundle.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from potstill.compress._layers import ROOTS, through
from potstill.compress._mend import mend
from potstill.compress._stand_ins import StandIn, stand_in
from potstill.core.errors import PotstillError
from potstill.core.extras import require


@dataclass(frozen=True)
class Member:
    """One side of one layer: its channel `places[i]` belongs to the bundle's channel `channels[i]`."""

    path: str
    side: str
    """in, out, through (both at once, as of a norm), dimN of a parameter, before and after of zero padding."""
    places: NDArray[np.int64]
    channels: NDArray[np.int64]


@dataclass
class Bundle:
    """Channels that are kept or cut together, wherever they pass."""

    name: str
    """Path of the first layer that makes them."""
    num: int
    """N."""
    members: list[Member]
    block: int = 1
    """Neighbouring channels that go together, such as those of an attention head."""
    refused: str = ""
    """Why they cannot be cut; empty where they can."""

    @property
    def units(self) -> int:
        """What is counted and cut: N / block."""
        return self.num // self.block

    def paths(self, side: str) -> list[str]:
        """Return the layers that have the bundle on this side."""
        return [m.path for m in self.members if m.side == side]


@dataclass
class Traced:
    """What a trace found."""

    bundles: list[Bundle]
    whole: dict[str, str] = field(default_factory=dict)
    """Path of a module that no bundle can cut -> why."""


Forward = Callable[[nn.Module], Any]


def trace(module: nn.Module, forward: Forward, where: str) -> Traced:
    """Return the bundles of a module, in the order of its layers.

    Args:
        module: left as it is.
        forward: runs a copy of it on an example.
        where: names it in errors.

    Raises:
        PotstillError: its forward pass fails, or autograd does not see it; names the module.
        MissingExtraError: torch-pruning is not installed.
    """
    twin = copy.deepcopy(module).cpu().eval().requires_grad_(True)
    stood = _stand_in_all(twin)
    with torch.enable_grad():
        _run(twin, forward, where)
        graph = _graph(twin, forward, where)
    reader = _Reader(twin, stood, graph)
    bundles = list(reader.bundles())
    return Traced(bundles, _left_whole(module, bundles))


def _stand_in_all(twin: nn.Module) -> dict[str, StandIn]:
    stood: dict[str, StandIn] = {}
    for path, part in list(twin.named_modules()):
        found = None if any(path.startswith(f"{p}.") for p in stood) else stand_in(part)
        if found is not None and path:
            parent, _, name = path.rpartition(".")
            setattr(twin.get_submodule(parent), name, found)
            stood[path] = found
    return stood


def _run(twin: nn.Module, forward: Forward, where: str) -> None:
    """Run once, and name the module in which it fails."""
    inside: list[str] = []
    hooks = []

    def leave(*_: object) -> None:
        inside.pop()

    for path, part in twin.named_modules():
        hooks += [
            part.register_forward_pre_hook(lambda *_, path=path: inside.append(path)),
            part.register_forward_hook(leave),
        ]
    try:
        forward(twin)
    except Exception as err:
        at = (inside or [""])[-1] or "the model itself"
        raise PotstillError(
            f"{where}: must run on its example to be traced; got {type(err).__name__} in {at!r}: "
            f"{(str(err).splitlines() or [''])[0]}"
        ) from err
    finally:
        for hook in hooks:
            hook.remove()


def _graph(twin: nn.Module, forward: Forward, where: str) -> Any:
    require("torch_pruning", "prune", "prune")
    import torch_pruning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = torch_pruning.DependencyGraph()
            found.build_dependency(
                twin, None, forward_fn=lambda model, _: forward(model), output_transform=_tensors, verbose=False
            )
        except Exception as err:
            raise PotstillError(
                f"{where}: must be a module that autograd can follow; torch-pruning stopped with {type(err).__name__}: "
                f"{(str(err).splitlines() or [''])[0]}"
            ) from err
    mend(found)
    return found


def _tensors(out: Any) -> list[Tensor]:
    from torch.utils._pytree import tree_leaves

    return [t for t in tree_leaves(out) if isinstance(t, Tensor) and t.grad_fn is not None]


class _Reader:
    """Reads bundles out of a dependency graph.

    Args:
        twin: the module that was traced, with stand-ins.
        stood: path -> stand-in.
        graph: torch-pruning's.
    """

    def __init__(self, twin: nn.Module, stood: dict[str, StandIn], graph: Any) -> None:
        self.twin, self.stood, self.graph = twin, stood, graph
        self.names: dict[Any, str] = {part: path for path, part in twin.named_modules()}
        self.parameters: dict[Any, str] = {p: path for path, p in twin.named_parameters()}
        self.covered: dict[str, set[int]] = {}

    def bundles(self) -> Iterator[Bundle]:
        """Yield every bundle once."""
        for path, part in self.twin.named_modules():
            if not isinstance(part, ROOTS) or part not in self.graph.module2node:
                continue
            pruner = self.graph.get_pruner_of_module(part)
            todo = [i for i in range(pruner.get_out_channels(part)) if i not in self.covered.get(path, ())]
            if todo:
                yield self._bundle(path, todo, self.graph.get_pruning_group(part, pruner.prune_out_channels, todo))

    def _bundle(self, path: str, todo: list[int], group: Any) -> Bundle:
        number = {root: i for i, root in enumerate(todo)}
        out = Bundle(self._real(path), len(todo), [])
        for item in group:
            target, side = item.dep.target, self._side(item.dep)
            roots = [r for r in item.root_idxs if r is not None]
            if len(roots) != len(item.idxs) or not set(roots) <= set(number):
                out.refused = "its channels are joined in a way that the trace does not follow"
                continue
            places = np.array(item.idxs, dtype=np.int64)
            channels = np.array([number[r] for r in roots], dtype=np.int64)
            if isinstance(target.module, nn.Parameter):
                name = self.parameters[target.module]
                out.members.append(Member(name, f"dim{target.pruning_dim}", places, channels))
            elif target.module in self.names:
                self._add(out, self.names[target.module], side, places, channels)
        return out

    def _side(self, dep: Any) -> str:
        graph = self.graph
        if isinstance(dep.target.module, nn.Embedding):
            return "out"
        if graph.is_out_channel_pruning_fn(dep.handler) and not graph.is_in_channel_pruning_fn(dep.handler):
            return "out"
        pruner = graph.get_pruner_of_module(dep.target.module)
        return "in" if dep.handler == pruner.prune_in_channels else "out"

    def _add(self, out: Bundle, path: str, side: str, places: Any, channels: Any) -> None:
        part = self.twin.get_submodule(path)
        parent, name = self._stood_at(path)
        if side == "out" or through(part):
            self.covered.setdefault(path, set()).update(places.tolist())
        if not parent:
            out.members.append(Member(path, "through" if through(part) else side, places, channels))
            return
        stood = self.stood[parent]
        if side == "out":
            out.block = max(out.block, stood.blocks.get(name, 1))
        for meant in stood.means.get((name, side), ()):
            real = f"{parent}.{meant.name}" if meant.name else parent
            moved = np.concatenate([places + offset for offset in meant.offsets])
            out.members.append(Member(real, meant.side, moved, np.tile(channels, len(meant.offsets))))

    def _stood_at(self, path: str) -> tuple[str, str]:
        """Return (path of the stand-in that a layer is in, empty for none; the layer's path in it)."""
        parent = next((p for p in self.stood if path.startswith(f"{p}.")), "")
        return parent, path.removeprefix(f"{parent}.")

    def _real(self, path: str) -> str:
        """Return the path of the module that a stand-in's layer stands for."""
        parent, name = self._stood_at(path)
        if not parent:
            return path
        meant = next(iter(self.stood[parent].means.get((name, "out"), ())), None)
        return f"{parent}.{meant.name}" if meant is not None and meant.name else parent


def _left_whole(module: nn.Module, bundles: list[Bundle]) -> dict[str, str]:
    """Return the modules with weights of which no bundle has a side, such as those that torch-pruning does not know."""
    seen = {m.path for b in bundles for m in b.members}
    out = {}
    for path, part in module.named_modules():
        own = [n for n, p in part.named_parameters(recurse=False) if p.ndim > 1]
        inside = any(path.startswith(f"{m}.") for m in seen)  # of a part that a bundle has whole
        if own and not inside and path not in seen and not any(f"{path}.{n}".lstrip(".") in seen for n in own):
            out[path or own[0]] = f"{type(part).__name__} is not seen by the trace"
    return out
