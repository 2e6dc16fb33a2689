"""What one run needs of a device besides the network: a stream, a workspace, staging memory, graphs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bnncc.runtime.addresses import result_values, workspace_bytes
from bnncc.runtime.cuda.context import CudaSession
from bnncc.runtime.cuda.graphs import GraphCache
from bnncc.runtime.cuda.memory import LEAST_BYTES, Growing, Pinned
from bnncc.runtime.cuda.streams import CudaStream, Mark, new_stream
from bnncc.targets.cuda.artifact import BARRIER_BYTES, CudaArtifact

_MOST_LANES: Final = 8


class Lane:
    """Memory and order of one run at a time; runs on the same lane follow each other on the device.

    Args:
        session: of the device; its context is current.
        artifact: the network.
        has_graphs: whether runs are replayed as graphs.
    """

    def __init__(self, session: CudaSession, artifact: CudaArtifact, *, has_graphs: bool) -> None:
        driver, bindings = session.driver, session.bindings
        self._artifact = artifact
        self.stream: CudaStream | None = new_stream(driver)
        self.mark = Mark(driver, bindings)
        self.graphs = GraphCache(bindings) if has_graphs and bindings is not None else None
        self._workspace = Growing(driver, "the workspace")
        outside = {value.name for value in (*artifact.inputs, *result_values(artifact))}
        self.staged = {name: Growing(driver, f"'{name}'") for name in outside}
        self.pinned = {name: Pinned(driver) for name in outside}
        self._barrier = Growing(driver, "a barrier")
        try:
            self.barrier = self._barrier.address(BARRIER_BYTES)
            driver.memset_d8_async(self.barrier, 0, BARRIER_BYTES, self.own.own)
            self.mark.record(self.own)
        except BaseException:
            self.free()
            raise

    @property
    def own(self) -> CudaStream:
        """Return its own stream."""
        assert self.stream is not None, "a lane that was freed"
        return self.stream

    def workspace(self, images: int) -> int:
        """Return the start of the workspace for ``images`` at a time."""
        size_bytes = workspace_bytes(self._artifact, images)
        if size_bytes > self._workspace.size_bytes and self.graphs is not None:
            self.graphs.clear()
        return self._workspace.address(size_bytes)

    def staging(self, name: str, size_bytes: int) -> int:
        """Return the start of device memory for a value of the caller's."""
        return self.staged[name].address(max(LEAST_BYTES, size_bytes))

    def free(self) -> None:
        """Wait for the last run and give everything back."""
        self.mark.synchronize()
        if self.graphs is not None:
            self.graphs.clear()
        for memory in (self._workspace, self._barrier, *self.staged.values()):
            memory.free()
        for pinned in self.pinned.values():
            pinned.free()
        self.mark.free()
        self.stream = None


class Lanes:
    """The lanes of a loaded network: as many as there are runs at the same time, but not more than eight.

    Args:
        session: of the device.
        artifact: the network.
        has_graphs: whether runs are replayed as graphs.
    """

    def __init__(self, session: CudaSession, artifact: CudaArtifact, *, has_graphs: bool) -> None:
        self._session, self._artifact, self._has_graphs = session, artifact, has_graphs
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[Lane] = []
        self._made = 0

    @contextmanager
    def taken(self, stream: CudaStream | None = None) -> Iterator[Lane]:
        """Lend a lane; the context is current.

        Args:
            stream: where the run will go; None: the lane's own.
        """
        lane = self._take(stream, can_wait=True)
        assert lane is not None
        try:
            yield lane
        finally:
            self._give_back(lane)

    @contextmanager
    def some(self, count: int) -> Iterator[tuple[Lane, ...]]:
        """Lend up to ``count`` lanes, at least one: who has one does not wait for another."""
        with self.taken() as first:
            more: list[Lane] = []
            try:
                while len(more) < count - 1 and (lane := self._take(None, can_wait=False)) is not None:
                    more.append(lane)
                yield (first, *more)
            finally:
                for lane in more:
                    self._give_back(lane)

    def free(self) -> None:
        """Wait until every lane is back, and give everything back."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._idle) == self._made)
            lanes, self._idle, self._made = self._idle, [], 0
        for lane in lanes:
            lane.free()

    def _give_back(self, lane: Lane) -> None:
        with self._changed:
            self._idle.append(lane)
            self._changed.notify_all()

    def _take(self, stream: CudaStream | None, *, can_wait: bool) -> Lane | None:
        with self._changed:
            while True:
                if (lane := self._best_idle(stream)) is not None:
                    self._idle.remove(lane)
                    return lane
                if self._made < _MOST_LANES:
                    self._made += 1
                    break
                if not can_wait:
                    return None
                self._changed.wait()
        try:
            return Lane(self._session, self._artifact, has_graphs=self._has_graphs)
        except BaseException:
            with self._changed:
                self._made -= 1
                self._changed.notify_all()
            raise

    def _best_idle(self, stream: CudaStream | None) -> Lane | None:
        """Return a lane that waits for nothing: its last run is on this stream, or over; else any in need."""
        for lane in self._idle:
            if lane.mark.follows(stream or lane.own):
                return lane
        for lane in self._idle:
            if lane.mark.is_past:
                return lane
        return self._idle[0] if self._idle and self._made == _MOST_LANES else None
