"""A network on a device: its code and weights, and how a run of it is put on a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bnncc.ir.types import Value
from bnncc.runtime.addresses import Addresses, array_bytes, result_values
from bnncc.runtime.cuda.context import CudaSession
from bnncc.runtime.cuda.kernels import KernelCall, LoadedCode
from bnncc.runtime.cuda.lanes import Lane, Lanes
from bnncc.runtime.cuda.memory import BlockPool, allocate
from bnncc.runtime.cuda.streams import CudaStream
from bnncc.targets.cuda.artifact import CudaArtifact, ImagesArgument, Launch, PersistentLaunch
from bnncc.targets.cuda.batches import images_at_once
from bnncc.targets.cuda.device import device_for
from bnncc.toolchain.cuda_compiler import DeviceImage


class LoadedNetwork:
    """Code, weights and lanes of a network; the context is current whenever it is used.

    Args:
        session: of the device.
        artifact: the network.
        blob: the weights.
        image: the code.
        graph: whether runs that come again are replayed as graphs.
        at_once: images of a sub-batch; None: by the size of the L2 cache.
    """

    def __init__(
        self,
        session: CudaSession,
        artifact: CudaArtifact,
        blob: bytes,
        image: DeviceImage,
        *,
        graph: bool,
        at_once: int | None,
    ) -> None:
        self.artifact: Final = artifact
        self.session: Final = session
        self.context: Final = session.context
        rates = device_for(image.arch, session.device.capability)
        self._arch = None if rates is None else rates.arch
        self._at_once = at_once or images_at_once(artifact, rates, session.device.l2_bytes)
        self.has_graphs: Final = graph and session.bindings is not None
        usable: tuple[Launch | PersistentLaunch, ...] = (
            *artifact.launches_on(self._arch),
            *artifact.persistent_on(self._arch),
        )
        parameters = {launch.kernel: _parameters(launch) for launch in usable}
        self._code = LoadedCode(session.driver, session.bindings, image.data, parameters)
        self._blob = allocate(session.driver, len(blob), "the weights")
        if blob:
            session.driver.memcpy_htod(self._blob, np.frombuffer(blob, np.uint8))
            # From pageable memory the last piece may still be on its way, and our streams do not wait for the
            # default one.
            self.context.synchronize()
        self.lanes: Final = Lanes(session, artifact, has_graphs=self.has_graphs)
        self.results: Final = BlockPool(self.context)
        # By name: every run asks.
        self.outside: Final[Mapping[str, Value]] = {
            value.name: value for value in (*artifact.inputs, *result_values(artifact))
        }
        self.context.hold()

    def sub_batch(self, images: int) -> int:
        """Return how many of ``images`` go through the network at a time."""
        return max(1, min(images, self._at_once))

    def how(self, images: int) -> str:
        """Return how a run of ``images`` is launched, in words."""
        at_once = self.sub_batch(images)
        parts = -(-images // at_once)
        launches = self._launches(at_once)
        each = f"{len(launches)} launch{'es' if len(launches) > 1 else ''}"
        if isinstance(launches[0], PersistentLaunch):
            each = "one cooperative launch"
        whole = each if parts <= 1 else f"{parts} sub-batches of {at_once} images, {each} each"
        is_graph = self.has_graphs and not self._is_one_launch(images)
        return f"{whole}, as a CUDA graph" if is_graph else whole

    def put(self, lane: Lane, stream: CudaStream, images: int, outside: Mapping[str, int]) -> None:
        """Put a run on ``stream``, behind the last one on ``lane``.

        Args:
            lane: taken for this run.
            stream: where it goes.
            images: of the batch.
            outside: start of each input and output, by the name of its value.
        """
        lane.workspace(self.sub_batch(images))  # before graphs are looked up: a larger one ends them

        def enqueue(target: CudaStream) -> None:
            for _, call in self.calls(lane, images, outside):
                self.launch(call, target)

        lane.mark.hold_back(stream)
        if lane.graphs is None or self._is_one_launch(images):
            enqueue(stream)
        else:
            lane.graphs.run((images, *sorted(outside.items())), enqueue, lane.own, stream)
        lane.mark.record(stream)

    def calls(self, lane: Lane, images: int, outside: Mapping[str, int]) -> list[tuple[str, KernelCall]]:
        """Return the launches of a batch in order, sub-batch by sub-batch, and the value each makes last."""
        at_once = self.sub_batch(images)
        workspace = lane.workspace(at_once)
        found: list[tuple[str, KernelCall]] = []
        for start in range(0, images, at_once):
            part = min(at_once, images - start)
            moved = {
                name: address + array_bytes(self.outside[name], start) for name, address in outside.items()
            }
            addresses = Addresses(
                artifact=self.artifact,
                images=part,
                workspace=workspace,
                blob=int(self._blob),
                outside=moved,
                barrier=lane.barrier,
            )
            found += [(_node(launch), self._call(launch, addresses)) for launch in self._launches(part)]
        return found

    def launch(self, call: KernelCall, stream: CudaStream) -> None:
        """Put one launch on ``stream``."""
        self._code.launch(call, stream)

    def _is_one_launch(self, images: int) -> bool:
        return images <= self._at_once and len(self._launches(images)) == 1

    def _launches(self, images: int) -> Sequence[Launch | PersistentLaunch]:
        """Return the launches of a sub-batch: one for all layers, or one a layer."""
        whole = self.artifact.persistent_for(self._arch, images)
        if whole is not None and (self.session.bindings is not None or not self.artifact.launches):
            return (whole,)
        return self.artifact.launches_for(self._arch, images)

    def _call(self, launch: Launch | PersistentLaunch, addresses: Addresses) -> KernelCall:
        if isinstance(launch, PersistentLaunch):
            resident = self._code.resident_blocks(launch.kernel, launch.threads)
            blocks = launch.blocks(addresses.images, resident * self.session.device.multiprocessors)
            return KernelCall(
                kernel=launch.kernel,
                origin=launch.origin,
                grid=(blocks, 1, 1),
                block=(launch.threads, 1, 1),
                arguments=addresses.arguments(launch),
                cooperative=True,
            )
        return KernelCall(
            kernel=launch.kernel,
            origin=launch.origin,
            grid=launch.geometry.grid(addresses.images),
            block=launch.geometry.block,
            arguments=addresses.arguments(launch),
            shared_bytes=launch.geometry.dynamic_shared_bytes,
        )

    def free(self) -> None:
        """Give everything back, once; arrays that the caller still has keep their memory."""
        try:
            if not self.context.lost_because:
                with self.context.active(f"'{self.artifact.name}', unloading the network"):
                    self.lanes.free()
                    self.results.close()
                    self._blob.free()
                    self._code.free()
        finally:
            self.context.let_go()


def _node(launch: Launch | PersistentLaunch) -> str:
    return launch.phases[-1].node if isinstance(launch, PersistentLaunch) else launch.node


def _parameters(launch: Launch | PersistentLaunch) -> str:
    return "".join("i" if isinstance(argument, ImagesArgument) else "P" for argument in launch.arguments)
