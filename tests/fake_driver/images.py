"""Loading images: which PTX runs for a cubin, and what is known of its kernels."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bnncc import emulator
from bnncc.toolchain.cuda_compiler import toolkit_roots
from bnncc.toolchain.occupancy import MAX_BLOCK_THREADS, MAX_THREAD_REGISTERS, REGISTERS
from tests.fake_driver.cubin import CubinError, KernelFacts, image_bytes, read_cubin
from tests.fake_driver.devices import FakeDevice

INVALID_IMAGE, NO_BINARY_FOR_GPU, INVALID_PTX, UNSUPPORTED_PTX_VERSION = 200, 209, 218, 222


class ImageError(Exception):
    """The driver refuses an image.

    Args:
        code: the error of CUDA.
        log: what the just-in-time compiler would have said.
    """

    def __init__(self, code: int, log: str) -> None:
        super().__init__(log)
        self.code = code
        self.log = log


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A loaded image: the PTX that is executed, and what each kernel takes.

    Args:
        facts: of machine code; empty where no assembler was found.
        binary_version: 10 times the architecture that the code is for.
    """

    module: emulator.EmulatedModule
    facts: dict[str, KernelFacts]
    ptx_version: int
    binary_version: int

    def facts_of(self, kernel: emulator.KernelSignature) -> KernelFacts:
        """Return what ``kernel`` takes; without machine code, as many registers as its threads leave."""
        if kernel.name in self.facts:
            return self.facts[kernel.name]
        threads = MAX_BLOCK_THREADS
        if kernel.max_threads:
            threads = min(threads, _product(kernel.max_threads))
        return KernelFacts(
            registers=min(MAX_THREAD_REGISTERS, REGISTERS // (-(-threads // 128) * 128) // 8 * 8),
            barriers=1,
            shared_bytes=kernel.static_shared_bytes,
            local_bytes=kernel.local_bytes,
            constant_bytes=0,
            max_threads=threads,
        )


def load_image(address: int, device: FakeDevice, ptx_of: dict[str, bytes], driver_version: int) -> Image:
    """Return the image at ``address``, ready for ``device``.

    Raises:
        ImageError: the driver would refuse it.
    """
    emulated = emulator.DeviceLimits(
        capability=device.limits.capability, multiprocessors=device.rates.multiprocessors
    )
    number = 10 * device.capability[0] + device.capability[1]
    if ctypes.string_at(address, 4) == b"\x7fELF":
        try:
            cubin = read_cubin(ctypes.string_at(address, image_bytes(ctypes.string_at(address, 64))))
        except CubinError:
            raise ImageError(INVALID_IMAGE, "no cubin") from None
        if cubin.arch // 10 != device.capability[0] or cubin.arch > number:
            raise ImageError(NO_BINARY_FOR_GPU, f"a cubin for sm_{cubin.arch} on sm_{number}")
        text = _registered(cubin.data, ptx_of)
        module = _loaded(text, emulated)
        return Image(module=module, facts=cubin.kernels, ptx_version=_target(text), binary_version=cubin.arch)
    text = ctypes.string_at(address).decode(errors="replace")
    if ".version" not in text:
        raise ImageError(INVALID_IMAGE, "neither a cubin nor PTX")
    _check_ptx(text, number, driver_version)
    return Image(
        module=_loaded(text, emulated),
        facts=_assembled(text, number),
        ptx_version=_target(text),
        binary_version=number,
    )


def digest(cubin: bytes) -> str:
    """Return the name under which the PTX of a cubin is registered."""
    return hashlib.sha256(cubin).hexdigest()


def _registered(cubin: bytes, ptx_of: dict[str, bytes]) -> str:
    name = digest(cubin)
    if name in ptx_of:
        return ptx_of[name].decode()
    folder = os.environ.get("FAKE_CUDA_PTX")
    path = Path(folder) / f"{name}.ptx" if folder else None
    if path is None or not path.is_file():
        raise ImageError(
            INVALID_IMAGE, "no PTX is registered for this cubin (FakeDriver.register, $FAKE_CUDA_PTX)"
        )
    return path.read_text()


def _loaded(text: str, limits: emulator.DeviceLimits) -> emulator.EmulatedModule:
    try:
        return emulator.load(text.rstrip("\0"), name="fake.ptx", limits=limits)
    except emulator.PtxError as error:
        raise ImageError(INVALID_PTX, str(error)) from None


def _target(text: str) -> int:
    found = re.search(r"^\s*\.target\s+sm_(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _check_ptx(text: str, number: int, driver_version: int) -> None:
    target = re.search(r"^\s*\.target\s+sm_(\d+)([af]?)", text, re.MULTILINE)
    version = re.search(r"^\s*\.version\s+(\d+)\.(\d+)", text, re.MULTILINE)
    if target is None or version is None:
        raise ImageError(INVALID_PTX, "PTX without a version or a target")
    if int(target[1]) > number or (target[2] == "a" and int(target[1]) != number):
        raise ImageError(NO_BINARY_FOR_GPU, f"PTX for {target[0].split()[-1]} on sm_{number}")
    # PTX 9.0 came with CUDA 13.0, and 8.0 with 12.0.
    needed = 1000 * (int(version[1]) + 4) + 10 * int(version[2])
    if needed > driver_version:
        raise ImageError(
            UNSUPPORTED_PTX_VERSION, f"PTX {version[1]}.{version[2]} and a driver {driver_version}"
        )


def _assembled(text: str, number: int) -> dict[str, KernelFacts]:
    """Return the facts of PTX as the assembler of a toolkit makes them; nothing without a toolkit."""
    assembler = next(
        (p for root in toolkit_roots(os.environ) if (p := root / "bin" / "ptxas").is_file()), None
    )
    if assembler is None:
        return {}
    suffix = re.search(r"^\s*\.target\s+sm_\d+([af]?)", text, re.MULTILINE)
    with tempfile.TemporaryDirectory(prefix="fake-cuda-") as folder:
        source, result = Path(folder) / "a.ptx", Path(folder) / "a.cubin"
        source.write_text(text.rstrip("\0"))
        command = [
            str(assembler),
            f"-arch=sm_{number}{suffix[1] if suffix else ''}",
            "-o",
            str(result),
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        return read_cubin(result.read_bytes()).kernels if done.returncode == 0 else {}


def _product(values: tuple[int, ...]) -> int:
    result = 1
    for value in values:
        result *= value
    return result
