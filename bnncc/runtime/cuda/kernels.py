"""Compiled code on a device, and the launch of one kernel of it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bnncc.runtime.cuda.errors import DriverRefusal, LaunchFailure
from bnncc.runtime.cuda.libraries import Bindings, needed
from bnncc.runtime.cuda.streams import CudaStream

STATIC_LIMIT_BYTES: Final = 48 * 1024
"""Dynamic shared memory beyond this has to be asked for."""
_C_TYPES: Final[Mapping[str, Any]] = {"P": ctypes.c_void_p, "i": ctypes.c_int}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCall:
    """One launch.

    Args:
        kernel: name of the function.
        origin: of its layer in the user's source, for messages.
        grid: blocks.
        block: threads of a block.
        arguments: addresses and ints, as `LoadedCode` was told.
        shared_bytes: dynamic shared memory of a block.
        cooperative: whether all blocks have to be on the device at the same time: they wait for each other.
        cluster: blocks of a thread block cluster, None for none.
    """

    kernel: str
    origin: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[int, ...]
    shared_bytes: int = 0
    cooperative: bool = False
    cluster: tuple[int, int, int] | None = None

    @property
    def is_special(self) -> bool:
        """Return whether PyCUDA cannot launch it."""
        return self.cooperative or self.cluster is not None

    @property
    def geometry(self) -> str:
        """Return grid and block for a message."""
        kind = "cooperative grid" if self.cooperative else "grid"
        return f"{kind} {self.grid} and {int(np.prod(self.block))} threads"


class LoadedCode:
    """A module on a device; the context is current whenever it is used.

    PyCUDA shows no handles of its functions, so what it cannot launch comes from a second copy of the module,
    loaded through cuda-bindings when it is first needed.

    Args:
        driver: ``pycuda.driver``.
        bindings: for launches that PyCUDA cannot make.
        image: cubin or PTX.
        parameters: of each kernel: ``P`` for a pointer, ``i`` for an int.
    """

    def __init__(
        self,
        driver: Any,  # noqa: ANN401 - pycuda has no types
        bindings: Bindings | None,
        image: bytes,
        parameters: Mapping[str, str],
    ) -> None:
        self._driver, self._bindings, self._image, self._parameters = driver, bindings, image, parameters
        self._module: Any = driver.module_from_buffer(image)
        self._functions: dict[str, Any] = {}
        for kernel, codes in parameters.items():
            self._functions[kernel] = self._module.get_function(kernel)
            self._functions[kernel].prepare(codes)
        self._second: Any = None
        self._second_functions: dict[str, Any] = {}
        self._resident: dict[tuple[str, int, int], int] = {}

    def launch(self, call: KernelCall, stream: CudaStream) -> None:
        """Put ``call`` on ``stream``.

        Raises:
            LaunchFailure: the driver refuses.
            PlatformError: it needs cuda-bindings.
        """
        try:
            if call.is_special or not stream.is_pycuda:
                self._launch_by_bindings(call, stream)
            else:
                function = self._functions[call.kernel]
                if call.shared_bytes > STATIC_LIMIT_BYTES:
                    attributes = self._driver.function_attribute
                    function.set_attribute(attributes.MAX_DYNAMIC_SHARED_SIZE_BYTES, call.shared_bytes)
                function.prepared_async_call(
                    call.grid, call.block, stream.own, *call.arguments, shared_size=call.shared_bytes
                )
        except (self._driver.Error, DriverRefusal) as error:
            raise LaunchFailure(call.kernel, call.origin, call.geometry, str(error)) from error

    def resident_blocks(self, kernel: str, threads: int, shared_bytes: int = 0) -> int:
        """Return the blocks of ``kernel`` that a multiprocessor holds at the same time.

        A cooperative grid has at most as many blocks as this times the multiprocessors.

        Raises:
            PlatformError: there is no cuda-bindings.
        """
        bindings = needed(self._bindings, "a cooperative launch")
        function = self._function_by_bindings(bindings, kernel, shared_bytes)
        key = (kernel, threads, shared_bytes)
        if key not in self._resident:
            name = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
            self._resident[key] = int(bindings.call(name, function, threads, shared_bytes))
        return self._resident[key]

    def free(self) -> None:
        """Unload the code."""
        self._functions.clear()
        self._module = None
        second, self._second = self._second, None
        self._second_functions.clear()
        if second is not None and self._bindings is not None:
            self._bindings.call("cuModuleUnload", second)

    def _launch_by_bindings(self, call: KernelCall, stream: CudaStream) -> None:
        what = f"kernel '{call.kernel}' ({call.origin}): a cooperative or cluster launch"
        bindings = needed(self._bindings, what)
        function = self._function_by_bindings(bindings, call.kernel, call.shared_bytes)
        types = tuple(_C_TYPES[code] for code in self._parameters[call.kernel])
        config = _launch_config(bindings.api, call, stream)
        bindings.call("cuLaunchKernelEx", config, function, (call.arguments, types), 0)

    def _function_by_bindings(self, bindings: Bindings, kernel: str, shared_bytes: int) -> Any:  # noqa: ANN401 - no types
        if self._second is None:
            # PTX has to end with a zero byte, which a cubin does not mind.
            self._second = bindings.call("cuModuleLoadData", self._image + b"\0")
        if kernel not in self._second_functions:
            self._second_functions[kernel] = bindings.call(
                "cuModuleGetFunction", self._second, kernel.encode()
            )
        function = self._second_functions[kernel]
        if shared_bytes > STATIC_LIMIT_BYTES:
            attribute = bindings.api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            bindings.call("cuFuncSetAttribute", function, attribute, shared_bytes)
        return function


def _launch_config(api: Any, call: KernelCall, stream: CudaStream) -> Any:  # noqa: ANN401 - cuda-bindings has no types
    config = api.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = call.grid
    config.blockDimX, config.blockDimY, config.blockDimZ = call.block
    config.sharedMemBytes = call.shared_bytes
    config.hStream = stream.handle
    attributes = []
    if call.cooperative:
        attribute = api.CUlaunchAttribute()
        attribute.id = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
        attribute.value.cooperative = 1
        attributes.append(attribute)
    if call.cluster is not None:
        attribute = api.CUlaunchAttribute()
        attribute.id = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
        size = attribute.value.clusterDim
        size.x, size.y, size.z = call.cluster
        attributes.append(attribute)
    config.attrs = attributes
    config.numAttrs = len(attributes)
    return config
