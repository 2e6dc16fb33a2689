"""The primary context of a device: retained, made current in a thread, given back."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bnncc.diagnostics import PlatformError
from bnncc.runtime.cuda.devices import described, device_count
from bnncc.runtime.cuda.errors import DriverRefusal, LaunchFailure, OutOfDeviceMemory, explained, is_sticky
from bnncc.runtime.cuda.images import choose_image
from bnncc.runtime.cuda.libraries import Bindings, find_bindings, pycuda_driver

if TYPE_CHECKING:
    from bnncc.runtime.cuda.executable import CudaExecutable
    from bnncc.targets.cuda.artifact import CudaArtifact
    from bnncc.toolchain.cuda_compiler import DeviceImage


class PrimaryContext:
    """The context that this process shares with every other library; given back when its last user is done.

    Sessions, loaded networks and arrays on the device each hold it, so memory can be freed in any order.

    Args:
        driver: ``pycuda.driver``.
        index: of the device.
    """

    def __init__(self, driver: Any, index: int) -> None:  # noqa: ANN401 - pycuda has no types
        self.driver = driver
        self.lost_because = ""
        self._context = driver.Device(index).retain_primary_context()
        # A finalizer can run in the middle of any statement of the same thread.
        self._lock = threading.RLock()
        self._users = 1

    def hold(self) -> None:
        """Note one more user."""
        with self._lock:
            self._users += 1

    def let_go(self) -> None:
        """Note one user less; the last one gives the context back."""
        with self._lock:
            self._users -= 1
            is_last = self._users == 0
        if is_last:
            # PyCUDA releases a primary context only where it is current, and leaves it current there: so
            # this happens in a thread that ends, whose stack of contexts nobody else sees.
            thread = threading.Thread(target=self._give_back)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: no more threads, and nobody who could mind
                self._give_back()
            else:
                thread.join()

    def _give_back(self) -> None:
        self._context.push()
        self._context.detach()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in this thread: PyCUDA frees and launches nothing elsewhere."""
        self.hold()
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        finally:
            self.let_go()

    @contextmanager
    def active(self, doing: str) -> Iterator[None]:
        """Make the context current; what the driver refuses becomes a `PlatformError`."""
        if self.lost_because:
            raise PlatformError(
                f"{doing}: the CUDA context of this process was lost before ({self.lost_because}); "
                "restart the process"
            )
        with self.current():
            try:
                yield
            except (self.driver.Error, DriverRefusal) as error:
                self._note(str(error))
                raise PlatformError(f"{doing}: {explained(str(error))}") from error
            except LaunchFailure as failure:
                self._note(failure.reason)
                raise PlatformError(f"{doing}: {failure}") from failure
            except OutOfDeviceMemory as error:
                raise PlatformError(f"{doing}: {error}") from error

    def _note(self, reason: str) -> None:
        if is_sticky(reason):
            self.lost_because = reason

    def synchronize(self) -> None:
        """Wait for everything on the device that this process started."""
        self._context.synchronize()


class CudaSession:
    """One device and its primary context, shared with every other library of the process.

    Sessions and threads may be as many as you like; each network and array remembers its own session.

    Args:
        device_index: as the driver counts.

    Raises:
        PlatformError: no PyCUDA, no driver, or no such device.
    """

    def __init__(self, device_index: int = 0) -> None:
        driver = pycuda_driver()
        count = device_count(driver)
        if not 0 <= device_index < count:
            raise PlatformError(f"there is no CUDA device {device_index}; the driver counts {count}")
        self.index = device_index
        self.device = described(driver, driver.Device(device_index))
        self.driver = driver
        self.bindings: Bindings | None = find_bindings()
        try:
            self.context = PrimaryContext(driver, device_index)
        except driver.Error as error:
            raise PlatformError(f"opening CUDA device {device_index}: {explained(str(error))}") from error
        self._end = weakref.finalize(self, self.context.let_go)

    def load(
        self,
        artifact: CudaArtifact,
        blob: bytes,
        images: Sequence[DeviceImage],
        *,
        poison: int | None = None,
        graph: bool = True,
        at_once: int | None = None,
    ) -> CudaExecutable:
        """Return the network on the device; its weights are uploaded once.

        Args:
            artifact: of the CUDA target.
            blob: the weights.
            images: compiled code, of which the best for this device is taken.
            poison: for tests: a byte that fills workspace and outputs before every run.
            graph: whether runs that come again are replayed as CUDA graphs, where there is cuda-bindings.
            at_once: images of a sub-batch; None: by the size of the L2 cache.

        Raises:
            PlatformError: no image fits the device, or the driver refuses it.
        """
        from bnncc.runtime.cuda.executable import CudaExecutable

        image = choose_image(images, self.device.capability)
        with self.active(f"'{artifact.name}', loading the network"):
            return CudaExecutable(self, artifact, blob, image, poison=poison, graph=graph, at_once=at_once)

    @contextmanager
    def active(self, doing: str) -> Iterator[None]:
        """Make the context current in this thread; what the driver refuses becomes a `PlatformError`."""
        if not self._end.alive:
            raise PlatformError(f"{doing}: the CUDA session is closed")
        with self.context.active(doing):
            yield

    def close(self) -> None:
        """Give the primary context back, as soon as no network and no array needs it."""
        self._end()

    def __enter__(self) -> CudaSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
