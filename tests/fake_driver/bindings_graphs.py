"""Tests of graph capture and replay through `cuda-bindings`; `test_driver` starts them on the fake driver."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from cuda.bindings import driver as d

from tests.fake_driver.script import (
    arguments,
    code,
    device_array,
    function,
    launch,
    ok,
    pinned,
    read,
    say_open,
)

GLOBAL, THREAD_LOCAL, RELAXED = d.CUstreamCaptureMode
UNSUPPORTED, INVALIDATED = 900, 901


@pytest.fixture(autouse=True)
def context():
    opened = say_open()
    yield opened
    ok(d.cuCtxPopCurrent())
    ok(d.cuDevicePrimaryCtxRelease(0))


@pytest.fixture
def one():
    return ok(d.cuStreamCreate(1))


@pytest.fixture
def add():
    return function("add")


def node_count(graph):
    return ok(d.cuGraphGetNodes(graph, 0))[1]


def test_capture_runs_nothing_and_replay_runs_everything_each_time(one, add):
    buffer, start, host = device_array([0] * 4), device_array([5] * 4), pinned(16)
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    ok(d.cuMemcpyDtoDAsync(buffer, start, 16, one))
    ok(launch(add, buffer, 2, stream=one))
    ok(d.cuMemsetD32Async(int(buffer) + 12, 1, 1, one))
    ok(d.cuMemcpyDtoHAsync(host.ctypes.data, buffer, 16, one))
    graph = ok(d.cuStreamEndCapture(one))
    ok(d.cuStreamSynchronize(one))
    assert node_count(graph) == 4
    assert read(buffer, 4) == [0] * 4
    replay = ok(d.cuGraphInstantiate(graph, 0))
    ok(d.cuGraphDestroy(graph))
    for _ in range(2):
        ok(d.cuGraphLaunch(replay, one))
        assert host.view(np.int32)[0] in (0, 7)
    ok(d.cuStreamSynchronize(one))
    assert host.view(np.int32).tolist() == [7, 7, 7, 1]
    ok(d.cuGraphExecDestroy(replay))


def test_a_graph_is_ordered_in_its_stream(one, add):
    buffer = device_array([0] * 4)
    ok(d.cuStreamBeginCapture(one, THREAD_LOCAL))
    ok(launch(add, buffer, 1, stream=one))
    replay = ok(d.cuGraphInstantiate(ok(d.cuStreamEndCapture(one)), 0))
    ok(d.cuGraphUpload(replay, one))
    for _ in range(3):
        ok(d.cuGraphLaunch(replay, one))
    ok(d.cuMemsetD32Async(buffer, 100, 4, one))
    ok(d.cuGraphLaunch(replay, one))
    ok(d.cuStreamSynchronize(one))
    assert read(buffer, 4) == [101] * 4


def test_arguments_are_those_of_the_capture(one, add):
    buffer, value = device_array([0] * 4), ctypes.c_int(3)
    address = ctypes.c_uint64(int(buffer))
    pointers = (ctypes.c_void_p * 2)(ctypes.addressof(address), ctypes.addressof(value))
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    ok(d.cuLaunchKernel(add, 1, 1, 1, 4, 1, 1, 0, one, ctypes.addressof(pointers), 0))
    value.value = 50
    replay = ok(d.cuGraphInstantiate(ok(d.cuStreamEndCapture(one)), 0))
    ok(d.cuGraphLaunch(replay, one))
    ok(d.cuStreamSynchronize(one))
    assert read(buffer, 4) == [3] * 4


def test_arguments_of_an_instance_can_be_replaced(one, add):
    first, second = device_array([0] * 4), device_array([0] * 4)
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    ok(launch(add, first, 1, stream=one))
    graph = ok(d.cuStreamEndCapture(one))
    replay = ok(d.cuGraphInstantiate(graph, 0))
    (node,), _ = ok(d.cuGraphGetNodes(graph, 1))
    ok(d.cuGraphLaunch(replay, one))
    values, kinds = arguments(second, 9)
    held = [kind(value) for value, kind in zip(values, kinds, strict=True)]
    pointers = (ctypes.c_void_p * 2)(*map(ctypes.addressof, held))
    given = d.CUDA_KERNEL_NODE_PARAMS()
    given.func = add
    given.gridDimX = given.gridDimY = given.gridDimZ = given.blockDimY = given.blockDimZ = 1
    given.blockDimX = 4
    given.kernelParams = ctypes.addressof(pointers)
    ok(d.cuGraphExecKernelNodeSetParams(replay, node, given))
    ok(d.cuGraphLaunch(replay, one))
    ok(d.cuStreamSynchronize(one))
    assert (read(first, 4), read(second, 4)) == ([1] * 4, [9] * 4)


def forked(one, *, joins):
    """Capture ``left += 1`` beside ``right += 2``, then ``left = right`` behind both; return the buffers."""
    add, copy = function("add"), function("copy")
    other, fork, join = ok(d.cuStreamCreate(1)), ok(d.cuEventCreate(2)), ok(d.cuEventCreate(2))
    left, right = device_array([0] * 4), device_array([0] * 4)
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    ok(d.cuEventRecord(fork, one))
    ok(d.cuStreamWaitEvent(other, fork, 0))
    ok(launch(add, left, 1, stream=one))
    ok(launch(add, right, 2, stream=other))
    ok(d.cuEventRecord(join, other))
    if joins:
        ok(d.cuStreamWaitEvent(one, join, 0))
        ok(launch(copy, left, right, stream=one))
    return left, right


def test_streams_fork_and_join(one):
    left, _ = forked(one, joins=True)
    graph = ok(d.cuStreamEndCapture(one))
    assert node_count(graph) == 3
    replay = ok(d.cuGraphInstantiate(graph, 0))
    ok(d.cuGraphLaunch(replay, one))
    ok(d.cuStreamSynchronize(one))
    assert read(left, 4) == [2] * 4


def test_a_stream_that_was_not_joined(one):
    forked(one, joins=False)
    assert code(d.cuStreamEndCapture(one)) == 904


@pytest.mark.parametrize(
    "illegal",
    [
        d.cuStreamSynchronize,
        d.cuStreamQuery,
        lambda one: d.cuCtxSynchronize(),
        lambda one: d.cuMemAlloc(16),
        lambda one: d.cuMemHostAlloc(16, 0),
        lambda one: d.cuMemcpyHtoD(SCRATCH["buffer"], np.zeros(4, np.int32).ctypes.data, 16),
    ],
)
def test_what_is_illegal_while_capturing_loses_the_capture(one, add, illegal):
    SCRATCH["buffer"] = buffer = device_array([0] * 4)
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    assert code(illegal(one)) == UNSUPPORTED
    assert ok(d.cuStreamIsCapturing(one)).name.endswith("INVALIDATED")
    assert code(launch(add, buffer, 1, stream=one)) == INVALIDATED
    error, graph = d.cuStreamEndCapture(one)
    assert int(error) == INVALIDATED
    assert graph is None or int(graph) == 0
    ok(launch(add, buffer, 1, stream=one))  # the stream is usable again


SCRATCH: dict = {}


def test_a_relaxed_capture_permits_allocations(one, add):
    ok(d.cuStreamBeginCapture(one, RELAXED))
    buffer = ok(d.cuMemAlloc(16))
    ok(d.cuMemsetD32Async(buffer, 1, 4, one))
    assert node_count(ok(d.cuStreamEndCapture(one))) == 1


@pytest.mark.parametrize(("flags", "expected"), [(0, 906), (1, 0)])
def test_the_legacy_stream_must_not_depend_on_a_captured_one(flags, expected):
    captured, buffer = ok(d.cuStreamCreate(flags)), device_array([0] * 4)
    ok(d.cuStreamBeginCapture(captured, RELAXED))
    assert code(d.cuMemsetD32Async(buffer, 1, 4, 0)) == expected
    assert code(d.cuStreamEndCapture(captured)) == (INVALIDATED if expected else 0)


def test_captured_events_and_streams_are_used_wrongly(one):
    event, other, late = ok(d.cuEventCreate(0)), ok(d.cuStreamCreate(1)), ok(d.cuEventCreate(0))
    assert code(d.cuStreamBeginCapture(0, GLOBAL)) == UNSUPPORTED
    assert code(d.cuStreamEndCapture(one)) == 401
    ok(d.cuEventRecord(late, other))
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    ok(d.cuEventRecord(event, one))
    assert code(d.cuEventSynchronize(event)) == 907
    assert code(d.cuStreamEndCapture(one)) == INVALIDATED
    ok(d.cuMemsetD32Async(device_array([0]), 1, 1, other))
    ok(d.cuEventRecord(late, other))
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    assert code(d.cuStreamWaitEvent(one, late, 0)) == 905  # work that is not captured
    assert code(d.cuStreamEndCapture(one)) == INVALIDATED
    ok(d.cuStreamBeginCapture(one, GLOBAL))
    ok(d.cuEventRecord(event, one))
    ok(d.cuStreamWaitEvent(other, event, 0))
    assert code(d.cuStreamEndCapture(other)) == 903
    assert code(d.cuStreamEndCapture(one)) == INVALIDATED
