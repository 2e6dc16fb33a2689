"""Weights become part of the graph: checked, latent values as signs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from bnncc.diagnostics import NOWHERE, CompileError, Diagnostic
from bnncc.ir import nn
from bnncc.ir.graph import Array, const_refs, digest_of, freeze
from bnncc.ir.types import ConstRef, Elem
from bnncc.passes.weight_errors import (
    MissingWeight,
    NegativeVariance,
    NotFinite,
    UnexpectedWeight,
    WrongWeightShape,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BindWeights:
    """Give every parameter its array.

    Before::  const @conv1.weight : sign[64, 3, 3, 3] = unbound
    After::   const @conv1.weight : sign[64, 3, 3, 3] = 3bd7c753c42bb4a31b2a9ea1b4706d72

    A latent weight becomes its sign, +1 at 0 as everywhere. Other parameters become f32.

    Args:
        weights: by the names of the parameters.
        origin: what diagnostics call them: 'weights.safetensors'.
    """

    name: ClassVar[str] = "bind-weights"
    weights: Mapping[str, Array]
    origin: str = "the weights"

    def run(self, graph: nn.NnGraph) -> nn.NnGraph:
        """Return the graph with all parameters bound.

        Raises:
            CompileError: E0501 to E0505, all at once.
        """
        problems = tuple(self._problems(graph))
        if problems:
            raise CompileError(problems)
        constants: dict[str, Array] = {}
        bound: dict[str, ConstRef] = {}
        for ref in graph.const_refs():
            array = freeze(_stored(self.weights[ref.name], ref.type.elem))
            digest = digest_of(array)
            constants[digest] = array
            bound[ref.name] = replace(ref, digest=digest)
        nodes = tuple(_with_refs(node, bound) for node in graph.nodes)
        return replace(graph, nodes=nodes, constants=constants)

    def _problems(self, graph: nn.NnGraph) -> Iterator[Diagnostic]:
        names = {ref.name for ref in graph.const_refs()}
        for tensor in sorted(set(self.weights) - names):
            yield UnexpectedWeight(span=NOWHERE, tensor=tensor, origin=self.origin)
        seen: set[str] = set()
        for node in graph.nodes:
            for ref in const_refs(node):
                if ref.name not in seen:
                    seen.add(ref.name)
                    yield from self._problem(node, ref)

    def _problem(self, node: nn.NnOp, ref: ConstRef) -> Iterator[Diagnostic]:
        array = self.weights.get(ref.name)
        if array is None:
            yield MissingWeight(span=node.span, tensor=ref.name, expected=ref.type, origin=self.origin)
            return
        is_number = array.dtype.kind == "f" or (array.dtype.kind == "i" and ref.type.elem is Elem.SIGN)
        if array.shape != ref.type.shape or not is_number:
            found = f"{array.dtype}{list(array.shape)}"
            yield WrongWeightShape(
                span=node.span, tensor=ref.name, expected=ref.type, found=found, origin=self.origin
            )
            return
        with np.errstate(over="ignore"):
            count = np.count_nonzero(~np.isfinite(array.astype(np.float32)))
        if count:
            yield NotFinite(span=node.span, tensor=ref.name, count=int(count), origin=self.origin)
        elif isinstance(node, nn.BatchNorm) and ref == node.var:
            smallest = float(array.min())
            if not smallest + node.eps > 0:
                yield NegativeVariance(span=node.span, tensor=ref.name, smallest=smallest, origin=self.origin)


def _stored(array: Array, elem: Elem) -> Array:
    if elem is Elem.SIGN:
        return np.where(array >= 0, 1, -1).astype(np.int8)
    return array.astype(np.float32)


def _with_refs(node: nn.NnOp, bound: Mapping[str, ConstRef]) -> nn.NnOp:
    changes = {
        item.name: bound[ref.name]
        for item in fields(node)
        if isinstance(ref := getattr(node, item.name), ConstRef)
    }
    # The field names come from the node itself; dataclasses.replace cannot be typed for that.
    return replace(node, **changes)  # type: ignore[arg-type]
