"""The devices of this machine, as the driver describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bnncc.diagnostics import PlatformError
from bnncc.runtime.cuda.libraries import pycuda_driver

_NO_DEVICE_HINT: Final = (
    "Look at 'nvidia-smi' and at CUDA_VISIBLE_DEVICES, or use another backend (c, emulator, ref)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDevice:
    """What the driver says about a device.

    Args:
        l2_bytes: of the cache that all multiprocessors share; 0 where the driver does not say.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int
    l2_bytes: int
    driver_version: int


def list_devices() -> tuple[CudaDevice, ...]:
    """Return the devices of this machine, in the driver's order.

    Raises:
        PlatformError: there is no PyCUDA, no driver, or no device.
    """
    driver = pycuda_driver()
    return tuple(described(driver, driver.Device(index)) for index in range(device_count(driver)))


def device_count(driver: Any) -> int:  # noqa: ANN401 - pycuda has no types
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


def described(driver: Any, device: Any) -> CudaDevice:  # noqa: ANN401 - pycuda has no types
    """Return what the driver says about ``device``."""
    attributes = driver.device_attribute
    return CudaDevice(
        name=device.name(),
        capability=device.compute_capability(),
        multiprocessors=device.get_attribute(attributes.MULTIPROCESSOR_COUNT),
        memory_bytes=device.total_memory(),
        l2_bytes=device.get_attribute(attributes.L2_CACHE_SIZE),
        driver_version=driver.get_driver_version(),
    )
