"""Tests of streams, events, copies through `cuda-bindings`; `test_driver` starts them on the fake driver."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
from cuda.bindings import driver as d

from tests.fake_driver.script import (
    arguments,
    code,
    device_array,
    function,
    launch,
    module,
    ok,
    pinned,
    read,
    say_open,
)

NON_BLOCKING = 1


@pytest.fixture(autouse=True)
def context():
    opened = say_open()
    yield opened
    ok(d.cuCtxPopCurrent())
    ok(d.cuDevicePrimaryCtxRelease(0))


@pytest.fixture
def add():
    return function("add")


def stream(flags=NON_BLOCKING):
    return ok(d.cuStreamCreate(flags))


def test_nothing_happens_until_somebody_waits(add):
    buffer, host, one = device_array([1, 2, 3, 4]), pinned(16), stream()
    ok(launch(add, buffer, 10, stream=one))
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, one))
    assert not host.any()
    ok(d.cuStreamSynchronize(one))
    assert host.view(np.int32).tolist() == [11, 12, 13, 14]


@pytest.mark.parametrize("has_wait", [True, False])
def test_a_forgotten_event_wait_is_wrong_data(add, has_wait):
    buffer, host, producer, consumer = device_array([0] * 4), pinned(16), stream(), stream()
    ready = ok(d.cuEventCreate(0))
    ok(launch(add, buffer, 5, stream=producer))
    ok(d.cuEventRecord(ready, producer))
    if has_wait:
        ok(d.cuStreamWaitEvent(consumer, ready, 0))
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, consumer))
    ok(d.cuStreamSynchronize(consumer))
    assert host.view(np.int32).tolist() == [5 if has_wait else 0] * 4


def test_an_event_covers_what_came_before_its_record_only(add):
    buffer, host, producer, consumer = device_array([0] * 4), pinned(16), stream(), stream()
    ready = ok(d.cuEventCreate(0))
    ok(launch(add, buffer, 1, stream=producer))
    ok(d.cuEventRecord(ready, producer))
    ok(launch(add, buffer, 1, stream=producer))
    ok(d.cuStreamWaitEvent(consumer, ready, 0))
    ok(d.cuEventRecord(ready, producer))  # a later record does not change the wait
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, consumer))
    ok(d.cuStreamSynchronize(consumer))
    assert host.view(np.int32).tolist() == [1] * 4


@pytest.mark.parametrize(("flags", "expected"), [(0, 3), (NON_BLOCKING, 0)])
def test_the_legacy_stream_waits_for_blocking_streams_only(add, flags, expected):
    buffer, host, other = device_array([0] * 4), pinned(16), stream(flags)
    ok(launch(add, buffer, 3, stream=other))
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, 0))
    ok(d.cuStreamSynchronize(0))
    assert host.view(np.int32)[0] == expected


@pytest.mark.parametrize(("flags", "expected"), [(0, 3), (NON_BLOCKING, 0)])
def test_blocking_streams_wait_for_the_legacy_stream(add, flags, expected):
    buffer, host, other = device_array([0] * 4), pinned(16), stream(flags)
    ok(launch(add, buffer, 3, stream=0))
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, other))
    ok(d.cuStreamSynchronize(other))
    assert host.view(np.int32)[0] == expected


def test_pageable_bytes_are_taken_at_once_and_pinned_ones_when_they_are_copied():
    one, pageable, page_locked = stream(), np.full(4, 1, np.int32), pinned(16).view(np.int32)
    page_locked[:] = 1
    targets = [device_array([0] * 4) for _ in range(2)]
    for target, source in zip(targets, (pageable, page_locked), strict=True):
        ok(d.cuMemcpyHtoDAsync(target, source.ctypes.data, 16, one))
        source[:] = 2  # too early where the copy has not happened
    ok(d.cuStreamSynchronize(one))
    assert [read(target, 4)[0] for target in targets] == [1, 2]


def test_a_copy_to_pageable_memory_is_there_when_it_returns(add):
    buffer, host, one = device_array([0] * 4), np.zeros(4, np.int32), stream()
    ok(launch(add, buffer, 3, stream=one))
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, one))
    assert host.tolist() == [3] * 4


def test_synchronous_copies_order_as_documented(add):
    """From pageable memory it returns before the bytes are on the device; non-blocking streams see that."""
    target, copied, other = device_array([0] * 4), device_array([9] * 4), stream()
    source = np.full(4, 7, np.int32)
    ok(d.cuMemcpyHtoD(target, source.ctypes.data, 16))
    ok(d.cuMemcpyDtoDAsync(copied, target, 16, other))
    ok(d.cuStreamSynchronize(other))
    assert read(copied, 4) == [0] * 4
    assert read(target, 4) == [7] * 4
    page_locked = pinned(16)
    page_locked.view(np.int32)[:] = 8
    ok(d.cuMemcpyHtoD(target, page_locked.ctypes.data, 16))
    ok(d.cuMemcpyDtoDAsync(copied, target, 16, other))
    ok(d.cuStreamSynchronize(other))
    assert read(copied, 4) == [8] * 4


def test_queries_make_progress_and_never_wait(add):
    buffer, one, end = device_array([0] * 4), stream(), ok(d.cuEventCreate(0))
    for _ in range(3):
        ok(launch(add, buffer, 1, stream=one))
    ok(d.cuEventRecord(end, one))
    assert code(d.cuStreamQuery(one)) == 600
    answers = [code(d.cuEventQuery(end)) for _ in range(5)]
    assert answers[0] == 600
    assert answers[-1] == 0
    assert read(buffer, 4) == [3] * 4


def test_times_need_two_events_that_have_happened(add):
    first, last, without = ok(d.cuEventCreate(0)), ok(d.cuEventCreate(0)), ok(d.cuEventCreate(2))
    buffer, one = device_array([0] * 4), stream()
    assert code(d.cuEventElapsedTime(first, last)) == 400  # never recorded
    ok(d.cuEventRecord(first, one))
    ok(launch(add, buffer, 1, stream=one))
    ok(d.cuEventRecord(last, one))
    ok(d.cuEventRecord(without, one))
    assert code(d.cuEventElapsedTime(first, last)) == 600
    ok(d.cuEventSynchronize(without))
    assert ok(d.cuEventElapsedTime(first, last)) > 0
    assert code(d.cuEventElapsedTime(first, without)) == 400


def test_memory_is_freed_in_stream_order(add):
    one, host = stream(), pinned(16)
    buffer = ok(d.cuMemAllocAsync(16, one))
    ok(d.cuMemsetD32Async(buffer, 4, 4, one))
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, one))
    ok(d.cuMemFreeAsync(buffer, one))
    late = ok(d.cuMemAlloc(16))
    ok(d.cuMemcpyDtoDAsync(late, buffer, 16, one))  # after it was freed
    assert code(d.cuStreamSynchronize(one)) == 700
    assert host.view(np.int32).tolist() == [4] * 4


def test_host_functions_run_between_operations_and_call_nothing():
    one, seen, buffer, host = stream(), [], device_array([6] * 4), pinned(16)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    library = ctypes.CDLL("libcuda.so.1")

    @kind
    def note(data):
        del data
        seen.append((int(host.view(np.int32)[0]), library.cuCtxSynchronize()))

    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, one))
    ok(d.cuLaunchHostFunc(one, d.CUhostFn(_ptr=ctypes.addressof(note)), 0))
    assert not seen
    ok(d.cuStreamSynchronize(one))
    assert seen == [(6, 800)]


def test_arguments_are_copied_when_the_kernel_is_launched(add):
    buffer, one = device_array([0] * 4), stream()
    value = ctypes.c_int(3)
    pointers = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.c_uint64(int(buffer))), ctypes.addressof(value))
    keep = ctypes.c_uint64(int(buffer))
    pointers[0] = ctypes.addressof(keep)
    ok(d.cuLaunchKernel(add, 1, 1, 1, 4, 1, 1, 0, one, ctypes.addressof(pointers), 0))
    value.value = 100
    ok(d.cuStreamSynchronize(one))
    assert read(buffer, 4) == [3] * 4


def test_many_threads_use_one_context(context):
    kernel = function("add")
    failures = []

    def work(index):
        try:
            ok(d.cuCtxSetCurrent(context))
            mine, buffer, host = stream(), device_array([index] * 4), pinned(16)
            for _ in range(3):
                ok(launch(kernel, buffer, 1, stream=mine))
            ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, mine))
            ok(d.cuStreamSynchronize(mine))
            assert host.view(np.int32).tolist() == [index + 3] * 4
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_fault_is_told_by_the_next_wait_and_then_by_every_call(add, capfd):
    buffer, one = device_array([0] * 4), stream()
    ok(launch(add, int(buffer) + (1 << 40), 1, stream=one))
    assert code(d.cuStreamSynchronize(one)) == 700
    assert "out_of_bounds" in capfd.readouterr().err
    assert [code(answer) for answer in (d.cuMemAlloc(8), d.cuCtxSynchronize(), d.cuMemFree(buffer))] == [
        700
    ] * 3
    ok(d.cuDevicePrimaryCtxReset(0))
    opened = say_open()
    ok(d.cuCtxPopCurrent())
    ok(d.cuCtxSetCurrent(opened))
    ok(d.cuMemAlloc(8))


def test_wrong_sizes_and_handles_are_refused():
    buffer, host = device_array([0] * 4), np.zeros(8, np.int32)
    assert code(d.cuMemcpyHtoD(buffer, host.ctypes.data, 20)) == 1
    assert code(d.cuMemcpyDtoH(host.ctypes.data, int(buffer) + 8, 12)) == 1
    assert code(d.cuMemsetD32(int(buffer) + 2, 1, 1)) == 1
    assert code(d.cuMemFree(int(buffer) + 4)) == 1
    gone = stream()
    ok(d.cuStreamDestroy(gone))
    assert code(d.cuStreamSynchronize(gone)) == 400
    assert code(d.cuMemPoolCreate(d.CUmemPoolProps())) == 801
    assert arguments(1)
    assert code(d.cuModuleGetFunction(module(), b"none")) == 500
