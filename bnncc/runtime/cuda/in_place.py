"""Runs on arrays that are on the device already: nothing is copied, and nobody waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnncc.diagnostics import DataError
from bnncc.ir.graph import Output
from bnncc.ir.types import Value
from bnncc.runtime.addresses import array_bytes, array_dtype, image_count
from bnncc.runtime.cuda.device_arrays import DeviceArray, DeviceView, Storage, view_of
from bnncc.runtime.cuda.lanes import Lane
from bnncc.runtime.cuda.network import LoadedNetwork
from bnncc.runtime.cuda.streams import CudaStream


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRun:
    """One run on the device.

    Args:
        network: on the device.
        inputs: arrays of the caller, by name.
        out: arrays of the caller for outputs; the others get new memory.
        stream: where the run goes.
    """

    network: LoadedNetwork
    inputs: Mapping[str, Any]
    out: Mapping[str, Any]
    stream: CudaStream

    def run(self) -> dict[str, Any]:
        """Put the run on its stream and return the arrays of its outputs."""
        artifact = self.network.artifact
        views = {
            value.name: self._view(value, self.inputs[value.name], f"input '{value.name}'")
            for value in artifact.inputs
        }
        images = image_count(artifact, {name: view.shape for name, view in views.items()})
        outside = {name: view.address for name, view in views.items()}
        results: dict[str, Any] = {}
        with self.network.lanes.taken(self.stream) as lane:
            for output in artifact.outputs:
                name = output.value.name
                if name in views:  # an output may be an input as it came
                    results[output.name] = self.inputs[name]
                elif output.name in self.out:
                    results[output.name] = self.out[output.name]
                    views[name] = self._given(output, images)
                    outside[name] = views[name].address
                else:
                    results[output.name], outside[name] = self._fresh(output, images, lane)
            if images:
                self.network.put(lane, self.stream, images, outside)
        return results

    def _given(self, output: Output, images: int) -> DeviceView:
        view = self._view(output.value, self.out[output.name], f"output '{output.name}'")
        check_shape(output, view.shape, images)
        return view

    def _view(self, value: Value, item: Any, name: str) -> DeviceView:  # noqa: ANN401 - any library's object
        return view_of(value, item, self.network.session, self.stream, name)

    def _fresh(self, output: Output, images: int, lane: Lane) -> tuple[DeviceArray, int]:
        size_bytes = array_bytes(output.value, images)
        storage = Storage(self.network.session, self.network.results, size_bytes, self.stream, lane.mark)
        array = DeviceArray((images, *output.value.type.shape), array_dtype(output.value), storage)
        return array, storage.address


def check_shape(output: Output, shape: tuple[int, ...], images: int) -> None:
    """Check the shape of an array that the caller gave for ``output``.

    Raises:
        DataError: it has another one.
    """
    wanted = (images, *output.value.type.shape)
    if tuple(shape) != wanted:
        raise DataError(
            f"the array for output '{output.name}' has shape {tuple(shape)}; it should be {wanted}"
        )
