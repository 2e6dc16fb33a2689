"""Batches in the memory of the host: copied in parts, while the device works on the part before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.ir.types import Value
from bnncc.runtime.addresses import array_bytes, array_dtype, result_values, workspace_bytes
from bnncc.runtime.cuda.lanes import Lane
from bnncc.runtime.cuda.memory import LEAST_BYTES
from bnncc.runtime.cuda.network import LoadedNetwork
from bnncc.targets.cuda.batches import STEP_IMAGES

Array = npt.NDArray[Any]

PART_BYTES: Final = 4 << 20
"""Of inputs in a part: long enough for the full rate of the bus, short enough not to wait for the first."""
_LANES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRun:
    """One run from host to host: every lane has its stream, its page-locked memory and its workspace.

    While one lane's kernels run, the other lane's part is copied in, and its results out.

    Args:
        network: on the device.
        inputs: contiguous arrays of the right type.
        results: arrays to be filled.
        poison: a byte that fills workspace and results on the device before.
    """

    network: LoadedNetwork
    inputs: Mapping[str, Array]
    results: Mapping[str, Array]
    poison: int | None

    def run(self, images: int) -> None:
        """Run ``images`` and wait for the results."""
        parts = self._parts(images)
        with self.network.lanes.some(min(_LANES, len(parts))) as lanes:
            for index, part in enumerate(parts):
                lane = lanes[index % len(lanes)]
                if index >= len(lanes):
                    self._finish(lane, parts[index - len(lanes)])
                self.begin(lane, part)
            for index in range(max(0, len(parts) - len(lanes)), len(parts)):
                self._finish(lanes[index % len(lanes)], parts[index])

    def begin(self, lane: Lane, part: range) -> None:
        """Put copies and kernels of a part on the lane's stream."""
        images = len(part)
        outside = self.upload(lane, part)
        self.network.put(lane, lane.own, images, outside)
        driver = self.network.session.driver
        for value in self._result_values:
            driver.memcpy_dtoh_async(self._pinned(lane, value, images), outside[value.name], lane.own.own)
        lane.mark.record(lane.own)

    def upload(self, lane: Lane, part: range) -> dict[str, int]:
        """Return the device memory of a part's inputs and outputs; the copy of the inputs is on its way."""
        driver, images, stream = self.network.session.driver, len(part), lane.own.own
        lane.mark.hold_back(lane.own)
        outside: dict[str, int] = {}
        for value in self.network.artifact.inputs:
            pinned = self._pinned(lane, value, images)
            pinned[...] = self.inputs[value.name][part.start : part.stop]
            outside[value.name] = lane.staging(value.name, pinned.nbytes)
            driver.memcpy_htod_async(outside[value.name], pinned, stream)
        for value in self._result_values:
            outside[value.name] = lane.staging(value.name, array_bytes(value, images))
        if self.poison is not None:
            at_once = self.network.sub_batch(images)
            workspace = lane.workspace(at_once)
            filled = {workspace: workspace_bytes(self.network.artifact, at_once)}
            filled |= {outside[value.name]: array_bytes(value, images) for value in self._result_values}
            for address, size_bytes in filled.items():
                driver.memset_d8_async(address, self.poison, max(LEAST_BYTES, size_bytes), stream)
        return outside

    def _finish(self, lane: Lane, part: range) -> None:
        lane.mark.synchronize()
        for value in self._result_values:
            self.results[value.name][part.start : part.stop] = self._pinned(lane, value, len(part))

    def _pinned(self, lane: Lane, value: Value, images: int) -> Array:
        return lane.pinned[value.name].view((images, *value.type.shape), array_dtype(value))

    @property
    def _result_values(self) -> Sequence[Value]:
        return result_values(self.network.artifact)

    def _parts(self, images: int) -> tuple[range, ...]:
        """Return the images of each part, in order, as even as whole steps allow."""
        image_bytes = sum(array_bytes(value, 1) for value in self.network.artifact.inputs)
        most = max(STEP_IMAGES, min(self.network.sub_batch(images), PART_BYTES // max(1, image_bytes)))
        count = -(-images // most)
        steps = -(-images // STEP_IMAGES)
        bounds = [min(images, STEP_IMAGES * (steps * part // count)) for part in range(count + 1)]
        return tuple(range(start, end) for start, end in pairwise(bounds) if start < end)


def empty_results(network: LoadedNetwork, images: int) -> dict[str, Array]:
    """Return arrays on the host for the results of ``images``."""
    return {
        value.name: np.empty((images, *value.type.shape), array_dtype(value))
        for value in result_values(network.artifact)
    }
