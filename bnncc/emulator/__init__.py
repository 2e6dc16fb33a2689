"""Run CUDA kernels on the CPU: PTX is translated to C++, one fiber for each CUDA thread, everything checked.

::

    from bnncc import emulator

    memory = emulator.DeviceMemory()
    words = memory.upload(np.arange(64, dtype=np.uint32))
    result = memory.alloc(64 * 4)
    with emulator.load(ptx_text, name="popc.ptx") as module:
        module.launch("popc", grid=(2,), block=(32,), args=[words, result, np.int32(64)])
        module.launch(
            "popc",
            grid=(2,),
            block=(32,),
            args=[words + 16, result, np.int32(60)],
            shared_bytes=1024,
            options=emulator.LaunchOptions(schedule=emulator.Schedule.random(7), timeout_s=10),
        )
    counts = result.download(np.uint32, 64)

A kernel that reads or writes out of bounds or misaligned, races on shared memory, waits at different
barriers, hangs, or is launched with a geometry the device does not have, raises ``EmulatorFault``, whose
findings name kernel, block, thread, PTX line and, where the PTX has line information, the source line.
Kernels run in a child process that is ended when its time is over. Blocks that wait for each other (a
grid barrier) need ``LaunchOptions(cooperative=True)``. Shared memory and fresh buffers hold junk.

Arithmetic is bit-exact; instructions whose result is an approximation are refused when the module loads,
and so is everything else that is not understood (``PtxError``, with the line).
"""

from bnncc.emulator.device_memory import BASE_ADDRESS, Buffer, DeviceMemory, Pointer
from bnncc.emulator.faults import EmulatorFault, FaultKind, Finding, LineOrigin, Place
from bnncc.emulator.launch import Argument, DeviceLimits, LaunchOptions, LaunchReport, Region, Schedule
from bnncc.emulator.module import EmulatedModule, load
from bnncc.emulator.ptx.model import Location, PtxError
from bnncc.emulator.signature import KernelSignature, Parameter

__all__ = [
    "BASE_ADDRESS",
    "Argument",
    "Buffer",
    "DeviceLimits",
    "DeviceMemory",
    "EmulatedModule",
    "EmulatorFault",
    "FaultKind",
    "Finding",
    "KernelSignature",
    "LaunchOptions",
    "LaunchReport",
    "LineOrigin",
    "Location",
    "Parameter",
    "Place",
    "Pointer",
    "PtxError",
    "Region",
    "Schedule",
    "load",
]
