"""Where channels stand after a slice, a flattening or a concatenation, where torch-pruning 1.6 has it wrong. Loads torch.

Its rules are for [B, C, H, W] and [B, C]; of three dimensions it takes the last for the channels. Whatever is missed here is found
by the trial cuts, and then not cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Flat:
    """Channel c of [B, num, C] (`last`) or [B, C, num] <-> its `num` places once that is flat."""

    num: int
    channels: int
    last: bool
    back: bool

    def __call__(self, found: list[Any]) -> list[Any]:
        """Return indices with the channel of the root that each belongs to."""
        make = type(found[0]) if found else None
        out = []
        for index in found:
            if self.back:
                places = [index.idx % self.channels if self.last else index.idx // self.num]
            elif self.last:
                places = [i * self.channels + index.idx for i in range(self.num)]
            else:
                places = [index.idx * self.num + i for i in range(self.num)]
            out += [make(idx=place, root_idx=index.root_idx) for place in places if make is not None]
        return list(dict.fromkeys(out)) if self.back else out


def mend(graph: Any) -> None:
    """Correct the index mappings of a dependency graph, in place."""
    from torch_pruning import ops
    from torch_pruning.dependency import shape_infer

    for node in list(graph.module2node.values()):
        sizes = list(getattr(node.grad_fn, "_saved_self_sym_sizes", ()))
        if node.type == ops.OPTYPE.CONCAT:
            node.enable_index_mapping = True  # switched off wherever a parameter of three dimensions comes before
        elif node.type == ops.OPTYPE.SLICE and node.inputs:
            num = shape_infer.infer_out_channels_recursively(graph, node.inputs[0], [0])
            along = node.module.dim
            if along < len(sizes) and num is not None and sizes[along] != num:
                node.type = ops.OPTYPE.ELEMENTWISE
                _map(node, None, None)
        elif node.type == ops.OPTYPE.RESHAPE and len(sizes) == 3 and node.inputs and node.outputs:
            num = shape_infer.infer_out_channels_recursively(graph, node.inputs[0], [0])
            flat = shape_infer.infer_in_channels_recursively(graph, node.outputs[0], [0])
            if flat != sizes[1] * sizes[2] or num not in sizes[1:] or 1 in sizes[1:]:
                continue
            last = sizes[2] == num
            other = sizes[1] if last else sizes[2]
            _map(node, _Flat(other, num, last, False), _Flat(other, num, last, True))


def _map(node: Any, onward: Any, back: Any) -> None:
    """Set what happens between a node's inputs and itself."""
    for before in node.inputs:
        for dep in before.dependencies:
            if dep.target is node:
                dep.index_mapping[0] = onward
        for dep in node.dependencies:
            if dep.target is before:
                dep.index_mapping[0] = back
