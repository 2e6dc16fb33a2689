"""The kernels by warpgroups, executed by the emulator, equal the reference, however taps are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnncc.emulator import Schedule
from bnncc.ir.kernel import KernelProgram, LaneOrder, XnorLayer
from bnncc.ir.reference.program import run_program
from bnncc.ir.window import Window
from bnncc.passes.pipeline import lower_network
from bnncc.runtime.emulated import EmulatedExecutable
from bnncc.targets.cuda import wgmma_sizes
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.cuda.wgmma_tile import DenseTile
from bnncc.targets.lowering import lower_for, planned
from tests.codegen.cuda.layer_groups import POOL2, SAME3, square
from tests.corpus import CORPUS
from tests.cuda_programs import PLANES, ROWS, Bits, Store, inputs_of

ARCH = "sm_90a"
TIERS = (Tier.WGMMA, Tier.WGMMA_REGISTERS)
SCHEDULES = (Schedule.ascending(), Schedule.descending(), Schedule.random(5), Schedule.random(6))


@pytest.fixture(autouse=True)
def few_blocks(monkeypatch):
    """A device of three multiprocessors: blocks make several tiles, buffers go round more than once."""
    device = replace(wgmma_sizes._DEVICE, multiprocessors=3)
    monkeypatch.setattr(wgmma_sizes, "_DEVICE", device)


def load(b: Bits, tier: Tier = Tier.WGMMA) -> tuple[EmulatedExecutable, KernelProgram]:
    target = CudaTarget(tier=tier)
    program = planned(b.program().graph, target)
    return EmulatedExecutable.load(target.emit(program), program.blob(), arch=ARCH), program


def assert_equals_reference(executable: EmulatedExecutable, program: KernelProgram, images: int) -> None:
    inputs = inputs_of(program, images, seed=images)
    expected = run_program(program, inputs)
    for name, array in executable.run(inputs).items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def dense_layers() -> Bits:
    """Odd and even numbers of vectors, outputs that fill no tile, every store."""
    b = Bits("warpgroup_dense")
    odd, even = b.packed(1190, layout=ROWS, name="odd"), b.packed(1024, layout=ROWS, name="even")
    b.output(b.layer(odd, 161, None, Store(layout=ROWS, has_flips=True)), "rows")
    b.output(b.layer(even, 300, None, Store(has_flips=True, has_flips_after_pool=True)), "planes")
    b.output(b.layer(odd, 37, None, Store(kind="scores")), "scores")
    return b.output(b.layer(even, 70, None, Store(kind="sums", multiply=-2, has_table=False)), "sums")


def convolutions() -> Bits:
    """Borders, flips on both sides of a pool, tails of channels, one plane and several, both layouts."""
    b = Bits("warpgroup_conv")
    one, three = b.packed(128, 11, 9, name="one"), b.packed(300, 9, 10, name="three")
    both = {"has_border": True, "has_flips": True, "has_flips_after_pool": True}
    b.output(b.layer(one, 64, SAME3, Store(**both)), "plain")
    b.output(b.layer(three, 130, SAME3, Store(**both, pool=POOL2, spread=40)), "pooled")
    store = Store(has_flips_after_pool=True, pool=POOL2, spread=40, layout=ROWS)
    b.output(b.layer(three, 40, square(5), store), "inner")
    rows = b.packed(20, 17, 6, name="rows", layout=ROWS)
    return b.output(b.layer(rows, 257, square(3, padding=2, dilation=2), Store(has_border=True)), "dilated")


def odd_windows() -> Bits:
    b = Bits("warpgroup_windows")
    x = b.packed(33, 9, 8)
    windows = {
        "k1": square(1),
        "k3_stride2": square(3, stride=2, padding=1),
        "k7": square(7, padding=3),
        "lopsided": Window(kernel=(2, 5), stride=(2, 1), padding=(1, 0, 0, 3), dilation=(3, 1)),
    }
    for name, window in windows.items():
        b.output(b.layer(x, 33, window, Store(has_border=True)), name)
    return b


def test_dense():
    executable, program = load(dense_layers())
    assert {launch.tier for launch in CudaTarget(tier=Tier.WGMMA).emit(program).launches} == {"", "wgmma"}
    for schedule, images in zip(SCHEDULES, (9, 1, 64, 7), strict=True):
        assert_equals_reference(executable.with_schedule(schedule), program, images)
    executable.close()


@pytest.mark.parametrize("make", [convolutions, odd_windows], ids=lambda make: make.__name__)
@pytest.mark.parametrize("tier", TIERS)
def test_convolutions(make, tier):
    executable, program = load(make(), tier)
    launches = CudaTarget(tier=tier).emit(program).launches
    assert {launch.tier for launch in launches} == {"", "wgmma"}
    for schedule, images in zip(SCHEDULES, (2, 1, 7, 3), strict=True):
        assert_equals_reference(executable.with_schedule(schedule), program, images)
    executable.close()


@pytest.mark.parametrize(
    "tile",
    [
        DenseTile(consumers=2, columns=256, stages=2),
        DenseTile(consumers=3, columns=128, step=4, stages=2),
        DenseTile(consumers=1, columns=64, step=2, stages=3),
    ],
    ids=lambda tile: f"{tile.rows}x{tile.columns}",
)
def test_every_dense_tile(tile, monkeypatch):
    monkeypatch.setattr(wgmma_sizes, "DENSE_TILES", (tile,))
    b = Bits("warpgroup_tile")
    x = b.packed(1190, layout=ROWS)
    executable, program = load(b.output(b.layer(x, 370, None, Store(layout=ROWS, has_flips=True))))
    for schedule in SCHEDULES[2:]:
        assert_equals_reference(executable.with_schedule(schedule), program, 61)
    executable.close()


PADDED = [graph for graph in CORPUS if graph.name.startswith(("conv_pad0", "conv_pad1", "conv_padm1"))]
OTHERS = [graph for graph in CORPUS if graph not in PADDED]


@pytest.mark.parametrize(
    "graph",
    [
        *(*PADDED[:4], *OTHERS[:1]),
        *(pytest.param(graph, marks=pytest.mark.slow) for graph in (*PADDED[4:], *OTHERS[1:])),
    ],
    ids=lambda graph: graph.name,
)
def test_corpus(graph):
    """Networks with every padding and both signs of gamma."""
    target = CudaTarget(tier=Tier.WGMMA)
    program = lower_for(lower_network(graph), target).program
    executable = EmulatedExecutable.load(target.emit(program), program.blob(), arch=ARCH)
    assert_equals_reference(executable.with_schedule(Schedule.random(11)), program, 9)
    executable.close()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_random_layers(seed):
    """Shapes that nobody chose; both ways to read taps in turn."""
    rng = np.random.default_rng(seed)
    b = Bits(f"random{seed}", seed)
    x = b.packed(int(rng.integers(1, 400)), *map(int, rng.integers(1, 20, 2)))
    for index in range(3):
        flags = {name: bool(rng.integers(2)) for name in ("has_flips", "has_flips_after_pool", "has_border")}
        kernel = tuple(map(int, rng.integers(1, 4, 2)))
        window = Window(kernel=kernel, padding=(2, 2, 2, 2), stride=(1, int(rng.integers(1, 3))))
        size = window.output_size(*x.type.spatial)
        pool = POOL2 if min(size) > 1 and rng.integers(2) else None
        layout = PLANES if rng.integers(2) else ROWS
        store = Store(layout=layout, pool=pool, spread=30, **flags)
        b.output(b.layer(x, int(rng.integers(1, 300)), window, store), f"conv{index}")
    rows = b.packed(int(rng.integers(1, 3000)), layout=ROWS, name="rows")
    b.output(b.layer(rows, int(rng.integers(1, 600)), None, Store(layout=ROWS)), "dense")
    executable, program = load(b, TIERS[seed % 2])
    for schedule, images in zip(SCHEDULES, rng.integers(1, 12, 4), strict=True):
        assert_equals_reference(executable.with_schedule(schedule), program, int(images))
    executable.close()


def test_what_they_cannot_take_goes_to_another_tier():
    b = Bits("refused")
    x = b.packed(130, 8, 8)
    b.output(b.layer(x, 64, SAME3, Store(kind="sums")), "numbers")
    b.output(b.layer(x, 64, SAME3, Store(pool=square(3, stride=2))), "pool")
    b.output(b.layer(b.packed(64, name="planes"), 64, None, Store()), "planes")
    target = CudaTarget(tier=Tier.WGMMA)
    artifact = target.emit(planned(b.program().graph, target))
    reasons = {
        name: next(use.reason for use in uses if use.tier == Tier.WGMMA) for name, uses in artifact.tier_uses
    }
    assert reasons == {
        "conv1": "it stores numbers",
        "conv2": "its pool is not 2x2 in steps of 2",
        "dense1": "its input does not lie in tiles of 8 images",
    }


def test_tiers_read_what_the_others_wrote():
    """Signs lie in the natural order whoever stores them: only the weights of a layer are in another."""
    b = Bits("mixed")
    x = b.layer(b.packed(128, 8, 8), 128, SAME3, Store(pool=POOL2))
    x = b.layer(x, 128, SAME3, Store(pool=square(3, stride=1), layout=ROWS))
    b.output(b.layer(x, 96, None, Store(kind="scores")), "scores")
    executable, program = load(b)
    layers = [node for node in program.graph.nodes if isinstance(node, XnorLayer)]
    orders = [None if node.tiles is None else node.tiles.packing.order for node in layers]
    assert orders == [LaneOrder.FRAGMENT, None, LaneOrder.FRAGMENT]
    assert_equals_reference(executable, program, 5)
    executable.close()


def test_wrong_order_is_seen():
    """Weights of tiles in the natural order give other results."""
    b = Bits("order")
    x = b.packed(256, layout=ROWS)
    target = CudaTarget(tier=Tier.WGMMA)
    program = planned(b.output(b.layer(x, 64, None, Store(layout=ROWS))).program().graph, target)
    (node,) = (node for node in program.graph.nodes if isinstance(node, XnorLayer))
    assert node.tiles is not None
    place = program.slice(node.tiles.weight)
    blob = bytearray(program.blob())
    tiles = np.frombuffer(blob, np.uint32, place.size_bytes // 4, place.offset_bytes)
    words = tiles.reshape(node.tiles.weight.type.shape)
    words[:, :, [0, 2]] = words[:, :, [2, 0]]
    executable = EmulatedExecutable.load(target.emit(program), bytes(blob), arch=ARCH)
    with pytest.raises(AssertionError):
        assert_equals_reference(executable, program, 9)
    executable.close()


def test_auto_uses_them_where_they_are():
    b = Bits("large")
    x = b.layer(b.packed(256, 16, 16), 256, SAME3, Store(has_border=True))
    target = CudaTarget()
    program = planned(b.output(x).program().graph, target)
    (uses,) = (uses for _, uses in target.emit(program).tier_uses)
    chosen = {use.arch for use in uses if use.tier == Tier.WGMMA and use.from_images is not None}
    assert chosen == {ARCH}
