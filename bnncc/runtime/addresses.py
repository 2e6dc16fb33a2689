"""Where the arguments of CUDA launches point, for one batch: the same for a device and for the emulator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError
from bnncc.ir.kernel import Role
from bnncc.ir.types import Value
from bnncc.runtime.executable import NUMPY_DTYPES
from bnncc.targets.cuda.artifact import (
    BarrierArgument,
    ConstantArgument,
    CudaArtifact,
    ImagesArgument,
    Launch,
    PersistentLaunch,
    ValueArgument,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The memory of one batch.

    Args:
        artifact: the network.
        images: of the batch.
        workspace: start of the workspace.
        blob: start of the weights.
        outside: start of each input and output, by the name of its value.
        barrier: start of the counter of a persistent kernel; nobody else needs it.
    """

    artifact: CudaArtifact
    images: int
    workspace: int
    blob: int
    outside: Mapping[str, int]
    barrier: int = 0

    def arguments(self, launch: Launch | PersistentLaunch) -> tuple[int, ...]:
        """Return the arguments of ``launch``: addresses, and the number of images as an int."""
        found: list[int] = []
        for argument in launch.arguments:
            match argument:
                case ValueArgument(value=value):
                    found.append(self._value(value))
                case ConstantArgument(offset_bytes=offset_bytes):
                    found.append(self.blob + offset_bytes)
                case ImagesArgument():
                    found.append(self.images)
                case BarrierArgument():
                    found.append(self.barrier)
                case _:
                    assert_never(argument)
        return tuple(found)

    def _value(self, name: str) -> int:
        buffer = self.artifact.buffer(name)
        if buffer.role is Role.WORKSPACE:
            return self.workspace + buffer.offset_bytes_per_image * self.artifact.stored_images(self.images)
        return self.outside[name]


def result_values(artifact: CudaArtifact) -> tuple[Value, ...]:
    """Return the values that kernels write into arrays of the caller, each once."""
    given = {value.name for value in artifact.inputs}
    values = {output.value.name: output.value for output in artifact.outputs}
    return tuple(value for name, value in values.items() if name not in given)


def workspace_bytes(artifact: CudaArtifact, images: int) -> int:
    """Return the length of the workspace for a batch; never 0, so that it can be allocated."""
    return max(64, artifact.workspace_bytes_per_image * artifact.stored_images(images))


def array_dtype(value: Value) -> np.dtype[Any]:
    """Return the dtype of the caller's array of ``value``."""
    return NUMPY_DTYPES[value.type.elem.value]


def check_names(artifact: CudaArtifact, given: Collection[str]) -> None:
    """Check that ``given`` names the inputs of the network.

    Raises:
        DataError: an input is missing, or too many are given.
    """
    wanted = {value.name for value in artifact.inputs}
    if set(given) != wanted:
        got = ", ".join(sorted(given)) or "none"
        raise DataError(f"'{artifact.name}' takes the inputs {', '.join(sorted(wanted))}; got {got}")


def image_count(artifact: CudaArtifact, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the number of images of ``shapes``, one a network input.

    Raises:
        DataError: an input is missing, too many are given, or a shape is wrong.
    """
    check_names(artifact, shapes)
    wanted = {value.name: value.type.shape for value in artifact.inputs}
    for name, shape in shapes.items():
        if tuple(shape[1:]) != wanted[name] or not shape:
            raise DataError(
                f"input '{name}' has shape {tuple(shape)}; it should be images x {list(wanted[name])}"
            )
    counts = {shape[0] for shape in shapes.values()}
    if len(counts) != 1:
        raise DataError(f"the inputs differ in the number of images: {sorted(counts)}")
    return counts.pop()


def array_bytes(value: Value, images: int) -> int:
    """Return the length of the caller's array of ``value``."""
    return value.type.count * array_dtype(value).itemsize * images


def checked_array(value: Value, array: Array) -> Array:
    """Return ``array`` ready to be copied for ``value``.

    Raises:
        DataError: the element type is wrong.
    """
    dtype = array_dtype(value)
    if array.dtype != dtype:
        raise DataError(f"input '{value.name}' has dtype {array.dtype}; it should be {dtype}")
    return np.ascontiguousarray(array)
