"""Where every value and every constant lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.ir import kernel
from bnncc.ir.graph import operands
from bnncc.ir.packing import packed_bytes_per_image
from bnncc.ir.types import Elem, TensorType, Value

ALIGN_BYTES = 64
ELEMENT_BYTES = {
    Elem.SIGN: 1,
    Elem.BOOL: 1,
    Elem.U8: 1,
    Elem.I8: 1,
    Elem.I32: 4,
    Elem.U32: 4,
    Elem.I64: 8,
    Elem.F32: 4,
}


def bytes_per_image(tensor: TensorType) -> int:
    """Return the storage of one image of ``tensor`` in its layout."""
    if tensor.layout.is_packed:
        return packed_bytes_per_image(tensor)
    return tensor.count * ELEMENT_BYTES[tensor.elem]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Life:
    """A workspace value, and the first and last call that touches it."""

    value: Value
    first: int
    last: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PlanMemory:
    """Give values that are never live together the same bytes, greedily from the largest.

    Offsets are per image: a buffer of a batch starts at ``offset * images`` (rounded up to whole groups), so
    one plan serves every batch size. Inputs and outputs stay in the caller's arrays.
    """

    name: ClassVar[str] = "plan-memory"
    images_per_group: int

    def run(self, graph: kernel.KernelGraph) -> kernel.KernelProgram:
        """Return the program: the graph, its buffers, its weights blob."""
        lives = _lives(graph)
        offsets = _place(lives)
        slices, blob_bytes = _blob(graph)
        outside = {value.name: kernel.Role.INPUT for value in graph.inputs}
        outside |= {output.value.name: kernel.Role.OUTPUT for output in graph.outputs}
        values = (*graph.inputs, *(node.result for node in graph.nodes))
        buffers = tuple(
            kernel.Buffer(
                value=value,
                role=outside.get(value.name, kernel.Role.WORKSPACE),
                bytes_per_image=bytes_per_image(value.type),
                offset_bytes_per_image=offsets.get(value.name, 0),
            )
            for value in values
        )
        return kernel.KernelProgram(
            graph=graph,
            buffers=buffers,
            slices=slices,
            images_per_group=self.images_per_group,
            workspace_bytes_per_image=max(
                (offsets[life.value.name] + life.size_bytes for life in lives), default=0
            ),
            blob_bytes=blob_bytes,
        )


def _lives(graph: kernel.KernelGraph) -> tuple[_Life, ...]:
    """Return the lifetimes of the values that need workspace."""
    outside = {value.name for value in graph.inputs} | {output.value.name for output in graph.outputs}
    last_read: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        last_read |= {value.name: index for value in operands(node)}
    return tuple(
        _Life(
            value=node.result,
            first=index,
            last=last_read.get(node.result.name, index),
            size_bytes=-(-bytes_per_image(node.result.type) // ALIGN_BYTES) * ALIGN_BYTES,
        )
        for index, node in enumerate(graph.nodes)
        if node.result.name not in outside
    )


def _place(lives: tuple[_Life, ...]) -> dict[str, int]:
    """Return an offset for each value; the largest choose first, each the lowest gap that fits."""
    placed: list[tuple[_Life, int]] = []
    for life in sorted(lives, key=lambda item: (-item.size_bytes, item.first, item.value.name)):
        rivals = sorted(
            (offset, other.size_bytes)
            for other, offset in placed
            if other.first <= life.last and life.first <= other.last
        )
        start = 0
        for offset, size_bytes in rivals:
            if start + life.size_bytes <= offset:
                break
            start = max(start, offset + size_bytes)
        placed.append((life, start))
    return {life.value.name: offset for life, offset in placed}


def _blob(graph: kernel.KernelGraph) -> tuple[tuple[kernel.BlobSlice, ...], int]:
    """Return one slice for each constant in order of use, and the length of the blob."""
    slices: list[kernel.BlobSlice] = []
    end = 0
    for ref in graph.const_refs():
        if any(item.ref.digest == ref.digest and item.ref.type == ref.type for item in slices):
            continue
        size_bytes = graph.array(ref).nbytes
        slices.append(kernel.BlobSlice(ref=ref, offset_bytes=end, size_bytes=size_bytes))
        end += -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
    return tuple(slices), end
