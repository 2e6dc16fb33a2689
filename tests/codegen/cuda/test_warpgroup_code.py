"""The machine code of the kernels by warpgroups, and that kernels of every tier move what they must."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check.networks import example
from bnncc.diagnostics import PlatformError
from bnncc.ir.kernel import IntegerLayer, XnorLayer
from bnncc.ir.types import Elem
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.cuda.wgmma_tile import DENSE_TILES, MAX_SHARED_BYTES
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.sass import disassemble

REGISTERS = 65536
"""Of a multiprocessor."""


def emitted(name, tier):
    target = CudaTarget(tier=tier)
    program = example(name, target)
    return program, target.emit(program)


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("cifar10_convnet", Tier.WGMMA),
        ("cifar10_convnet", Tier.WGMMA_REGISTERS),
        ("mnist_mlp", Tier.WGMMA),
    ],
)
def test_instructions(name, tier):
    _, artifact = emitted(name, tier)
    launches = {launch.kernel: launch for launch in artifact.launches if launch.tier == "wgmma"}
    assert launches
    try:
        compiler = find_cuda_compiler("nvrtc")
        image = compile_cuda(compiler, artifact.source.text, "sm_90a", "cubin", cache=BuildCache.default())
        codes = {code.kernel: code for code in disassemble(image.data)}
    except PlatformError as error:
        pytest.skip(str(error))
    reports = {report.kernel: report for report in image.reports}
    for kernel, launch in launches.items():
        code, report, threads = codes[kernel], reports[kernel], launch.geometry.threads
        matrix = {item for item in code.instructions if "MMA" in item}
        assert len(matrix) == 2, "the products, and the ones of their rows"
        assert "BGMMA.64x8x256.AND.POPC" in matrix
        assert all(item.startswith("BGMMA.64x") and item.endswith("x256.AND.POPC") for item in matrix)
        assert report.stack_bytes == report.spill_store_bytes == report.spill_load_bytes == 0
        assert code.count("LDL") == code.count("STL") == code.count("POPC") == 0
        assert code.callees == ()
        assert code.count("UBLKCP") > 0, "bulk copies"
        has_loads = code.count("LDSM") > 0
        assert has_loads == (tier is Tier.WGMMA_REGISTERS and "conv" in kernel.split("convnet_")[-1])
        # What setmaxnreg moves about is what the launch was given.
        consumers = threads // 128 - 1
        given, kept = report.registers * threads, 40 * 128 + 232 * 128 * consumers
        assert kept <= given <= REGISTERS
        assert launch.geometry.dynamic_shared_bytes <= MAX_SHARED_BYTES
        assert report.shared_bytes == 0


def test_elsewhere_there_are_none():
    _, artifact = emitted("digits", Tier.AUTO)
    compiler = find_cuda_compiler("nvrtc")
    for arch in ("sm_80", "sm_90"):
        image = compiler.compile(artifact.source.text, arch, "cubin")
        assert not [report.kernel for report in image.reports if report.kernel.endswith("_wgmma")]


@pytest.mark.parametrize("name", ["cifar10_convnet", "mnist_mlp"])
def test_a_first_layer_moves_the_floor(name):
    """Bytes in, packed signs out, one bit a weight; 32 inputs and 32 outputs are units."""
    program, artifact = emitted(name, Tier.AUTO)
    node = program.graph.nodes[0]
    assert isinstance(node, IntegerLayer)
    traffic, x, y = artifact.launches[0].traffic, node.x.type, node.result.type
    assert traffic.read_bytes_per_image == x.count
    assert traffic.written_bytes_per_image == -(-y.channels // 128) * 16 * y.spatial[0] * y.spatial[1]
    assert program.slice(node.weight).size_bytes == -(-node.outputs // 32) * 32 * -(-node.fan_in // 32) * 4


def test_one_image_of_the_mlp_moves_its_bits_once():
    """784 * 4096 + 2 * 4096 * 4096 + 4096 * 10 signs, and 3 * 4096 limits."""
    _, artifact = emitted("mnist_mlp", Tier.POPC)
    bits = 784 * 4096 + 2 * 4096 * 4096 + 4096 * 10
    moved = sum(launch.traffic.constant_bytes for launch in artifact.launches)
    assert bits // 8 + 3 * 4096 * 4 <= moved <= 1.01 * (bits // 8 + 3 * 4096 * 4)


@pytest.mark.parametrize("tile", DENSE_TILES, ids=lambda tile: f"{tile.rows}x{tile.columns}")
def test_registers_of_a_block(tile):
    total = tile.producer_registers * 128 + tile.consumer_registers * 128 * tile.consumers
    assert total <= REGISTERS
    assert tile.shared_bytes <= MAX_SHARED_BYTES


@pytest.mark.parametrize("tier", [Tier.POPC, Tier.BMMA, Tier.WGMMA])
@pytest.mark.parametrize("name", ["cifar10_convnet", "mnist_mlp"])
def test_bytes_moved_are_the_floor(name, tier):
    """Packed activations in and out, weights and tables once: no sum ever reaches memory."""
    program, artifact = emitted(name, tier)
    launches = {launch.node: launch for launch in artifact.launches}
    binary = [node for node in program.graph.nodes if isinstance(node, XnorLayer)]
    for node in binary:
        traffic, x, y = launches[node.result.name].traffic, node.x.type, node.result.type
        assert traffic.read_bytes_per_image == -(-x.channels // 128) * 16 * x.spatial[0] * x.spatial[1]
        if y.elem is Elem.SIGN:
            assert traffic.written_bytes_per_image == -(-y.channels // 128) * 16 * y.spatial[0] * y.spatial[1]
        weights = node.weight if launches[node.result.name].tier != "wgmma" else node.tiles.weight
        weight_bytes = program.slice(weights).size_bytes
        # Outputs are rounded up to a tile, vectors of a sum to two.
        lanes = node.packing.lanes if weights is node.weight else node.tiles.packing.lanes
        vectors = -(-x.channels // 128) * node.window.taps
        assert weight_bytes <= (node.outputs + lanes - 1) // lanes * lanes * (vectors + 1) * 16
        tables = traffic.constant_bytes - weight_bytes
        classes = node.store.border.classes if node.store.border else 1
        assert 0 <= tables <= (classes + 1) * 4 * (node.outputs + 127)
