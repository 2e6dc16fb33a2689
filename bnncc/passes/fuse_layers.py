"""One kernel for a layer and everything that follows its sums on the way to memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bnncc.ir import bit
from bnncc.ir.graph import const_refs, operands
from bnncc.ir.types import ConstRef, Elem
from bnncc.passes.rewrite import Names, readers


@dataclass(frozen=True, slots=True)
class FuseLayers:
    """Join integer layers with thresholds, pools, flips, affine maps and scores.

    Before::  %c = bit.conv2d(x=%s, weight=@w, window=W, pad_value=-1) : i32[20, 8, 8]
              %t = bit.threshold(x=%c, bounds=@b, flips=none, border=B) : sign[20, 8, 8]
              %p = bit.max_pool2d(x=%t, window=P) : sign[20, 4, 4]
              %f = bit.flip_signs(x=%p, flips=@f) : sign[20, 4, 4]
    After::   %f = bit.layer(x=%s, weight=@w, window=W, epilogue=to_signs(bounds=@b, border=B, flips=none,
                             pool=P, flips_after_pool=@f)) : sign[20, 4, 4]

    Only where each value of the chain has one reader; sums with several are stored. Tables become i32.
    Needs lowered padding, folded batch norms and ranges that are checked.
    """

    name: ClassVar[str] = "fuse-layers"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with all integer layers fused."""
        chains = {chain.last.result.name: chain for chain in _chains(graph)}
        if not chains:
            return graph
        inside = {node.result.name for chain in chains.values() for node in chain.nodes}
        kept = tuple(node for node in graph.nodes if node.result.name not in inside)
        names = Names.of(graph)
        # A table keeps its name when it becomes i32, so only constants that stay are in use already.
        names.refs = {ref.name: ref for node in kept for ref in const_refs(node)}
        names.refs |= {chain.first.weight.name: chain.first.weight for chain in chains.values()}
        ends = {node.result.name: node for node in kept}
        nodes = tuple(
            _layer(chains[name], names) if name in chains else ends[name]
            for name in (node.result.name for node in graph.nodes)
            if name in chains or name in ends
        )
        digests = {ref.digest for node in nodes for ref in const_refs(node)}
        constants = {key: array for key, array in names.constants.items() if key in digests}
        return replace(graph, nodes=nodes, constants=constants)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """An integer layer and the operations that it absorbs."""

    first: bit.Conv2d | bit.Dense
    affine: bit.BorderAffine | None = None
    scores: bit.Affine | None = None
    threshold: bit.Threshold | None = None
    pool: bit.MaxPool2d | None = None
    flip: bit.FlipSigns | None = None

    @property
    def nodes(self) -> tuple[bit.BitOp, ...]:
        """Return its operations in order."""
        parts = (self.first, self.affine, self.scores, self.threshold, self.pool, self.flip)
        return tuple(part for part in parts if part is not None)

    @property
    def last(self) -> bit.BitOp:
        """Return the operation whose result leaves the kernel."""
        return self.nodes[-1]


def _chains(graph: bit.BitGraph) -> Iterator[_Chain]:
    counts = readers(graph)
    only_reader = {
        value.name: node for node in graph.nodes for value in operands(node) if counts[value.name] == 1
    }
    for node in graph.nodes:
        if isinstance(node, (bit.Conv2d, bit.Dense)) and _is_fusible(node):
            yield _chain(node, only_reader)


def _is_fusible(node: bit.Conv2d | bit.Dense) -> bool:
    """Return whether ``node`` sums integers and is padded as the kernels pad."""
    if node.result.type.elem is not Elem.I32:
        return False
    free = -1 if node.x.type.elem is Elem.SIGN else 0
    return isinstance(node, bit.Dense) or not node.window.is_padded or node.pad_value == free


def _chain(first: bit.Conv2d | bit.Dense, only_reader: Mapping[str, bit.BitOp]) -> _Chain:
    chain = _Chain(first=first)
    while True:
        match only_reader.get(chain.last.result.name), chain.last:
            case bit.BorderAffine() as affine, bit.Conv2d() | bit.Dense():
                chain = replace(chain, affine=affine)
            case bit.Affine() as scores, bit.Conv2d() | bit.Dense() | bit.BorderAffine():
                chain = replace(chain, scores=scores)
            case bit.Threshold() as threshold, bit.Conv2d() | bit.Dense():
                chain = replace(chain, threshold=threshold)
            case bit.MaxPool2d() as pool, bit.Threshold():
                chain = replace(chain, pool=pool)
            case bit.FlipSigns() as flip, bit.MaxPool2d():
                chain = replace(chain, flip=flip)
            case _:
                return chain


def _layer(chain: _Chain, names: Names) -> bit.Layer:
    span = chain.first.span
    for node in chain.nodes:
        span = span.cover(node.span)
    return bit.Layer(
        result=chain.last.result,
        span=span,
        x=chain.first.x,
        weight=chain.first.weight,
        window=chain.first.window if isinstance(chain.first, bit.Conv2d) else None,
        epilogue=_epilogue(chain, names),
    )


def _epilogue(chain: _Chain, names: Names) -> bit.Epilogue:
    layer = chain.last.result.name
    if chain.threshold is not None:
        return bit.ToSigns(
            bounds=_int32(chain.threshold.bounds, f"{layer}.bounds", names),
            border=chain.threshold.border,
            flips=_renamed(chain.threshold.flips, f"{layer}.flips", names),
            pool=None if chain.pool is None else chain.pool.window,
            flips_after_pool=None
            if chain.flip is None
            else _renamed(chain.flip.flips, f"{layer}.flips_after_pool", names),
        )
    table = None if chain.affine is None else _int32(chain.affine.table, f"{layer}.table", names)
    multiply = 1 if chain.affine is None else chain.affine.multiply
    border = None if chain.affine is None else chain.affine.border
    if chain.scores is None:
        return bit.ToSums(multiply=multiply, table=table, border=border)
    scale = _renamed(chain.scores.scale, f"{layer}.scale", names)
    shift = _renamed(chain.scores.shift, f"{layer}.shift", names)
    assert scale is not None
    assert shift is not None
    return bit.ToScores(multiply=multiply, table=table, border=border, scale=scale, shift=shift)


def _int32(ref: ConstRef, name: str, names: Names) -> ConstRef:
    """Return a table as i32; a bound past the end of i32 is never reached, so the end serves."""
    limits = np.iinfo(np.int32)
    table = np.clip(names.constants[ref.digest], limits.min, limits.max)
    return names.constant(name, Elem.I32, table.astype(np.int32))


def _renamed(ref: ConstRef | None, name: str, names: Names) -> ConstRef | None:
    return None if ref is None else names.constant(name, ref.type.elem, names.constants[ref.digest])
