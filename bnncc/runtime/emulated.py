"""The CUDA target on a CPU: its PTX runs in the emulator, every access checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc import emulator
from bnncc.diagnostics import PlatformError
from bnncc.ir.kernel import Role
from bnncc.runtime.addresses import (
    Addresses,
    array_dtype,
    checked_array,
    image_count,
    result_values,
    workspace_bytes,
)
from bnncc.targets.cuda.artifact import (
    BARRIER_BYTES,
    ConstantArgument,
    CudaArtifact,
    Launch,
    PersistentLaunch,
    ValueArgument,
)
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.origins import line_origins
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import CudaCompiler, compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.occupancy import device_limits

Array = npt.NDArray[Any]

EMULATED_ARCH: Final = "sm_80"
MAX_IMAGES: Final = 64
"""Images that go through the network at a time; more are cut, to bound memory and the time of a launch."""
RESIDENT_BLOCKS: Final = 8
"""Blocks of a persistent kernel: any number will do, and each costs time here."""
_TIMEOUT_S: Final = 600.0


class EmulatedExecutable:
    """A network whose kernels run in the emulator; workspace and outputs hold junk before every run."""

    def __init__(
        self,
        artifact: CudaArtifact,
        blob: bytes,
        module: emulator.EmulatedModule,
        schedule: emulator.Schedule,
        arch: str,
        resident_blocks: int = RESIDENT_BLOCKS,
    ) -> None:
        self._artifact = artifact
        self._resident_blocks = resident_blocks
        # The launches that a device of this architecture would get.
        self._arch = arch
        self._module = module
        self._memory = emulator.DeviceMemory()
        self._blob = self._memory.upload(np.frombuffer(blob or bytes(64), np.uint8))
        self._barrier = self._memory.upload(np.zeros(BARRIER_BYTES, np.uint8))
        self.options = emulator.LaunchOptions(timeout_s=_TIMEOUT_S, schedule=schedule, memory=self._memory)
        self._blob_edges = _blob_edges(artifact)
        self._is_open = True

    @classmethod
    def load(
        cls,
        artifact: CudaArtifact,
        blob: bytes,
        *,
        arch: str = EMULATED_ARCH,
        compiler: CudaCompiler | None = None,
        cache: BuildCache | None = None,
        schedule: emulator.Schedule | None = None,
        resident_blocks: int = RESIDENT_BLOCKS,
    ) -> EmulatedExecutable:
        """Return the network, its PTX compiled and translated (from the cache where it can be).

        Args:
            artifact: of the CUDA target.
            blob: the weights.
            arch: whose PTX runs.
            compiler: makes the PTX; by default the one that is found.
            cache: of PTX and translated modules; the user's by default.
            schedule: the order of threads and blocks; by default that of their indices.
            resident_blocks: of a persistent kernel.

        Raises:
            PlatformError: there is no CUDA compiler or no C++ compiler.
        """
        store = cache or BuildCache.default()
        # NVRTC first: it starts no process, and the machine code is not needed.
        maker = compiler or find_cuda_compiler("nvrtc")
        image = compile_cuda(maker, artifact.source.text, arch, "ptx", cache=store, has_lines=True)
        module = emulator.load(
            image.data.decode(),
            name=f"{artifact.name}.{arch}.ptx",
            cache=store,
            limits=emulator.DeviceLimits(
                capability=device_limits(arch).capability, multiprocessors=DEVICES[arch].multiprocessors
            ),
            origins={launch.kernel: launch.origin for launch in _everything(artifact)},
            line_origins=line_origins(artifact.source.text),
        )
        return cls(artifact, blob, module, schedule or emulator.Schedule.ascending(), arch, resident_blocks)

    def with_schedule(self, schedule: emulator.Schedule) -> EmulatedExecutable:
        """Return this executable, its launches from now on in the order of ``schedule``."""
        self.options = replace(self.options, schedule=schedule)
        return self

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs of the network by name.

        Raises:
            EmulatorFault: a kernel did something wrong.
        """
        if not self._is_open:
            raise PlatformError(f"'{self._artifact.name}': the network was closed")
        images = image_count(self._artifact, {name: array.shape for name, array in inputs.items()})
        parts = [
            self._run_part({name: array[start : start + MAX_IMAGES] for name, array in inputs.items()})
            for start in range(0, max(images, 1), MAX_IMAGES)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """End the process that runs kernels and give its memory back."""
        if self._is_open:
            self._is_open = False
            self._module.close()
            self._memory.close()

    def _run_part(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        images = image_count(self._artifact, {name: array.shape for name, array in inputs.items()})
        arrays = {value.name: checked_array(value, inputs[value.name]) for value in self._artifact.inputs}
        results = {
            value.name: np.empty((images, *value.type.shape), array_dtype(value))
            for value in result_values(self._artifact)
        }
        if images:
            self._launch_all(arrays, results, images)
        everything = {**arrays, **results}
        return {output.name: everything[output.value.name] for output in self._artifact.outputs}

    def _launch_all(self, arrays: Mapping[str, Array], results: Mapping[str, Array], images: int) -> None:
        """Run every launch on fresh buffers, and fill ``results``."""
        outside = {name: self._memory.upload(array) for name, array in arrays.items()}
        outside |= {name: self._memory.alloc(array.nbytes) for name, array in results.items()}
        workspace = self._memory.alloc(workspace_bytes(self._artifact, images))
        addresses = Addresses(
            artifact=self._artifact,
            images=images,
            workspace=workspace.address,
            blob=self._blob.address,
            outside={name: buffer.address for name, buffer in outside.items()},
            barrier=self._barrier.address,
        )
        try:
            whole = self._artifact.persistent_for(self._arch, images)
            for launch in (whole,) if whole else self._artifact.launches_for(self._arch, images):
                self._launch(launch, addresses, workspace)
            for name, array in results.items():
                array[...] = outside[name].download(array.dtype, array.shape)
        finally:
            for buffer in (workspace, *outside.values()):
                self._memory.free(buffer)

    def _launch(
        self, launch: Launch | PersistentLaunch, addresses: Addresses, workspace: emulator.Buffer
    ) -> None:
        regions = self._regions(launch, addresses)
        for region in regions:
            if region.is_writable:  # what lay there before means nothing to this launch
                workspace.poison(region.address - workspace.address, region.size_bytes)
        if isinstance(launch, PersistentLaunch):
            blocks = launch.blocks(addresses.images, self._resident_blocks)
            grid, block, dynamic = (blocks, 1, 1), (launch.threads, 1, 1), 0
        else:
            geometry = launch.geometry
            grid, block = geometry.grid(addresses.images), geometry.block
            dynamic = geometry.dynamic_shared_bytes
        options = replace(
            self.options,
            regions=regions,
            opt_in_shared=dynamic > 0,
            cooperative=isinstance(launch, PersistentLaunch),
        )
        arguments = addresses.arguments(launch)
        self._module.launch(launch.kernel, grid, block, arguments, shared_bytes=dynamic, options=options)

    def _regions(
        self, launch: Launch | PersistentLaunch, addresses: Addresses
    ) -> tuple[emulator.Region, ...]:
        """Return what ``launch`` may touch of the two buffers that hold many things."""
        artifact = self._artifact
        # Nothing but what is named below: not even in a launch that names nothing.
        found = [
            emulator.Region(address=start, size_bytes=0, is_writable=False)
            for start in (addresses.workspace, addresses.blob)
        ]
        for argument, address in zip(launch.arguments, addresses.arguments(launch), strict=True):
            match argument:
                case ValueArgument(value=name) if artifact.buffer(name).role is Role.WORKSPACE:
                    length = artifact.buffer(name).bytes_per_image * artifact.stored_images(addresses.images)
                    found.append(
                        emulator.Region(
                            address=address, size_bytes=length, is_writable=name in launch.written
                        )
                    )
                case ConstantArgument(offset_bytes=start):
                    end = min((edge for edge in self._blob_edges if edge > start), default=start)
                    found.append(emulator.Region(address=address, size_bytes=end - start, is_writable=False))
                case _:
                    pass
        return _merged(found)


def _merged(regions: list[emulator.Region]) -> tuple[emulator.Region, ...]:
    """Return ``regions``, those that share memory as one: layers of one launch use the workspace in turn."""
    found: list[emulator.Region] = []
    for region in sorted(regions, key=lambda item: (item.address, item.size_bytes)):
        last = found[-1] if found else None
        if last is None or region.address >= last.address + last.size_bytes:
            found.append(region)
            continue
        end = max(last.address + last.size_bytes, region.address + region.size_bytes)
        found[-1] = emulator.Region(
            address=last.address,
            size_bytes=end - last.address,
            is_writable=last.is_writable or region.is_writable,
        )
    return tuple(found)


def _blob_edges(artifact: CudaArtifact) -> tuple[int, ...]:
    """Return where the constants of the weights blob begin, and where the last one ends."""
    starts = {
        argument.offset_bytes
        for launch in _everything(artifact)
        for argument in launch.arguments
        if isinstance(argument, ConstantArgument)
    }
    return (*sorted(starts), artifact.blob_bytes)


def _everything(artifact: CudaArtifact) -> tuple[Launch | PersistentLaunch, ...]:
    return (*artifact.all_launches, *artifact.persistent)
