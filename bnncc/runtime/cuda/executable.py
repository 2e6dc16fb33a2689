"""A network ready to run on a device: from host to host, or on arrays that are there already."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError, PlatformError
from bnncc.runtime.addresses import check_names, checked_array, image_count
from bnncc.runtime.cuda.context import CudaSession
from bnncc.runtime.cuda.in_place import DeviceRun
from bnncc.runtime.cuda.lanes import Lane
from bnncc.runtime.cuda.network import LoadedNetwork
from bnncc.runtime.cuda.staging import HostRun, empty_results
from bnncc.runtime.cuda.streams import LEGACY, CudaStream, stream_of
from bnncc.runtime.cuda.timing import LaunchTime, time_launches, time_whole_runs
from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.toolchain.cuda_compiler import DeviceImage

Array = npt.NDArray[Any]


class CudaExecutable:
    """A network on a device; made by `CudaSession.load`.

    Several threads may use one executable: each run takes a lane of its own (stream, workspace, staging
    memory). What does not fit eight lanes waits.
    """

    def __init__(
        self,
        session: CudaSession,
        artifact: CudaArtifact,
        blob: bytes,
        image: DeviceImage,
        *,
        poison: int | None = None,
        graph: bool = True,
        at_once: int | None = None,
    ) -> None:
        self._session, self._artifact, self._poison = session, artifact, poison
        self._network = LoadedNetwork(session, artifact, blob, image, graph=graph, at_once=at_once)
        self._end = weakref.finalize(self, self._network.free)

    @property
    def has_graphs(self) -> bool:
        """Return whether runs that come again are replayed as CUDA graphs."""
        return self._network.has_graphs

    def how(self, images: int) -> str:
        """Return how a run of ``images`` is launched, in words: launches, sub-batches, graph."""
        return self._network.how(images)

    def run(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """Return the outputs of the network by name, on the host.

        Raises:
            DataError: an array does not fit.
            PlatformError: the device refuses.
        """
        arrays, images = self._host_inputs(inputs)
        results = empty_results(self._network, images)
        with self._active(f"running {images} images"):
            if images:
                host = HostRun(network=self._network, inputs=arrays, results=results, poison=self._poison)
                host.run(images)
        everything = {**arrays, **results}  # an output may be an input as it came
        return {output.name: everything[output.value.name] for output in self._artifact.outputs}

    def run_on_device(
        self,
        inputs: Mapping[str, Any],
        *,
        stream: Any = None,  # noqa: ANN401 - any library's object
        out: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the outputs by name, on the device; nothing waits for them.

        As everywhere in CUDA, memory of inputs that are given up may be used again in the order of the
        stream only: what torch and CuPy do where ``stream`` is their current one.

        Args:
            inputs: arrays with DLPack or ``__cuda_array_interface__``, read where they lie.
            stream: where the run goes, see `stream_of`; None: the default stream.
            out: arrays to be filled and returned, by output; for the others there is new memory.

        Raises:
            DataError: an array does not fit.
            PlatformError: the device refuses.
        """
        check_names(self._artifact, inputs)
        given = {} if out is None else out
        self._check_outputs(given)
        with self._active("running on the device"):
            session = self._session
            default = CudaStream(LEGACY)
            target = default if stream is None else stream_of(stream, session.driver, session.bindings)
            return DeviceRun(network=self._network, inputs=inputs, out=given, stream=target).run()

    def profile(self, inputs: Mapping[str, npt.ArrayLike], repeats: int = 20) -> tuple[LaunchTime, ...]:
        """Return the median device time of every launch over ``repeats`` runs, without graphs.

        Where the batch is cut, the time of a launch is that of all its sub-batches.
        """
        arrays, images = self._host_inputs(inputs)
        with self._active(f"timing {images} images"), self._network.lanes.taken() as lane:
            outside = self._upload(lane, arrays, images)
            return time_launches(self._network, lane, images, outside, repeats)

    def time_runs(self, inputs: Mapping[str, npt.ArrayLike], repeats: int = 20) -> float:
        """Return the median device time of a run in seconds, inputs and outputs on the device.

        Graphs are replayed as in `run`; the first runs, which capture, are not counted.
        """
        arrays, images = self._host_inputs(inputs)
        with self._active(f"timing {images} images"), self._network.lanes.taken() as lane:
            outside = self._upload(lane, arrays, images)
            return time_whole_runs(self._network, lane, images, outside, repeats)

    def close(self) -> None:
        """Wait for what runs, and free memory and code on the device."""
        self._end()

    @contextmanager
    def _active(self, doing: str) -> Iterator[None]:
        if not self._end.alive:
            raise PlatformError(f"'{self._artifact.name}', {doing}: the network was closed")
        with self._session.active(f"'{self._artifact.name}', {doing}"):
            yield

    def _upload(self, lane: Lane, arrays: Mapping[str, Array], images: int) -> dict[str, int]:
        host = HostRun(network=self._network, inputs=arrays, results={}, poison=None)
        return host.upload(lane, range(images))

    def _host_inputs(self, inputs: Mapping[str, npt.ArrayLike]) -> tuple[dict[str, Array], int]:
        given = {name: np.asarray(array) for name, array in inputs.items()}
        images = image_count(self._artifact, {name: array.shape for name, array in given.items()})
        return {
            value.name: checked_array(value, given[value.name]) for value in self._artifact.inputs
        }, images

    def _check_outputs(self, out: Mapping[str, Any]) -> None:
        inputs = {value.name for value in self._artifact.inputs}
        names = [output.name for output in self._artifact.outputs if output.value.name not in inputs]
        for name in out:
            if name not in names:
                raise DataError(f"'{self._artifact.name}' makes the outputs {', '.join(names)}; not '{name}'")
