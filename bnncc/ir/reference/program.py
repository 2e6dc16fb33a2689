"""The executable meaning of the kernel level: a program over bytes, with poisoned workspace.

Values live where the memory plan put them and constants are read from the weights blob, so a plan that
overlaps, a wrong offset or a wrong packing changes the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from bnncc.ir import bit, kernel
from bnncc.ir.graph import operands
from bnncc.ir.packing import load_signs, store_signs
from bnncc.ir.reference import bit_level, layer, run
from bnncc.ir.reference.values import from_input, integers
from bnncc.ir.types import ConstRef, Elem, Layout, Value

Array = npt.NDArray[Any]

POISON: Final = 0xA5
DTYPES: Final[Mapping[Elem, np.dtype[Any]]] = {
    Elem.SIGN: np.dtype(np.int8),
    Elem.BOOL: np.dtype(np.uint8),
    Elem.U8: np.dtype(np.uint8),
    Elem.I8: np.dtype(np.int8),
    Elem.I32: np.dtype(np.int32),
    Elem.U32: np.dtype(np.uint32),
    Elem.F32: np.dtype(np.float32),
}


def run_program(program: kernel.KernelProgram, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of ``program`` by name, ``[N, *shape]`` in the dtype of the element.

    Args:
        program: as planned for a target.
        inputs: one ``[N, *shape]`` array for each input.
    """
    graph = program.graph
    machine = _Machine(program, inputs)
    for node in graph.nodes:
        machine.execute(node)
    return {output.name: machine.plain(output.value) for output in graph.outputs}


@dataclass(frozen=True, slots=True)
class _Physical:
    """The constants of a program as the blob holds them, in the place of the graph's table."""

    program: kernel.KernelProgram
    blob: Array

    def array(self, ref: ConstRef) -> Array:
        """Return the constant, read from the blob."""
        place = self.program.slice(ref)
        data = self.blob[place.offset_bytes : place.offset_bytes + place.size_bytes]
        array = data.view(DTYPES[ref.type.elem]).reshape(ref.type.shape)
        return array.astype(np.bool_) if ref.type.elem is Elem.U8 else array


class _Machine:
    """The memory of one run."""

    def __init__(self, program: kernel.KernelProgram, inputs: Mapping[str, Array]) -> None:
        self.program = program
        self.images = run.check_inputs(program.graph, inputs)
        groups = -(-self.images // program.images_per_group)
        self.stored_images = groups * program.images_per_group
        self.workspace = np.full(program.workspace_bytes_per_image * self.stored_images, POISON, np.uint8)
        self.outside: dict[str, Array] = {
            value.name: np.ascontiguousarray(inputs[value.name], DTYPES[value.type.elem])
            .reshape(-1)
            .view(np.uint8)
            for value in program.graph.inputs
        }
        self.constants = _Physical(program, np.frombuffer(program.blob(), np.uint8))

    def _bytes(self, value: Value) -> Array:
        """Return the bytes of ``value``, a view."""
        buffer = self.program.buffer(value)
        if buffer.role is kernel.Role.WORKSPACE:
            start = buffer.offset_bytes_per_image * self.stored_images
            return self.workspace[start : start + buffer.bytes_per_image * self.stored_images]
        if value.name not in self.outside:
            self.outside[value.name] = np.full(buffer.bytes_per_image * self.images, POISON, np.uint8)
        return self.outside[value.name]

    def plain(self, value: Value) -> Array:
        """Return ``value`` as the caller's array."""
        tensor = value.type
        if tensor.layout.is_packed:
            used = self._bytes(value)
            signs = load_signs(used[: self._used_bytes(value)], tensor, self.images)
            return signs.reshape(self.images, *tensor.shape)
        used = self._bytes(value)[: tensor.count * DTYPES[tensor.elem].itemsize * self.images]
        return used.view(DTYPES[tensor.elem]).reshape(self.images, *tensor.shape)

    def _used_bytes(self, value: Value) -> int:
        """Return how many bytes hold images; layouts without groups may lie in a rounded-up buffer."""
        per_image = self.program.buffer(value).bytes_per_image
        is_grouped = value.type.layout is Layout.ROWS8X128
        return per_image * (self.stored_images if is_grouped else self.images)

    def execute(self, node: kernel.KernelOp) -> None:
        """Run one call; the place of its result is poisoned before it reads, as if it wrote at once."""
        self._bytes(node.result)[:] = POISON
        match node:
            case kernel.XnorLayer():
                assert layer.ones_are_counted(node, self.constants), f"{node.result.name}: wrong ones"
                assert layer.tiles_are_the_weights(node, self.constants), f"{node.result.name}: wrong tiles"
                x = self._bytes(node.x)[: self._used_bytes(node.x)]
                sums = layer.xnor_mismatches(node, x, self.constants.array(node.weight), self.images)
                self._store(node.result, layer.apply_store(node, sums, self.constants))
            case kernel.IntegerLayer():
                x = self._image(node.x).astype(np.int64)
                sums = layer.integer_sums(node, x, self.constants.array(node.weight))
                self._store(node.result, layer.apply_store(node, sums, self.constants))
            case kernel.FloatLayer():
                weight = self.constants.array(node.weight)
                self._store(node.result, layer.float_sums(node, self._image(node.x), weight))
            case _:
                self._element_wise(node)

    def _element_wise(self, node: bit.BitOp) -> None:
        values: run.Environment = {
            value.name: from_input(self.plain(value), value.type.elem) for value in operands(node)
        }
        result = bit_level.step(node, cast("bit.BitGraph", self.constants), values)
        self._store(node.result, integers(result))

    def _image(self, value: Value) -> Array:
        """Return ``value`` as ``[N, C, H, W]``."""
        return self.plain(value).reshape(self.images, value.type.channels, *value.type.spatial)

    def _store(self, value: Value, result: Array) -> None:
        """Write a logical result; a value that does not fit its storage is a fault of the compiler."""
        tensor = value.type
        if tensor.layout.is_packed:
            data = store_signs(
                result.reshape(self.images, tensor.channels, *tensor.spatial).astype(np.int8), tensor.layout
            )
        else:
            narrow = result.astype(DTYPES[tensor.elem])
            assert np.array_equal(narrow, result, equal_nan=tensor.elem is Elem.F32), (
                f"{value.name} overflows"
            )
            data = np.ascontiguousarray(narrow).reshape(-1).view(np.uint8)
        self._bytes(value)[: data.size] = data
