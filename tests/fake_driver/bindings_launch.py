"""Tests of launches and functions through `cuda-bindings`; `test_driver` starts them on the fake driver."""

from __future__ import annotations

import pytest
from cuda.bindings import driver as d

from tests.fake_driver.driver import attached
from tests.fake_driver.script import (
    PTX,
    arguments,
    code,
    compiled,
    device_array,
    function,
    launch,
    module,
    ok,
    read,
    say_open,
)

A = d.CUfunction_attribute
SHARED_DYNAMIC = A.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
KIB = 1024


@pytest.fixture(autouse=True)
def context():
    attached().show("sm_80")
    opened = say_open()
    yield opened
    ok(d.cuCtxPopCurrent())
    ok(d.cuDevicePrimaryCtxRelease(0))


def attribute(kernel, which):
    return ok(d.cuFuncGetAttribute(which, kernel))


def launch_ex(kernel, values, attributes, *, grid=1, block=4):
    config = d.CUlaunchConfig()
    config.gridDimX, config.blockDimX = grid, block
    config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1
    config.hStream, config.attrs, config.numAttrs = 0, attributes, len(attributes)
    return d.cuLaunchKernelEx(config, kernel, arguments(*values), 0)


def launch_attribute(name, **values):
    made = d.CUlaunchAttribute()
    made.id = getattr(d.CUlaunchAttributeID, f"CU_LAUNCH_ATTRIBUTE_{name}")
    for key, value in values.items():
        setattr(made.value, key, value)
    return made


def cluster(x):
    made = launch_attribute("CLUSTER_DIMENSION")
    made.value.clusterDim.x, made.value.clusterDim.y, made.value.clusterDim.z = x, 1, 1
    return made


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: launch_attribute("COOPERATIVE", cooperative=1), 0),
        (
            lambda: launch_attribute(
                "PROGRAMMATIC_STREAM_SERIALIZATION", programmaticStreamSerializationAllowed=1
            ),
            0,
        ),
        (lambda: launch_attribute("PRIORITY", priority=-1), 0),
        (lambda: cluster(1), 0),
        (lambda: cluster(2), 801),
        (lambda: launch_attribute("LAUNCH_COMPLETION_EVENT"), 801),
    ],
)
def test_launch_attributes(make, expected):
    buffer = device_array([0] * 4)
    assert code(launch_ex(function(), (buffer, 3), [make()])) == expected
    assert read(buffer, 4) == [0 if expected else 3] * 4


@pytest.mark.parametrize("way", ["call", "attribute"])
def test_blocks_of_a_cooperative_launch_wait_for_each_other(way):
    kernel, count, after = function("meet"), device_array([0]), device_array([0] * 6)
    if way == "call":
        ok(d.cuLaunchCooperativeKernel(kernel, 6, 1, 1, 32, 1, 1, 0, 0, arguments(count, after)))
    else:
        ok(
            launch_ex(
                kernel, (count, after), [launch_attribute("COOPERATIVE", cooperative=1)], grid=6, block=32
            )
        )
    assert read(after, 6) == [6] * 6


def test_a_cooperative_grid_must_be_resident():
    kernel, buffer = function(), device_array([0] * 4)
    most = ok(d.cuOccupancyMaxActiveBlocksPerMultiprocessor(kernel, 128, 0)) * 108
    values = arguments(buffer, 0)
    assert code(d.cuLaunchCooperativeKernel(kernel, most + 1, 1, 1, 128, 1, 1, 0, 0, values)) == 720
    # The largest that fits is accepted: it is not run here, the context goes.
    assert code(d.cuLaunchCooperativeKernel(kernel, most, 1, 1, 128, 1, 1, 0, 0, values)) == 0
    ok(d.cuDevicePrimaryCtxRetain(0))
    attached().fail("kernel=LAUNCH_FAILED")
    assert code(d.cuCtxSynchronize()) == 719
    attached().fail("")
    ok(d.cuDevicePrimaryCtxReset(0))
    ok(d.cuCtxPopCurrent())
    ok(d.cuCtxPushCurrent(ok(d.cuDevicePrimaryCtxRetain(0))))


def test_shared_memory_above_48_kib_must_be_asked_for():
    kernel, buffer = function("shared"), device_array([1] * 64)
    assert attribute(kernel, A.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) == 256
    assert attribute(kernel, SHARED_DYNAMIC) == 48 * KIB - 256
    assert code(launch(kernel, buffer, block=64, shared=48 * KIB - 256)) == 0
    assert code(launch(kernel, buffer, block=64, shared=48 * KIB)) == 1
    assert code(d.cuFuncSetAttribute(kernel, SHARED_DYNAMIC, 164 * KIB)) == 1
    ok(d.cuFuncSetAttribute(kernel, SHARED_DYNAMIC, 100 * KIB))
    assert attribute(kernel, SHARED_DYNAMIC) == 100 * KIB
    ok(launch(kernel, buffer, block=64, shared=100 * KIB))
    assert code(launch(kernel, buffer, block=64, shared=100 * KIB + 1)) == 1
    ok(d.cuCtxSynchronize())


@pytest.mark.parametrize(
    ("grid", "block", "expected"),
    [(1, 128, 0), (1, 129, 1), (0, 4, 1), (1, 0, 1), (2**31, 1, 1), (1, 1025, 1)],
)
def test_geometry_is_checked_at_the_launch(grid, block, expected):
    buffer = device_array([0] * 128)
    assert code(launch(function(), buffer, 1, grid=grid, block=block)) == expected


def test_facts_of_a_cubin_are_the_assembler_s():
    attached().register(compiled("cubin"), PTX)
    kernel = ok(d.cuModuleGetFunction(ok(d.cuModuleLoadData(compiled("cubin"))), b"shared"))
    expected = {fact.kernel: fact for fact in reports()}["shared"]
    assert attribute(kernel, A.CU_FUNC_ATTRIBUTE_NUM_REGS) == expected.registers > 0
    assert attribute(kernel, A.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) == expected.shared_bytes == 256
    assert attribute(kernel, A.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES) == expected.stack_bytes
    assert attribute(kernel, A.CU_FUNC_ATTRIBUTE_BINARY_VERSION) == 80
    add = ok(d.cuModuleGetFunction(ok(d.cuModuleLoadData(compiled("cubin"))), b"add"))
    assert attribute(add, A.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) == 128


def reports():
    from bnncc.toolchain.build_cache import BuildCache
    from bnncc.toolchain.cuda_compiler import compile_cuda
    from bnncc.toolchain.find_cuda import find_cuda_compiler
    from tests.fake_driver.script import SOURCE

    cache = BuildCache.default()
    return compile_cuda(find_cuda_compiler("nvrtc"), SOURCE, "sm_80", "cubin", cache=cache).reports


def test_occupancy_follows_shared_memory():
    kernel = function("shared")
    ok(d.cuFuncSetAttribute(kernel, SHARED_DYNAMIC, 160 * KIB))
    blocks = [
        ok(d.cuOccupancyMaxActiveBlocksPerMultiprocessor(kernel, 64, n * KIB)) for n in (0, 32, 80, 160)
    ]
    # 164 KiB a multiprocessor; each block takes 256 bytes of its own and 1 KiB of the system's.
    assert blocks == [32, 4, 2, 1]
    assert ok(d.cuOccupancyMaxActiveBlocksPerMultiprocessor(kernel, 64, 163 * KIB)) == 0
    fits = ok(d.cuOccupancyAvailableDynamicSMemPerBlock(kernel, 2, 64))
    assert ok(d.cuOccupancyMaxActiveBlocksPerMultiprocessor(kernel, 64, fits)) == 2
    assert ok(d.cuOccupancyMaxActiveBlocksPerMultiprocessor(kernel, 64, fits + 1)) == 1


def test_the_best_block_size_is_resident_everywhere():
    grid, block = ok(d.cuOccupancyMaxPotentialBlockSize(function(), d.CUoccupancyB2DSize(0), 0, 0))
    assert (grid, block) == (108 * 16, 128)


def test_variables_keep_what_host_and_kernels_write():
    loaded, buffer = module(), device_array([0] * 4)
    kernel = ok(d.cuModuleGetFunction(loaded, b"look_up"))
    address, size_bytes = ok(d.cuModuleGetGlobal(loaded, b"table"))
    assert (read(address, 4), size_bytes) == ([1, 2, 3, 4], 16)
    ok(d.cuMemsetD32(int(address) + 8, 30, 1))
    ok(launch(kernel, buffer, 2))
    assert read(buffer, 4) == [30] * 4
    assert code(d.cuModuleGetGlobal(loaded, b"none")) == 500
    assert code(d.cuMemFree(address)) == 1


def test_images_that_do_not_fit(capfd):
    assert (
        code(d.cuModuleLoadData(b"\x7fELF and no more, padded to the length of a header".ljust(64) + b"\0"))
        == 200
    )
    assert code(d.cuModuleLoadData(b"nothing\0")) == 200
    assert code(d.cuModuleLoadData(PTX.replace(b"add.s32", b"add.s99"))) == 218
    assert code(d.cuModuleLoadData(PTX.replace(b".target sm_80", b".target sm_90"))) == 209
    assert code(d.cuModuleLoadData(compiled("cubin", "sm_90a"))) == 209
    assert "sm_90 on sm_80" in capfd.readouterr().err


def test_the_just_in_time_compiler_has_a_log():
    log, option = bytearray(512), d.CUjit_option
    options = [option.CU_JIT_ERROR_LOG_BUFFER, option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES]
    image = PTX.replace(b"add.s32", b"add.s99")
    assert code(d.cuModuleLoadDataEx(image, 2, options, [log, 512])) == 218
    assert b"add.s99" in bytes(log)


def test_a_library_is_its_module():
    library = ok(d.cuLibraryLoadData(PTX, [], [], 0, [], [], 0))
    kernel = ok(d.cuKernelGetFunction(ok(d.cuLibraryGetKernel(library, b"add"))))
    buffer = device_array([0] * 4)
    ok(launch(kernel, buffer, 2))
    assert read(buffer, 4) == [2] * 4
    assert ok(d.cuFuncGetParamInfo(kernel, 1)) == (8, 4)
    assert code(d.cuFuncGetParamInfo(kernel, 2)) == 1
    ok(d.cuLibraryUnload(library))
    assert code(launch(kernel, buffer, 2)) == 400
