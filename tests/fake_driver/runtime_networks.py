"""Small networks loaded on the fake device, and arrays and streams of "other libraries" there."""

from __future__ import annotations

from functools import cache

import numpy as np
from cuda.bindings import driver as api
from pycuda import driver

from bnncc.ir.reference.program import run_program
from bnncc.runtime import dlpack
from bnncc.runtime.cuda import CudaSession
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from tests.codegen.cuda.layer_groups import ROWS, Bits, Store
from tests.cuda_programs import inputs_of

KINDS = (
    "contexts",
    "allocations",
    "host_allocations",
    "modules",
    "streams",
    "events",
    "graphs",
    "graph_execs",
)


@cache
def small_program():
    b = Bits("small")
    x = b.layer(b.packed(40, 2, 2, layout=ROWS), 33, None, Store(layout=ROWS))
    return b.output(b.layer(x, 10, None, Store(kind="scores")), "scores").program()


@cache
def emitted(fuse):
    return CudaTarget(tier=Tier.POPC, fuse=fuse).emit(small_program())


def load_small(session, fuse=Fuse.LAYER, arch="sm_80", **options):
    artifact = emitted(fuse)
    image = compile_cuda(
        find_cuda_compiler("nvrtc"), artifact.source.text, arch, "ptx", cache=BuildCache.default()
    )
    return session.load(artifact, small_program().blob(), [image], **options)


def check(result):
    """Return what a function of cuda-bindings gives."""
    code, *values = result
    assert code == 0, code
    return values[0] if values else None


class ForeignStream:
    """A stream as torch shows it."""

    def __init__(self, session):
        with session.active("making a stream"):
            self.cuda_stream = int(check(api.cuStreamCreate(1)))
        self.session = session

    def synchronize(self):
        with self.session.active("waiting"):
            check(api.cuStreamSynchronize(self.cuda_stream))

    def close(self):
        with self.session.active("destroying a stream"):
            check(api.cuStreamDestroy(self.cuda_stream))


class ForeignArray:
    """Device memory of another library; with a ``stream`` its content is still on the way there."""

    def __init__(self, session, array, stream=None, **changes):
        self.session, self.array, self.stream = session, array, stream
        self.changes = changes
        with session.active("uploading"):
            self.memory = driver.mem_alloc(max(64, array.nbytes))
            self.pinned = driver.pagelocked_empty(array.shape, array.dtype)
            self.pinned[...] = array
            handle = 0 if stream is None else stream.cuda_stream
            check(api.cuMemcpyHtoDAsync(int(self.memory), self.pinned.ctypes.data, array.nbytes, handle))
            if stream is None:
                driver.Context.synchronize()

    def numpy(self):
        with self.session.active("downloading"):
            driver.Context.synchronize()
            found = np.empty_like(self.array)
            driver.memcpy_dtoh(found, self.memory)
        return found

    def close(self):
        with self.session.active("freeing"):
            self.memory.free()
            self.pinned.base.free()


class WithInterface(ForeignArray):
    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.array.shape,
            "typestr": self.array.dtype.str,
            "data": (int(self.memory), False),
            "version": 3,
            "stream": None if self.stream is None else self.stream.cuda_stream,
            **self.changes,
        }


class WithDlpack(ForeignArray):
    """Records on which stream it was asked for, and makes that one wait."""

    asked = None

    def __dlpack_device__(self):
        return self.changes.get("device", (dlpack.CUDA, self.session.index))

    def __dlpack__(self, stream=None):
        self.asked = stream
        if self.stream is not None and stream != self.stream.cuda_stream:
            event = check(api.cuEventCreate(2))
            check(api.cuEventRecord(event, self.stream.cuda_stream))
            check(api.cuStreamWaitEvent(stream, event, 0))
            check(api.cuEventDestroy(event))
        return dlpack.export_capsule(
            self,
            address=int(self.memory),
            shape=self.array.shape,
            dtype=self.array.dtype,
            device=self.__dlpack_device__(),
        )


def open_session(fake, devices="sm_80", index=0):
    fake.fail("")
    fake.faults.clear()
    fake.show(devices)
    return CudaSession(index)


def images(count, seed=1):
    return inputs_of(small_program(), count, seed=seed)["image"]


def expected(array):
    if len(array) == 0:
        return np.zeros((0, 10), np.float32)
    return run_program(small_program(), {"image": array})["scores"]


def scores(network, array, **options):
    return network.run_on_device({"image": array}, **options)["scores"]
