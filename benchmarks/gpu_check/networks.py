"""The networks that are checked and timed: the examples, with random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bnncc.frontend.load import load_network
from bnncc.ir.bit import BitGraph
from bnncc.ir.kernel import KernelProgram
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.pipeline import lower_network
from bnncc.targets.cuda.target import CudaTarget
from bnncc.targets.lowering import lower_for
from bnncc.weights import random_weights

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("digits", "mnist_mlp", "mnist_convnet", "cifar10_convnet")


def example(name: str, target: CudaTarget | None = None) -> KernelProgram:
    """Return the program of an example; by default that of the tiers that the cost model chooses."""
    return lower_for(lowered(name), target or CudaTarget()).program


@cache
def lowered(name: str) -> BitGraph:
    """Return an example as fused integer layers, with the same weights as `example`."""
    graph = load_network(EXAMPLES / f"{name}.bnn").graph
    return lower_network(BindWeights(weights=random_weights(graph, 0).arrays).run(graph))
