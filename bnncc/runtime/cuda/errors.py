"""What the driver refuses, said in the user's words."""

from __future__ import annotations

from typing import Final

# After these the context of the whole process answers every call with the same error (CUDA driver API,
# CUresult: "the process must be terminated and relaunched").
_STICKY: Final = (
    "illegal memory access",
    "misaligned address",
    "illegal instruction",
    "invalid address space",
    "invalid program counter",
    "unspecified launch failure",
    "hardware stack error",
    "device-side assert",
    "launch timed out",
    "uncorrectable ECC error",
)
_OUT_OF_MEMORY: Final = "out of memory"


class DriverRefusal(Exception):  # noqa: N818 - named for what happened, as PyCUDA's own are
    """A call of the driver through cuda-bindings failed; the text has the form of PyCUDA's."""


class OutOfDeviceMemory(Exception):  # noqa: N818 - see above
    """The device has no room.

    Args:
        purpose: what the memory is for.
        asked_bytes: that did not fit.
        free_bytes: on the device.
        total_bytes: of the device.
    """

    def __init__(self, purpose: str, asked_bytes: int, free_bytes: int, total_bytes: int) -> None:
        super().__init__(
            f"no room for {purpose}: the CUDA driver says: {_OUT_OF_MEMORY}. "
            f"{shown_bytes(asked_bytes)} were asked for, {shown_bytes(free_bytes)} of "
            f"{shown_bytes(total_bytes)} are free. Give fewer images at a time, close other sessions, or end "
            "other programs on this device (nvidia-smi lists them)"
        )


class LaunchFailure(Exception):  # noqa: N818 - see above
    """A kernel was not launched.

    Args:
        kernel: its name.
        origin: of its layer in the user's source.
        geometry: grid and block.
        reason: of the driver.
    """

    def __init__(self, kernel: str, origin: str, geometry: str, reason: str) -> None:
        super().__init__(f"kernel '{kernel}' ({origin}) with {geometry}: {explained(reason)}")
        self.reason = reason


def is_sticky(reason: str) -> bool:
    """Return whether the context is lost after the driver said ``reason``."""
    return any(text in reason for text in _STICKY)


def explained(reason: str) -> str:
    """Return what the driver says and, where something can be done, what."""
    said = f"the CUDA driver says: {reason}"
    if is_sticky(reason):
        return (
            f"{said}. A kernel of this process failed, and its CUDA context is lost: restart the process. "
            "With CUDA_LAUNCH_BLOCKING=1 and graph=False the message names the kernel"
        )
    if "too many blocks in cooperative launch" in reason:
        return f"{said}. Another program holds a part of the device, or the kernel is for a larger device"
    if _OUT_OF_MEMORY in reason:
        return f"{said}. Give fewer images at a time, or close other sessions and programs on this device"
    return said


def shown_bytes(count: int) -> str:
    """Return ``count`` in a unit that reads well."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.1f} {unit}"
    return f"{count} bytes"
