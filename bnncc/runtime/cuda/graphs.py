"""Runs that come again, captured as CUDA graphs and replayed with one call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

from bnncc.runtime.cuda.libraries import Bindings
from bnncc.runtime.cuda.streams import CudaStream

_MOST_GRAPHS: Final = 32


class GraphCache:
    """The graphs of one lane.

    A run is captured when it comes for the second time: one that comes once is not worth the capture.

    Args:
        bindings: PyCUDA has no graphs.
    """

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings
        # None: seen once.
        self._graphs: OrderedDict[Hashable, Any] = OrderedDict()

    def run(
        self, key: Hashable, enqueue: Callable[[CudaStream], None], own: CudaStream, stream: CudaStream
    ) -> bool:
        """Put a run on ``stream``; return whether it was a replay.

        Args:
            key: batch size and addresses: what a captured run depends on.
            enqueue: puts every launch of the run on a stream.
            own: a stream of ours to capture on: nothing runs there meanwhile.
            stream: where the run goes.
        """
        if key not in self._graphs:
            self._remember(key)
            enqueue(stream)
            return False
        graph = self._graphs[key]
        if graph is None:
            graph = self._graphs[key] = self._captured(enqueue, own)
        self._graphs.move_to_end(key)
        self._bindings.call("cuGraphLaunch", graph, stream.handle)
        return True

    def clear(self) -> None:
        """Forget every graph: the addresses inside are no longer valid."""
        graphs, self._graphs = self._graphs, OrderedDict()
        for graph in graphs.values():
            self._destroy(graph)

    def _remember(self, key: Hashable) -> None:
        self._graphs[key] = None
        if len(self._graphs) > _MOST_GRAPHS:
            _, oldest = self._graphs.popitem(last=False)
            self._destroy(oldest)

    def _captured(self, enqueue: Callable[[CudaStream], None], own: CudaStream) -> Any:  # noqa: ANN401 - no types
        # Relaxed: other threads, and a finalizer in this one, may do anything else meanwhile.
        mode = self._bindings.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self._bindings.call("cuStreamBeginCapture", own.handle, mode)
        try:
            enqueue(own)
        finally:
            graph = self._bindings.call("cuStreamEndCapture", own.handle)
        try:
            return self._bindings.call("cuGraphInstantiate", graph, 0)
        finally:
            self._bindings.call("cuGraphDestroy", graph)

    def _destroy(self, graph: Any) -> None:  # noqa: ANN401 - cuda-bindings has no types
        if graph is not None:
            self._bindings.call("cuGraphExecDestroy", graph)
