"""Networks on a CUDA device, through PyCUDA; the only room that knows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError, PlatformError
from bnncc.ir.types import Value
from bnncc.runtime.addresses import (
    Addresses,
    array_dtype,
    checked_array,
    image_count,
    result_values,
    workspace_bytes,
)
from bnncc.targets.cuda.artifact import CudaArtifact, ImagesArgument, Launch
from bnncc.targets.cuda.device import device_for
from bnncc.toolchain.cuda_compiler import DeviceImage

Array = npt.NDArray[Any]

MAX_IMAGES: Final = 4096
"""Images that go through the network at a time; larger batches are cut."""
_NO_DEVICE_HINT: Final = (
    "Look at 'nvidia-smi' and at CUDA_VISIBLE_DEVICES, or use another backend (c, emulator, ref)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDevice:
    """What the driver says about a device."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int
    driver_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTime:
    """The median device time of one launch."""

    node: str
    kernel: str
    seconds: float


def list_devices() -> tuple[CudaDevice, ...]:
    """Return the devices of this machine, in the driver's order.

    Raises:
        PlatformError: there is no PyCUDA, no driver, or no device.
    """
    driver = _import_driver()
    return tuple(_described(driver, driver.Device(index)) for index in range(_device_count(driver)))


class CudaSession:
    """One device and its primary context, shared with every other library of the process.

    Args:
        device_index: as the driver counts.

    Raises:
        PlatformError: no PyCUDA, no driver, or no such device.
    """

    def __init__(self, device_index: int = 0) -> None:
        self._driver = _import_driver()
        count = _device_count(self._driver)
        if not 0 <= device_index < count:
            raise PlatformError(f"there is no CUDA device {device_index}; the driver counts {count}")
        device = self._driver.Device(device_index)
        self.device = _described(self._driver, device)
        self._context = device.retain_primary_context()
        self._is_open = True

    def load(
        self,
        artifact: CudaArtifact,
        blob: bytes,
        images: Sequence[DeviceImage],
        *,
        poison: int | None = None,
    ) -> CudaExecutable:
        """Return the network on the device; its weights are uploaded once.

        Args:
            artifact: of the CUDA target.
            blob: the weights.
            images: compiled code, of which the best for this device is taken.
            poison: for tests: a byte that fills workspace and outputs before every run.

        Raises:
            PlatformError: no image fits the device, or the driver refuses it.
        """
        image = choose_image(images, self.device.capability)
        with self.active("loading the network"):
            return CudaExecutable(self, self._driver, artifact, blob, image, poison)

    @contextmanager
    def active(self, doing: str) -> Iterator[None]:
        """Make the context current in this thread; what the driver refuses becomes a `PlatformError`."""
        if not self._is_open:
            raise PlatformError(f"{doing}: the CUDA session is closed")
        self._context.push()
        try:
            yield
        except self._driver.Error as error:
            raise PlatformError(f"{doing}: the CUDA driver says: {error}") from error
        finally:
            self._context.pop()

    def close(self) -> None:
        """Give the primary context back."""
        if self._is_open:
            self._is_open = False
            self._context.detach()

    def __enter__(self) -> CudaSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Growing:
    """Device memory that is allocated again where a larger batch needs it."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - pycuda has no types
        self._driver = driver
        self._allocation: Any = None
        self.size_bytes = 0

    def address(self, size_bytes: int) -> int:
        """Return the start of at least ``size_bytes``."""
        if size_bytes > self.size_bytes:
            self.free()
            self._allocation = self._driver.mem_alloc(size_bytes)
            self.size_bytes = size_bytes
        return int(self._allocation)

    def free(self) -> None:
        if self._allocation is not None:
            self._allocation.free()
        self._allocation, self.size_bytes = None, 0


class CudaExecutable:
    """A network on a device; made by `CudaSession.load`."""

    def __init__(
        self,
        session: CudaSession,
        driver: Any,  # noqa: ANN401 - pycuda has no types
        artifact: CudaArtifact,
        blob: bytes,
        image: DeviceImage,
        poison: int | None,
    ) -> None:
        self._session, self._driver, self._artifact, self._poison = session, driver, artifact, poison
        rates = device_for(image.arch, session.device.capability)
        self._arch = None if rates is None else rates.arch
        self._module = driver.module_from_buffer(image.data)
        usable = artifact.launches_on(self._arch)
        self._functions = {launch.kernel: self._function(launch) for launch in usable}
        self._blob = driver.mem_alloc(max(64, len(blob)))
        if blob:
            driver.memcpy_htod(self._blob, np.frombuffer(blob, np.uint8))
        self._workspace = _Growing(driver)
        outside = (*artifact.inputs, *result_values(artifact))
        self._outside = {value.name: _Growing(driver) for value in outside}
        self._is_open = True

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the outputs of the network by name.

        Args:
            inputs: NumPy arrays, or device arrays with ``__cuda_array_interface__``, which are not copied.
        """
        images = image_count(self._artifact, {name: _shape(array) for name, array in inputs.items()})
        starts = range(0, max(images, 1), MAX_IMAGES)
        with self._active(f"running {images} images"):
            parts = [self._run_part(inputs, start, min(MAX_IMAGES, images - start)) for start in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def profile(self, inputs: Mapping[str, Any], repeats: int = 20) -> tuple[LaunchTime, ...]:
        """Return the median device time of every launch over ``repeats`` runs of one batch."""
        images = image_count(self._artifact, {name: _shape(array) for name, array in inputs.items()})
        launches = self._artifact.launches_for(self._arch, images)
        times: dict[str, list[float]] = {launch.node: [] for launch in launches}
        with self._active(f"timing {images} images"):
            addresses = self._prepare(inputs, 0, images)
            marks = [self._driver.Event() for _ in range(len(launches) + 1)]
            for _ in range(repeats):
                marks[0].record()
                for launch, mark in zip(launches, marks[1:], strict=True):
                    self._launch(launch, addresses)
                    mark.record()
                marks[-1].synchronize()
                for launch, before, after in zip(launches, marks, marks[1:], strict=False):
                    times[launch.node].append(before.time_till(after) * 1e-3)
        return tuple(
            LaunchTime(node=launch.node, kernel=launch.kernel, seconds=median(times[launch.node]))
            for launch in launches
        )

    def close(self) -> None:
        """Free the memory and the code on the device."""
        if not self._is_open:
            return
        with self._active("unloading the network"):
            self._is_open = False
            for memory in (self._workspace, *self._outside.values()):
                memory.free()
            self._blob.free()
            self._functions.clear()
            self._module = None

    @contextmanager
    def _active(self, doing: str) -> Iterator[None]:
        if not self._is_open:
            raise PlatformError(f"{doing}: the network was closed")
        with self._session.active(f"'{self._artifact.name}', {doing}"):
            yield

    def _function(self, launch: Launch) -> Any:  # noqa: ANN401 - pycuda has no types
        function = self._module.get_function(launch.kernel)
        function.prepare(
            "".join("i" if isinstance(argument, ImagesArgument) else "P" for argument in launch.arguments)
        )
        return function

    def _run_part(self, inputs: Mapping[str, Any], start: int, images: int) -> dict[str, Array]:
        arrays = {
            value.name: np.empty((images, *value.type.shape), array_dtype(value))
            for value in result_values(self._artifact)
        }
        if images:
            addresses = self._prepare(inputs, start, images)
            for launch in self._artifact.launches_for(self._arch, images):
                self._launch(launch, addresses)
            for name, array in arrays.items():
                self._driver.memcpy_dtoh(array, addresses.outside[name])
        for value in self._artifact.inputs:  # an output may be an input as it came
            if any(output.value.name == value.name for output in self._artifact.outputs):
                arrays[value.name] = np.asarray(inputs[value.name])[start : start + images]
        return {output.name: arrays[output.value.name] for output in self._artifact.outputs}

    def _prepare(self, inputs: Mapping[str, Any], start: int, images: int) -> Addresses:
        """Return the memory of a batch, with its inputs in place."""
        outside: dict[str, int] = {}
        for value in self._artifact.inputs:
            outside[value.name] = self._input_address(value, inputs[value.name], start, images)
        for value in result_values(self._artifact):
            outside[value.name] = self._filled(self._outside[value.name], _array_bytes(value, images))
        return Addresses(
            artifact=self._artifact,
            images=images,
            workspace=self._filled(self._workspace, workspace_bytes(self._artifact, images)),
            blob=int(self._blob),
            outside=outside,
        )

    def _input_address(self, value: Value, array: Any, start: int, images: int) -> int:  # noqa: ANN401 - any library
        if (interface := getattr(array, "__cuda_array_interface__", None)) is not None:
            if interface.get("stream") is not None:
                self._session._context.synchronize()  # noqa: SLF001 - one module, two classes
            return _device_address(value, interface) + _array_bytes(value, start)
        part = checked_array(value, np.asarray(array)[start : start + images])
        address = self._outside[value.name].address(max(64, part.nbytes))
        self._driver.memcpy_htod(address, part)
        return address

    def _filled(self, memory: _Growing, size_bytes: int) -> int:
        address = memory.address(max(64, size_bytes))
        if self._poison is not None:
            self._driver.memset_d8(address, self._poison, max(64, size_bytes))
        return address

    def _launch(self, launch: Launch, addresses: Addresses) -> None:
        grid = launch.geometry.grid(addresses.images)
        arguments = addresses.arguments(launch)
        try:
            self._functions[launch.kernel].prepared_call(grid, launch.geometry.block, *arguments)
        except self._driver.Error as error:
            raise PlatformError(
                f"kernel '{launch.kernel}' ({launch.origin}) with grid {grid} and "
                f"{launch.geometry.threads} threads: the CUDA driver says: {error}"
            ) from error


def choose_image(images: Sequence[DeviceImage], capability: tuple[int, int]) -> DeviceImage:
    """Return the image that runs best on a device: a cubin of its own kind, else PTX it can translate.

    Raises:
        PlatformError: none runs there.
    """
    runnable = [image for image in images if _runs_on(image, capability)]
    if not runnable:
        have = ", ".join(f"{image.kind} {image.arch}" for image in images) or "nothing"
        raise PlatformError(
            f"the device has compute capability {capability[0]}.{capability[1]}, and the code at hand is "
            f"{have}. Compile with --arch sm_{capability[0]}{capability[1]}"
        )
    return max(runnable, key=lambda image: (image.kind == "cubin", _number(image.arch)))


def _runs_on(image: DeviceImage, capability: tuple[int, int]) -> bool:
    number = _number(image.arch)
    device = capability[0] * 10 + capability[1]
    if image.arch[-1].isalpha():  # architecture-specific code runs on exactly that architecture
        return number == device
    return number <= device and (image.kind == "ptx" or number // 10 == capability[0])


def _number(arch: str) -> int:
    return int(arch.removeprefix("sm_").rstrip("af"))


def _shape(array: Any) -> tuple[int, ...]:  # noqa: ANN401 - any array library's object
    if (interface := getattr(array, "__cuda_array_interface__", None)) is not None:
        return tuple(interface["shape"])
    return tuple(np.shape(array))


def _array_bytes(value: Value, images: int) -> int:
    return value.type.count * array_dtype(value).itemsize * images


def _device_address(value: Value, interface: Mapping[str, Any]) -> int:
    """Return the start of a device array.

    Raises:
        DataError: it has another element type, or is not contiguous.
    """
    dtype, wanted = np.dtype(interface["typestr"]), array_dtype(value)
    if dtype != wanted:
        raise DataError(f"input '{value.name}' has dtype {dtype}; it should be {wanted}")
    strides = interface.get("strides")
    expected: list[int] = []
    step = wanted.itemsize
    for length in reversed(interface["shape"]):
        expected.insert(0, step)
        step *= length
    if strides is not None and tuple(strides) != tuple(expected):
        raise DataError(f"input '{value.name}' is not contiguous on the device; make a contiguous copy")
    return int(interface["data"][0])


def _device_count(driver: Any) -> int:  # noqa: ANN401 - pycuda has no types
    """Return the number of devices.

    Raises:
        PlatformError: there is none, or the driver does not start.
    """
    try:
        driver.init()
        count = int(driver.Device.count())
    except driver.Error as error:
        raise PlatformError(
            f"the NVIDIA driver found no usable device: {error}. {_NO_DEVICE_HINT}"
        ) from error
    if count == 0:
        raise PlatformError(f"the NVIDIA driver counts no device. {_NO_DEVICE_HINT}")
    return count


def _described(driver: Any, device: Any) -> CudaDevice:  # noqa: ANN401 - pycuda has no types
    return CudaDevice(
        name=device.name(),
        capability=device.compute_capability(),
        multiprocessors=device.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT),
        memory_bytes=device.total_memory(),
        driver_version=driver.get_driver_version(),
    )


def _import_driver() -> Any:  # noqa: ANN401 - pycuda has no types
    """Return ``pycuda.driver``.

    Raises:
        PlatformError: PyCUDA or the NVIDIA driver is missing.
    """
    try:
        import pycuda  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise PlatformError(
            "running on a GPU needs PyCUDA, and 'import pycuda' found none. "
            "Install it with: pip install 'bnncc[cuda]' (it is built against an installed CUDA toolkit)"
        ) from error
    try:
        from pycuda import driver
    except ImportError as error:
        raise PlatformError(
            f"PyCUDA cannot reach the NVIDIA driver: {error}. It looks for libcuda.so.1, which comes with "
            "the driver; install the NVIDIA driver of your GPU, or use another backend (c, emulator, ref)"
        ) from error
    return driver
