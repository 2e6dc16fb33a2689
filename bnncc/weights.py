"""Weights of a network: read from a file, found where a run left them, or random."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from bnncc._files import read_bytes
from bnncc.codegen.manifest import WeightsInfo, WeightsOrigin
from bnncc.codegen.packed_weights import decode_weights
from bnncc.ir import nn
from bnncc.ir.graph import operands
from bnncc.ir.types import ConstRef, Elem, Value
from bnncc.runs import BEST, last_run

Array: TypeAlias = npt.NDArray[Any]

BESIDE: Final = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Parameters by name, and where they come from.

    Args:
        path: the file; None for random weights.
    """

    arrays: Mapping[str, Array]
    info: WeightsInfo
    path: Path | None = None


def find_weights(graph: nn.NnGraph, source: Path, given: Path | None) -> Weights:
    """Return the weights to compile ``graph`` with, from the first of the places that has any.

    The places: ``given`` (a file or a run folder), the last run of the network, ``model.safetensors`` beside
    ``source``, and a random generator.
    """
    if given is not None:
        return read_weights(given / BEST if given.is_dir() else given, "file")
    if (run := last_run(graph.name)) is not None:
        return read_weights(run.weights, "run")
    beside = source.parent / BESIDE
    return read_weights(beside, "beside") if beside.is_file() else random_weights(graph, 0)


def given_weights(arrays: Mapping[str, Array]) -> Weights:
    """Return weights that the caller holds in memory."""
    found = {name: np.asarray(array) for name, array in arrays.items()}
    hasher = hashlib.sha256()
    for name, array in sorted(found.items()):
        hasher.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hasher.update(np.ascontiguousarray(array).tobytes())
    return Weights(arrays=found, info=WeightsInfo(origin="file", sha256=hasher.hexdigest()))


def read_weights(path: Path, origin: WeightsOrigin) -> Weights:
    """Return the weights in the safetensors file ``path``.

    Raises:
        DataError: the file is missing or broken.
    """
    raw = read_bytes(path, "weights file")
    info = WeightsInfo(origin=origin, sha256=hashlib.sha256(raw).hexdigest())
    return Weights(arrays=decode_weights(raw, str(path)), info=info, path=path)


def random_weights(graph: nn.NnGraph, seed: int) -> Weights:
    """Return an untrained set of weights whose decisions still depend on the input.

    Normalizations are drawn around the spread that random sums have, with gammas of both signs, so that
    thresholds fall among the reachable sums.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for node in graph.nodes:
        if isinstance(node, (nn.BatchNorm, nn.ShiftBatchNorm)):
            arrays |= _random_norm(node, _spread(graph, node.x), rng)
        elif isinstance(node, (nn.Conv2d, nn.Dense)):
            arrays[node.weight.name] = _random_weight(node.weight, rng)
            if node.scale is not None:
                shape = node.scale.type.shape
                factors = _signs(shape, rng) * rng.uniform(0.5, 1.5, shape)
                arrays[node.scale.name] = factors.astype(np.float32)
        elif isinstance(node, nn.Sign) and node.shift is not None:
            arrays[node.shift.name] = rng.normal(0, 0.3, node.shift.type.shape).astype(np.float32)
        elif isinstance(node, nn.Prelu):
            arrays |= _random_prelu(node, rng)
    return Weights(arrays=arrays, info=WeightsInfo(origin="random", seed=seed))


def _random_weight(ref: ConstRef, rng: np.random.Generator) -> Array:
    if ref.type.elem is Elem.SIGN:
        bits: Array = rng.integers(0, 2, ref.type.shape, np.int8)
        return 2 * bits - 1
    fan_in = max(1, ref.type.count // ref.type.channels)
    values: Array = rng.standard_normal(ref.type.shape) / np.sqrt(fan_in)
    return values.astype(np.float32)


def _random_norm(
    node: nn.BatchNorm | nn.ShiftBatchNorm, spread: float, rng: np.random.Generator
) -> dict[str, Array]:
    channels = node.beta.type.shape

    def f32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        return values.astype(np.float32)

    signs = _signs(channels, rng)
    found = {
        node.beta.name: f32(rng.normal(0, 0.3, channels)),
        node.mean.name: f32(rng.normal(0, 0.3 * spread, channels)),
    }
    if node.gamma is not None:
        found[node.gamma.name] = f32(signs * rng.uniform(0.5, 1.5, channels))
    deviation = spread * rng.uniform(0.7, 1.3, channels)
    if isinstance(node, nn.BatchNorm):
        found[node.var.name] = f32(deviation**2)
    else:
        found[node.inv_std.name] = f32(1 / deviation)
    return found


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.where(rng.random(shape) < 0.7, 1.0, -1.0)


def _random_prelu(node: nn.Prelu, rng: np.random.Generator) -> dict[str, Array]:
    found: dict[str, Array] = {
        node.slope.name: rng.uniform(0.1, 0.5, node.slope.type.shape).astype(np.float32)
    }
    for ref in (node.before, node.after):
        if ref is not None:
            found[ref.name] = rng.normal(0, 0.3, ref.type.shape).astype(np.float32)
    return found


def _spread(graph: nn.NnGraph, value: Value) -> float:
    """Return about how far the values a normalization reads are from their mean."""
    node = graph.producer(value)
    while node is not None and not isinstance(node, (nn.Conv2d, nn.Dense)):
        node = graph.producer(operands(node)[0])
    if node is None:
        return 1.0
    return float(np.sqrt(node.weight.type.count / node.weight.type.channels))
