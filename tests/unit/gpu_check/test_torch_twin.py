"""The network in PyTorch that ours is timed against computes the same scores."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check.networks import example, lowered
from tests.cuda_programs import inputs_of

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", ["digits", "mnist_convnet", "cifar10_convnet"])
def test_twin_has_the_reference_scores(name):
    from benchmarks.gpu_check.torch_networks import SETS, verdict
    from benchmarks.gpu_check.torch_twin import Twin

    ((_, images),) = inputs_of(example(name), 3, seed=SETS - 1).items()
    with torch.inference_mode():
        found = Twin(lowered(name), torch.float32).eval()(torch.from_numpy(images)).numpy()
    assert verdict(name, 3, found) == "ok"
    found[0] += 1
    assert verdict(name, 3, found) == "rounded sums: 2 of 3 images have the right scores"
