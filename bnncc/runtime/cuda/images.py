"""Which compiled code runs on a device."""

from __future__ import annotations

from collections.abc import Sequence

from bnncc.diagnostics import PlatformError
from bnncc.targets.cuda.device import arch_number
from bnncc.toolchain.cuda_compiler import DeviceImage


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
    return max(runnable, key=lambda image: (image.kind == "cubin", arch_number(image.arch)))


def _runs_on(image: DeviceImage, capability: tuple[int, int]) -> bool:
    number = arch_number(image.arch)
    device = capability[0] * 10 + capability[1]
    if image.arch[-1].isalpha():  # architecture-specific code runs on exactly that architecture
        return number == device
    return number <= device and (image.kind == "ptx" or number // 10 == capability[0])
