"""The CUDA runtime on PyCUDA, cuda-bindings and the fake driver; `test_runtime_on_device` starts these."""

from __future__ import annotations

import ctypes
import gc
import threading

import numpy as np
import pytest

from bnncc.diagnostics import DataError, PlatformError
from bnncc.runtime import dlpack
from bnncc.runtime.cuda import context, lanes
from bnncc.targets.cuda.fuse import Fuse
from tests.fake_driver.runtime_networks import (
    KINDS,
    ForeignStream,
    WithDlpack,
    WithInterface,
    expected,
    images,
    load_small,
    open_session,
    scores,
)

pytest_plugins = ["tests.fake_driver.runtime_fixtures"]


# ---- arrays of other libraries ----


@pytest.mark.parametrize("kind", [WithInterface, WithDlpack])
def test_arrays_are_read_in_place_after_what_their_library_still_does(session, network, stream, kind, fake):
    theirs = ForeignStream(session)
    array = kind(session, images(5), theirs)
    copies = fake.called("cuMemcpyHtoD") + fake.called("cuMemcpyHtoDAsync")
    launched = fake.calls.get("launch", 0)
    result = scores(network, array, stream=stream)
    assert fake.calls.get("launch", 0) == launched, "nobody has waited yet"
    assert fake.called("cuMemcpyHtoD") + fake.called("cuMemcpyHtoDAsync") == copies
    np.testing.assert_array_equal(result.numpy(), expected(array.array))
    assert result.device == 0
    assert (len(result), result.dtype) == (5, np.float32)
    array.close()
    theirs.close()


def test_a_dlpack_array_is_asked_for_on_the_callers_stream(session, network, stream):
    array = WithDlpack(session, images(2))
    scores(network, array, stream=stream)
    assert array.asked == stream.cuda_stream
    scores(network, array)
    assert array.asked == 1, "the default stream has the number 1 in DLPack"
    array.close()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"typestr": "<f4"}, "dtype float32; it should be int8"),
        ({"strides": (1, 2, 3, 4)}, "contiguous"),
        ({"shape": (5, 3)}, "shape"),
        ({"mask": 1}, "mask"),
    ],
)
def test_arrays_that_do_not_fit(session, network, changes, word):
    array = WithInterface(session, images(5), **changes)
    with pytest.raises(DataError, match=word):
        scores(network, array)
    array.close()


def test_arrays_elsewhere(session, network):
    array = WithDlpack(session, images(2), device=(dlpack.CUDA, 3))
    with pytest.raises(DataError, match=r"device 3.*device 0.*device=3"):
        scores(network, array)
    for other in (images(2), [[1]]):
        with pytest.raises(DataError, match=r"host|not on the device"):
            scores(network, other)
    array.close()


def test_our_arrays_are_read_by_others(session, network, stream):
    array = WithDlpack(session, images(6))
    result = scores(network, array, stream=stream)
    interface = result.__cuda_array_interface__
    assert interface["stream"] == stream.cuda_stream
    assert interface["version"] == 3
    assert result.__dlpack_device__() == (dlpack.CUDA, 0)
    read = dlpack.import_capsule(result.__dlpack__(stream=1))
    assert (read.address, read.shape) == (interface["data"][0], (6, 10))
    np.testing.assert_array_equal(np.asarray(result), expected(array.array))
    with pytest.raises(BufferError, match="copy"):
        result.__dlpack__(copy=True)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(result, copy=False)
    array.close()


def test_outputs_of_the_caller(session, network, stream):
    array, out = WithDlpack(session, images(4)), WithInterface(session, np.zeros((4, 10), np.float32))
    assert scores(network, array, stream=stream, out={"scores": out}) is out
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), expected(array.array))
    for bad, word in (
        ({"scores": WithInterface(session, np.zeros((3, 10), np.float32))}, r"\(4, 10\)"),
        ({"scores": WithInterface(session, np.zeros((4, 10), np.int8))}, "dtype"),
        ({"score": out}, "makes the outputs scores; not 'score'"),
    ):
        with pytest.raises(DataError, match=word):
            scores(network, array, out=bad)
        if "scores" in bad:
            bad["scores"].close()
    read_only = WithInterface(session, out.array, data=(int(out.memory), True))
    with pytest.raises(DataError, match="read-only"):
        scores(network, array, out={"scores": read_only})
    for item in (array, out, read_only):
        item.close()


def test_memory_of_results_is_used_again_on_the_same_stream_only(session, network, stream, fake):
    array = WithDlpack(session, images(3))
    first = scores(network, array, stream=stream)
    address = first.__dlpack__(stream=stream.cuda_stream) and first._storage.address
    del first
    gc.collect()
    second = scores(network, array, stream=stream)
    assert second._storage.address == address
    assert second.__cuda_array_interface__["data"][0] == address
    freed = fake.called("cuMemFree")
    del second
    gc.collect()
    assert fake.called("cuMemFree") == freed + 1, "others may still use it: it is not for the next result"
    third = scores(network, array)
    assert third._storage.stream.handle == 1
    del third
    array.close()


def test_a_result_outlives_its_network_and_its_session(fake):
    session = open_session(fake)
    network = load_small(session)
    array = WithDlpack(session, images(2))
    result = scores(network, array)
    want = expected(array.array)
    array.close()
    network.close()
    session.close()
    assert fake.alive("contexts") == 1
    np.testing.assert_array_equal(result.numpy(), want)
    del result
    gc.collect()
    assert fake.alive("contexts") == 0


# ---- streams ----


class Protocol:
    def __init__(self, handle):
        self.handle_now = handle

    def __cuda_stream__(self):
        return (0, self.handle_now)


class Numba:
    def __init__(self, handle):
        self.handle = ctypes.c_void_p(handle)


class Cupy:
    def __init__(self, handle):
        self.ptr = handle


@pytest.mark.parametrize("wrap", [int, Protocol, Numba, Cupy])
def test_streams_of_every_library(session, network, stream, wrap):
    array = WithDlpack(session, images(2))
    result = scores(network, array, stream=wrap(stream.cuda_stream))
    assert array.asked == stream.cuda_stream
    np.testing.assert_array_equal(result.numpy(), expected(array.array))
    assert scores(network, array, stream=wrap(0)).__cuda_array_interface__["stream"] == 1
    array.close()


@pytest.mark.parametrize("item", ["7", 1.5, None.__class__, True])
def test_what_is_no_stream(session, network, item):
    array = WithDlpack(session, images(2))
    with pytest.raises(DataError, match="no CUDA stream"):
        scores(network, array, stream=item)
    array.close()


def test_runs_on_different_streams_share_a_workspace_in_order(session, network, fake, monkeypatch):
    monkeypatch.setattr(lanes, "_MOST_LANES", 1)
    waits = fake.called("cuStreamWaitEvent")
    streams = [ForeignStream(session) for _ in range(3)]
    arrays = [WithDlpack(session, images(9, seed=seed)) for seed in range(6)]
    results = [scores(network, array, stream=streams[index % 3]) for index, array in enumerate(arrays)]
    assert fake.called("cuStreamWaitEvent") == waits + len(arrays)
    assert network._network.lanes._made == 1
    for array, result in reversed(list(zip(arrays, results, strict=True))):
        np.testing.assert_array_equal(result.numpy(), expected(array.array))
    for item in (*arrays, *streams):
        item.close()


# ---- threads, sessions, devices ----


def test_threads_share_a_network(session, network):
    arrays = [images(count, seed=count) for count in (1, 5, 8, 17, 3, 9)]
    wrong: list[object] = []

    def work(array):
        for _ in range(3):
            try:
                np.testing.assert_array_equal(network.run({"image": array})["scores"], expected(array))
            except BaseException as error:  # noqa: BLE001 - shown below
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(array,)) for array in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_network_closed_by_another_thread(session, fake):
    network = load_small(session)
    network.run({"image": images(2)})
    thread = threading.Thread(target=network.close)
    thread.start()
    thread.join()
    assert fake.alive("allocations") == 0
    with pytest.raises(PlatformError, match="was closed"):
        network.run({"image": images(2)})


def test_two_devices(fake):
    with open_session(fake, "sm_80,sm_80") as first, open_session(fake, "sm_80,sm_80", 1) as second:
        networks = [load_small(first), load_small(second)]
        array = images(4)
        for network in networks:
            np.testing.assert_array_equal(network.run({"image": array})["scores"], expected(array))
        there, by_interface = WithDlpack(second, array), WithInterface(second, array)
        for other in (there, by_interface):
            with pytest.raises(DataError, match=r"lies on device 1.*device 0"):
                scores(networks[0], other)
        by_interface.close()
        with pytest.raises(DataError, match="not memory of a CUDA device, or it was freed"):
            scores(networks[0], by_interface)
        result = scores(networks[1], there)
        assert result.__dlpack_device__() == (dlpack.CUDA, 1)
        np.testing.assert_array_equal(result.numpy(), expected(array))
        del result
        there.close()
        for network in networks:
            network.close()
    assert not fake.faults
    with pytest.raises(PlatformError, match="no CUDA device 2; the driver counts 2"):
        open_session(fake, "sm_80,sm_80", 2)


def test_sessions_leave_no_context_current(fake):
    from pycuda import driver

    for _ in range(3):
        open_session(fake).close()
    assert driver.Context.get_current() is None
    assert fake.alive("contexts") == 0


def test_what_is_dropped_is_freed(fake):
    session = open_session(fake)
    network = load_small(session)
    network.run({"image": images(3)})
    del network, session
    gc.collect()
    assert {kind: fake.alive(kind) for kind in KINDS} == dict.fromkeys(KINDS, 0)


@pytest.mark.parametrize("times", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_networks_come_and_go(session, fake, times):
    before = {kind: fake.alive(kind) for kind in KINDS}
    array = images(2)
    want = expected(array)
    for index in range(times):
        network = load_small(session)
        if index % 10 == 0:
            for _ in range(3):
                np.testing.assert_array_equal(network.run({"image": array})["scores"], want)
        network.close()
        network.close()
    assert {kind: fake.alive(kind) for kind in KINDS} == before


@pytest.mark.parametrize("times", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_sessions_come_and_go(fake, times):
    for _ in range(times):
        with open_session(fake) as session:
            assert session.device.multiprocessors > 0
        session.close()
    assert fake.alive("contexts") == 0


# ---- failures ----


def test_out_of_memory_says_how_much(session, network, fake):
    network.run({"image": images(1)})
    fake.fail("cuMemAlloc=OUT_OF_MEMORY")
    with pytest.raises(
        PlatformError, match=r"'small', running 64 images: no room for .* asked for, .* free.*fewer images"
    ):
        network.run({"image": images(64)})
    fake.fail("")
    np.testing.assert_array_equal(network.run({"image": images(64)})["scores"], expected(images(64)))


def test_no_memory_for_a_result(session, network, fake):
    array = WithDlpack(session, images(3))
    fake.fail("cuMemAlloc=OUT_OF_MEMORY")
    with pytest.raises(PlatformError, match=r"running on the device: no room for"):
        scores(network, array)
    fake.fail("")
    np.testing.assert_array_equal(scores(network, array).numpy(), expected(array.array))
    array.close()


def test_a_refused_launch_names_kernel_and_layer(session, fake):
    network = load_small(session, graph=False)
    fake.fail("cuLaunchKernel=LAUNCH_OUT_OF_RESOURCES")
    with pytest.raises(
        PlatformError, match=r"kernel 'bnncc_small_\w+' \(small.bnn:\d+:\d+\) with grid .* too many resources"
    ):
        network.run({"image": images(2)})
    fake.fail("")
    np.testing.assert_array_equal(network.run({"image": images(2)})["scores"], expected(images(2)))
    network.close()


def test_a_refused_capture_leaves_the_network_usable(session, network, fake):
    network.run({"image": images(2)})
    fake.fail("cuGraphInstantiateWithFlags=OUT_OF_MEMORY")
    with pytest.raises(PlatformError, match="cuGraphInstantiate failed: out of memory"):
        network.run({"image": images(2)})
    fake.fail("")
    np.testing.assert_array_equal(network.run({"image": images(2)})["scores"], expected(images(2)))


# ---- without cuda-bindings ----


@pytest.fixture
def bare(fake, monkeypatch):
    monkeypatch.setattr(context, "find_bindings", lambda: None)
    with open_session(fake) as opened:
        yield opened
    fake.fail("")


def test_without_bindings_each_layer_is_a_launch(bare, fake):
    before = fake.called("cuGraphLaunch"), fake.called("cuLaunchKernelEx")
    network = load_small(bare, fuse=Fuse.AUTO)
    assert not network.has_graphs
    for _ in range(3):
        np.testing.assert_array_equal(network.run({"image": images(40)})["scores"], expected(images(40)))
    assert (fake.called("cuGraphLaunch"), fake.called("cuLaunchKernelEx")) == before
    network.close()


def test_without_bindings_a_persistent_kernel_is_refused(bare):
    network = load_small(bare, fuse=Fuse.PERSISTENT)
    with pytest.raises(
        PlatformError, match=r"cooperative launch needs cuda-bindings.*pip install 'bnncc\[cuda\]'"
    ):
        network.run({"image": images(2)})
    network.close()


def test_without_bindings_there_are_our_streams_and_the_default_one(bare):
    from pycuda import driver

    network = load_small(bare)
    array = WithInterface(bare, images(9), stream=None)
    with bare.active("making a stream"):
        ours = driver.Stream()
    for given in (None, ours, 0, ours):
        np.testing.assert_array_equal(scores(network, array, stream=given).numpy(), expected(array.array))
    with pytest.raises(PlatformError, match="a stream that PyCUDA did not make needs cuda-bindings"):
        scores(network, array, stream=1234)
    array.close()
    network.close()
    with bare.active("destroying a stream"):
        del ours, given
