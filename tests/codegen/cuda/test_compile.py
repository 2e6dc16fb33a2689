"""Generated source compiles for every architecture without a warning, a spill or local memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnncc.frontend.load import load_network
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.pipeline import lower_network
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import lower_for
from bnncc.toolchain.cuda_compiler import ARCHITECTURES
from bnncc.toolchain.nvcc import find_nvcc
from bnncc.toolchain.nvrtc import find_nvrtc
from bnncc.weights import random_weights
from tests.codegen.cuda.layer_groups import (
    BINARY_GROUPS,
    GROUPS,
    conv_pools,
    conv_stores,
    dense_stores,
    integer_conv,
    plain_values,
)

EXAMPLES = Path(__file__).parents[3] / "examples"


def compilers():
    found = [find() for find in (find_nvcc, find_nvrtc)]
    return [compiler for compiler in found if compiler is not None]


@pytest.fixture(scope="module", params=["nvcc", "nvrtc"])
def compiler(request):
    found = [item for item in compilers() if item.name == request.param]
    if not found:
        pytest.skip(f"no {request.param} on this machine")
    return found[0]


def assert_nothing_in_local_memory(image):
    assert image.reports
    for report in image.reports:
        assert report.stack_bytes == report.spill_store_bytes == report.spill_load_bytes == 0, report


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("make", [conv_stores, integer_conv, plain_values], ids=lambda make: make.__name__)
def test_architectures(compiler, arch, make):
    artifact = CudaTarget(fuse=Fuse.LAYER).emit(make())
    image = compiler.compile(artifact.source.text, arch, "cubin")
    compiled = [item for item in artifact.all_launches if is_on(item, arch)]
    assert {report.kernel for report in image.reports} == {launch.kernel for launch in compiled}


def is_on(launch, arch):
    """Return whether the kernel of ``launch`` is compiled for ``arch``."""
    return launch.tier not in tuple(Tier) or Tier(launch.tier).runs_on(DEVICES[arch])


@pytest.mark.parametrize(
    ("make", "tier"),
    [*((make, Tier.POPC) for make in GROUPS), *((make, Tier.BMMA) for make in BINARY_GROUPS)],
    ids=lambda item: item.value if isinstance(item, Tier) else item.__name__,
)
def test_shared_memory_is_what_the_launch_says(make, tier):
    artifact = CudaTarget(tier=tier, fuse=Fuse.LAYER).emit(make())
    (first, *_) = reversed(compilers()) or pytest.skip("no CUDA compiler")
    reports = {
        report.kernel: report for report in first.compile(artifact.source.text, "sm_80", "cubin").reports
    }
    for launch in artifact.launches:
        report = reports[launch.kernel]
        assert 0 <= report.shared_bytes - launch.geometry.shared_bytes < 16, "but for alignment"
        assert report.registers * launch.geometry.threads <= 65536


@pytest.mark.parametrize("name", ["cifar10_convnet", "mnist_convnet", "mnist_mlp", "digits"])
def test_examples_stay_in_registers(name):
    graph = load_network(EXAMPLES / f"{name}.bnn").graph
    bound = BindWeights(weights=random_weights(graph, 0).arrays).run(graph)
    artifact = CudaTarget().emit(lower_for(lower_network(bound), CudaTarget()).program)
    (first, *_) = reversed(compilers()) or pytest.skip("no CUDA compiler")
    for arch in ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_120"):
        assert_nothing_in_local_memory(first.compile(artifact.source.text, arch, "cubin"))


def test_layers_stay_in_registers(compiler):
    for make in (dense_stores, conv_pools):
        source = CudaTarget(tier=Tier.AUTO).emit(make()).source.text
        assert_nothing_in_local_memory(compiler.compile(source, "sm_90a", "cubin"))
