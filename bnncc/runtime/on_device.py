"""A call of a session with arrays that are on its device: nothing is copied, and nobody waits."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph
from bnncc.runtime.arrays import is_torch
from bnncc.runtime.cuda import CudaExecutable, DeviceArray, is_on_device


def are_on_device(given: Mapping[str, Any]) -> bool:
    """Return whether the arrays of a call are on a device.

    Raises:
        DataError: some are, and some are not.
    """
    there = {name for name, item in given.items() if is_on_device(item)}
    if there and (here := sorted(set(given) - there)):
        raise DataError(
            f"the input '{here[0]}' is in the memory of the host, and '{min(there)}' on the device: "
            "give all inputs on the same side"
        )
    return bool(there)


@dataclass(frozen=True, slots=True)
class DeviceCall:
    """One call.

    Args:
        network: on the device.
        graph: whose inputs and outputs they are.
        given: arrays by network input.
        targets: arrays to be filled, by output.
    """

    network: CudaExecutable
    graph: NnGraph
    given: Mapping[str, Any]
    targets: Mapping[str, Any]

    def run(self, stream: Any) -> dict[str, Any]:  # noqa: ANN401 - any library's stream
        """Return the outputs by name, as the caller's kind of array."""
        is_single = all(_shape(self.given[item.name]) == item.type.shape for item in self.graph.inputs)
        inputs, out = dict(self.given), dict(self.targets)
        if is_single:
            inputs = {name: _as_batch(item, name) for name, item in inputs.items()}
            out = {name: _as_batch(item, name) for name, item in out.items()}
        where = self._torch_stream() if stream is None else stream
        results = self.network.run_on_device(inputs, stream=where, out=out)
        return {name: self.targets.get(name, self._shown(item, is_single)) for name, item in results.items()}

    def _torch_stream(self) -> Any:  # noqa: ANN401 - torch's
        tensors = [item for item in self.given.values() if is_torch(item)]
        return sys.modules["torch"].cuda.current_stream(tensors[0].device) if tensors else None

    def _shown(self, result: Any, is_single: bool) -> Any:  # noqa: ANN401, FBT001 - any library's array
        if not isinstance(result, DeviceArray):
            return result[0] if is_single else result
        array = result.with_shape(result.shape[1:]) if is_single else result
        if any(is_torch(item) for item in self.given.values()):
            return sys.modules["torch"].from_dlpack(array)
        return array


def _shape(item: Any) -> tuple[int, ...]:  # noqa: ANN401 - any library's object
    if hasattr(item, "__cuda_array_interface__"):
        return tuple(item.__cuda_array_interface__["shape"])
    return tuple(item.shape)


def _as_batch(item: Any, name: str) -> Any:  # noqa: ANN401 - any library's object
    """Return an array without the batch axis as a batch of one."""
    if isinstance(item, DeviceArray):
        return item.with_shape((1, *item.shape))
    try:
        return item[None]
    except (TypeError, IndexError, ValueError) as error:
        raise DataError(
            f"'{name}' has no batch axis, and cannot be given one; give it as a batch of 1"
        ) from error
