"""Launches of the CUDA runtime on the fake driver: batches, graphs, cooperative grids, times."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.diagnostics import PlatformError
from bnncc.runtime.cuda import KernelCall, graphs, staging
from bnncc.targets.cuda.fuse import Fuse
from tests.fake_driver.runtime_networks import (
    WithDlpack,
    WithInterface,
    expected,
    images,
    load_small,
    scores,
    small_program,
)

pytest_plugins = ["tests.fake_driver.runtime_fixtures"]


# ---- batches of the host ----


@pytest.mark.parametrize("count", [0, 1, 16, 17, 33, 100])
@pytest.mark.parametrize("at_once", [None, 1, 7, 16])
def test_sub_batches_and_parts_change_nothing(session, monkeypatch, count, at_once):
    monkeypatch.setattr(staging, "PART_BYTES", 16 * 160)
    network = load_small(session, at_once=at_once, poison=0xA5)
    array = images(count)
    np.testing.assert_array_equal(network.run({"image": array})["scores"], expected(array))
    network.close()


def test_copies_and_kernels_take_two_streams(session, network, fake, monkeypatch):
    monkeypatch.setattr(staging, "PART_BYTES", 16 * 160)
    before = fake.alive("streams")
    array = images(100)
    np.testing.assert_array_equal(network.run({"image": array})["scores"], expected(array))
    assert fake.alive("streams") == before + 2
    assert fake.alive("host_allocations") == 2 * 2


# ---- graphs ----


def test_a_run_that_comes_again_is_a_graph(session, network, fake):
    assert network.has_graphs
    array = images(9)
    for _ in range(4):
        np.testing.assert_array_equal(network.run({"image": array})["scores"], expected(array))
    assert fake.alive("graph_execs") == 1
    launches = fake.called("cuLaunchKernel")
    replays = fake.called("cuGraphLaunch")
    changed = images(9, seed=3)
    np.testing.assert_array_equal(network.run({"image": changed})["scores"], expected(changed))
    assert fake.called("cuLaunchKernel") == launches
    assert fake.called("cuGraphLaunch") == replays + 1
    bigger = images(40)  # a larger workspace: what was captured is not valid any more
    for _ in range(3):
        np.testing.assert_array_equal(network.run({"image": bigger})["scores"], expected(bigger))
        np.testing.assert_array_equal(network.run({"image": array})["scores"], expected(array))


def test_graphs_of_device_arrays_run_on_the_callers_stream(session, fake, stream):
    network = load_small(session, at_once=16)
    array, out = WithDlpack(session, images(40)), WithInterface(session, np.zeros((40, 10), np.float32))
    for _ in range(3):
        scores(network, array, stream=stream, out={"scores": out})
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), expected(array.array))
    assert fake.alive("graph_execs") == 1
    array.close()
    out.close()
    network.close()


def test_graphs_go_with_their_workspace(session, network, stream):
    few, many = WithDlpack(session, images(5)), WithDlpack(session, images(50))
    out = WithInterface(session, np.zeros((5, 10), np.float32))
    for array in (few, few, many, few):
        given = {"scores": out} if array is few else None
        result = scores(network, array, stream=stream, out=given)
        np.testing.assert_array_equal(np.asarray(result.numpy()), expected(array.array))
    for item in (few, many, out):
        item.close()


def test_graphs_can_be_switched_off(session, fake):
    network = load_small(session, graph=False)
    before = fake.called("cuGraphLaunch")
    for _ in range(3):
        np.testing.assert_array_equal(network.run({"image": images(3)})["scores"], expected(images(3)))
    assert not network.has_graphs
    assert fake.called("cuGraphLaunch") == before
    network.close()


def test_old_graphs_go(session, network, fake, monkeypatch):
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 2)
    network.run({"image": images(20)})
    for count in (1, 2, 3, 4):
        for _ in range(2):
            network.run({"image": images(count)})
    assert fake.alive("graph_execs") <= 2


@pytest.mark.parametrize("at_once", [None, 2])
def test_device_times(session, at_once):
    network = load_small(session, at_once=at_once)
    times = network.profile({"image": images(3)}, repeats=2)
    assert [time.node for time in times] == [node.result.name for node in small_program().graph.nodes]
    assert min(time.seconds for time in times) > 0
    assert network.time_runs({"image": images(3)}, repeats=2) > 0
    network.close()


# ---- the whole network in one launch ----


def test_a_persistent_kernel_is_launched_cooperatively(session, fake):
    network = load_small(session, fuse=Fuse.PERSISTENT)
    before = fake.called("cuLaunchKernelEx")
    array = images(5)
    for _ in range(2):
        np.testing.assert_array_equal(network.run({"image": array})["scores"], expected(array))
    assert fake.called("cuLaunchKernelEx") == before + 2
    network.close()


def test_a_grid_that_is_too_large_is_explained(session, network):
    code = network._network._code
    kernel = next(iter(code._parameters))
    arguments = tuple(0 for _ in code._parameters[kernel])
    call = KernelCall(
        kernel=kernel,
        origin="small.bnn:1:1",
        grid=(1 << 20, 1, 1),
        block=(256, 1, 1),
        arguments=arguments,
        cooperative=True,
    )
    lane_stream = network._network.lanes
    with (
        pytest.raises(PlatformError, match=r"cooperative grid .1048576.*larger device"),
        session.active("testing"),
        lane_stream.taken() as lane,
    ):
        code.launch(call, lane.own)
