"""Tests of devices, contexts and pointers through `cuda-bindings`; `test_driver` starts them."""

from __future__ import annotations

import threading

import pytest
from cuda.bindings import driver as d

from tests.fake_driver.driver import attached
from tests.fake_driver.script import code, device_array, function, launch, ok, pinned, read

T = d.CUdevice_attribute


@pytest.fixture(autouse=True)
def two_devices():
    ok(d.cuInit(0))
    attached().show("sm_80,sm_90a")
    yield
    for device in (0, 1):
        ok(d.cuDevicePrimaryCtxReset(device))
    ok(d.cuCtxSetCurrent(d.CUcontext(0)))
    assert attached().alive("contexts") == 0


@pytest.fixture
def contexts():
    return [ok(d.cuDevicePrimaryCtxRetain(device)) for device in (0, 1)]


def value(attribute, device):
    return ok(d.cuDeviceGetAttribute(getattr(T, f"CU_DEVICE_ATTRIBUTE_{attribute}"), device))


def test_attributes_are_those_of_the_descriptions():
    assert ok(d.cuDeviceGetCount()) == 2
    names = [bytes(ok(d.cuDeviceGetName(64, device))).rstrip(b"\0 ") for device in (0, 1)]
    assert names == [b"fake A100 (emulated)", b"fake H200 (emulated)"]
    assert [value("MULTIPROCESSOR_COUNT", device) for device in (0, 1)] == [108, 132]
    assert [value("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", device) for device in (0, 1)] == [163 << 10, 227 << 10]
    assert [value("CLUSTER_LAUNCH", device) for device in (0, 1)] == [0, 1]
    assert [value("COMPUTE_CAPABILITY_MAJOR", device) for device in (0, 1)] == [8, 9]
    assert value("COOPERATIVE_LAUNCH", 0) == value("UNIFIED_ADDRESSING", 0) == 1
    assert code(d.cuDeviceGet(2)) == 101
    assert int(ok(d.cuDeviceGetByPCIBusId(ok(d.cuDeviceGetPCIBusId(32, 1))))) == 1


def test_contexts_are_a_stack_of_each_thread(contexts):
    first, second = contexts
    ok(d.cuCtxPushCurrent(first))
    ok(d.cuCtxPushCurrent(second))
    assert int(ok(d.cuCtxGetDevice())) == 1
    elsewhere = []
    thread = threading.Thread(
        target=lambda: elsewhere.append((code(d.cuMemAlloc(4)), int(ok(d.cuCtxGetCurrent()))))
    )
    thread.start()
    thread.join()
    assert elsewhere == [(201, 0)]
    ok(d.cuCtxPopCurrent())
    assert int(ok(d.cuCtxGetDevice())) == 0
    ok(d.cuCtxPopCurrent())
    assert code(d.cuCtxPopCurrent()) == 201
    assert code(d.cuMemAlloc(4)) == 201


def test_the_primary_context_lives_as_long_as_somebody_holds_it():
    held = [ok(d.cuDevicePrimaryCtxRetain(0)) for _ in range(2)]
    assert int(held[0]) == int(held[1])
    ok(d.cuDevicePrimaryCtxRelease(0))
    assert ok(d.cuDevicePrimaryCtxGetState(0))[1] == 1
    ok(d.cuDevicePrimaryCtxRelease(0))
    assert ok(d.cuDevicePrimaryCtxGetState(0))[1] == 0
    assert code(d.cuDevicePrimaryCtxRelease(0)) == 201
    assert code(d.cuCtxPushCurrent(held[0])) == 201


def test_a_context_of_ones_own():
    made = ok(d.cuCtxCreate(None, 0, 1))
    assert int(ok(d.cuCtxGetDevice())) == 1
    ok(d.cuCtxDestroy(made))
    assert int(ok(d.cuCtxGetCurrent())) == 0
    assert code(d.cuCtxDestroy(made)) == 201


def test_what_belongs_to_another_context_is_refused(contexts):
    ok(d.cuCtxSetCurrent(contexts[0]))
    stream, event, kernel, buffer = (
        ok(d.cuStreamCreate(0)),
        ok(d.cuEventCreate(0)),
        function(),
        device_array([0] * 4),
    )
    ok(d.cuCtxSetCurrent(contexts[1]))
    assert code(launch(kernel, buffer, 1)) == 400
    assert code(d.cuStreamSynchronize(stream)) == 400
    assert code(d.cuEventRecord(event, 0)) == 400


def test_peers_must_be_enabled(contexts, capfd):
    ok(d.cuCtxSetCurrent(contexts[1]))
    there = device_array([5] * 4)
    ok(d.cuCtxSetCurrent(contexts[0]))
    assert ok(d.cuDeviceCanAccessPeer(0, 1)) == 1
    kernel = function()
    ok(d.cuCtxEnablePeerAccess(contexts[1], 0))
    assert code(d.cuCtxEnablePeerAccess(contexts[1], 0)) == 704
    ok(launch(kernel, there, 1))
    assert read(there, 4) == [6] * 4
    ok(d.cuCtxDisablePeerAccess(contexts[1]))
    assert code(d.cuCtxDisablePeerAccess(contexts[1])) == 705
    ok(launch(kernel, there, 1))
    assert code(d.cuCtxSynchronize()) == 700
    assert "out_of_bounds" in capfd.readouterr().err


def test_copies_between_devices_need_no_peers(contexts):
    ok(d.cuCtxSetCurrent(contexts[1]))
    there = device_array([5] * 4)
    ok(d.cuCtxSetCurrent(contexts[0]))
    here = device_array([0] * 4)
    ok(d.cuMemcpyPeer(here, contexts[0], there, contexts[1], 16))
    assert read(here, 4) == [5] * 4


def test_devices_that_cannot_reach_each_other(contexts, monkeypatch):
    monkeypatch.setenv("FAKE_CUDA_PEERS", "0")
    attached().show("sm_80,sm_90a")
    ok(d.cuCtxSetCurrent(contexts[0]))
    assert ok(d.cuDeviceCanAccessPeer(0, 1)) == 0
    assert code(d.cuCtxEnablePeerAccess(contexts[1], 0)) == 217


def test_pointers_know_what_they_are(contexts):
    ok(d.cuCtxSetCurrent(contexts[1]))
    buffer, host = ok(d.cuMemAlloc(1000)), pinned(100)
    P = d.CUpointer_attribute

    def about(name, pointer):
        return d.cuPointerGetAttribute(getattr(P, f"CU_POINTER_ATTRIBUTE_{name}"), pointer)

    inside = int(buffer) + 10
    assert int(ok(about("MEMORY_TYPE", inside))) == 2
    assert int(ok(about("DEVICE_ORDINAL", inside))) == 1
    assert int(ok(about("CONTEXT", inside))) == int(contexts[1])
    assert int(ok(about("RANGE_START_ADDR", inside))) == int(buffer)
    assert int(ok(about("MEMORY_TYPE", host.ctypes.data))) == 1
    assert code(about("MEMORY_TYPE", int(buffer) + 1000)) == 1
    assert tuple(map(int, ok(d.cuMemGetAddressRange(inside)))) == (int(buffer), 1000)


def test_memory_is_counted(contexts):
    ok(d.cuCtxSetCurrent(contexts[0]))
    free, total = ok(d.cuMemGetInfo())
    buffer = ok(d.cuMemAlloc(1 << 20))
    assert ok(d.cuMemGetInfo()) == (free - (1 << 20), total)
    assert code(d.cuMemAlloc(total)) == 2
    assert code(d.cuMemAlloc(0)) == 1
    ok(d.cuMemFree(buffer))
    assert ok(d.cuMemGetInfo())[0] == free
