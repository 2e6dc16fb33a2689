"""Builds small nn graphs with seeded random weights, for every kind of test."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import NOWHERE, Position, Source, Span
from bnncc.ir import nn
from bnncc.ir.bit import BitGraph
from bnncc.ir.graph import Graph, Output, digest_of, freeze
from bnncc.ir.infer import infer_nn
from bnncc.ir.reference import to_f32, trace_bit
from bnncc.ir.types import ConstRef, Elem, TensorType, Value
from bnncc.ir.window import Window

Array = npt.NDArray[Any]
EPS = Fraction(1, 10_000)
MOMENTUM = Fraction(1, 10)


def square(kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
    """Return a window that is the same in both directions."""
    return Window(
        kernel=(kernel, kernel), stride=(stride,) * 2, padding=(padding,) * 4, dilation=(dilation,) * 2
    )


class Network:
    """A graph under construction; methods append one node and return its value."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.rng = np.random.default_rng([seed, *name.encode()])
        self.inputs: list[Value] = []
        self.nodes: list[nn.NnOp] = []
        self.outputs: list[Output] = []
        self.constants: dict[str, Array] = {}
        self.source = Source(f"{name}.bnn", "")

    def input(self, elem: Elem, *shape: int, name: str = "image") -> Value:
        value = Value(name, TensorType(elem, shape))
        self.inputs.append(value)
        return value

    def append(self, make: Any, stem: str, **fields: Any) -> Value:
        name = self.fresh(stem)
        row = len(self.nodes) + 2
        span = Span(self.source, Position(row, 3), Position(row, 12))
        draft = make(result=Value(name, TensorType(Elem.REAL, ())), span=span, **fields)
        node = replace(draft, result=Value(name, infer_nn(draft)))
        self.nodes.append(node)
        return node.result

    def fresh(self, stem: str) -> str:
        return f"{stem}{sum(node.result.name.startswith(stem) for node in self.nodes) + 1}"

    def constant(self, name: str, elem: Elem, array: Array) -> ConstRef:
        frozen = freeze(array)
        self.constants[digest_of(frozen)] = frozen
        return ConstRef(name, TensorType(elem, array.shape), digest_of(frozen))

    def weight(self, name: str, shape: tuple[int, ...], *, real: bool) -> ConstRef:
        if real:
            return self.constant(name, Elem.F32, self.rng.normal(size=shape).astype(np.float32))
        return self.constant(name, Elem.SIGN, self.rng.choice(np.array([-1, 1], np.int8), size=shape))

    def normalize(
        self, x: Value, scale: Fraction = Fraction(2, 255), shift: Fraction = Fraction(-1)
    ) -> Value:
        return self.append(nn.Normalize, "normalize", x=x, scale=scale, shift=shift)

    def conv(
        self,
        x: Value,
        channels: int,
        window: Window,
        *,
        pad_value: int = 0,
        real: bool = False,
        scaled: bool = False,
    ) -> Value:
        name = self.fresh("conv")
        weight = self.weight(f"{name}.weight", (channels, x.type.channels, *window.kernel), real=real)
        scale = self.vector(f"{name}.scale", channels) if scaled else None
        return self.append(
            nn.Conv2d, "conv", x=x, weight=weight, window=window, pad_value=pad_value, scale=scale
        )

    def dense(self, x: Value, features: int, *, real: bool = False, scaled: bool = False) -> Value:
        name = self.fresh("dense")
        weight = self.weight(f"{name}.weight", (features, x.type.count), real=real)
        scale = self.vector(f"{name}.scale", features) if scaled else None
        return self.append(nn.Dense, "dense", x=x, weight=weight, scale=scale)

    def vector(self, name: str, channels: int, spread: float = 1.0) -> ConstRef:
        """Return one f32 a channel: of both signs, some 0, some halves, so that ties occur."""
        found = self.rng.normal(scale=spread, size=channels)
        found[self.rng.random(channels) < 0.15] = 0
        is_coarse = self.rng.random(channels) < 0.3
        found[is_coarse] = np.rint(2 * found[is_coarse]) / 2
        return self.constant(name, Elem.F32, found.astype(np.float32))

    def batch_norm(self, x: Value, *, spread: float = 10.0, kind: str = "mixed", gamma: bool = True) -> Value:
        name, channels = self.fresh("bn"), x.type.channels
        parameters = self.norm_parameters(channels, spread, kind)
        refs = {key: self.constant(f"{name}.{key}", Elem.F32, array) for key, array in parameters.items()}
        if not gamma:
            # None stands for a gamma of 1.
            refs["gamma"] = None  # type: ignore[assignment]  # absent on purpose
        return self.append(nn.BatchNorm, "bn", x=x, **refs, eps=EPS, momentum=MOMENTUM)

    def norm_parameters(self, channels: int, spread: float, kind: str) -> dict[str, Array]:
        """Return parameters: gammas of both signs and zero, or thresholds exactly on integers."""
        rng = self.rng
        mean = rng.normal(scale=spread, size=channels)
        beta = rng.normal(size=channels)
        gamma = rng.normal(size=channels)
        var = rng.random(channels) * spread**2 + 0.01
        if kind == "ties":
            mean, beta = np.rint(mean), np.zeros(channels)
        elif kind == "positive":
            gamma = np.abs(gamma) + 0.1
        gamma[rng.random(channels) < 0.1] = 0 if kind == "mixed" else 1
        found = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
        return {key: array.astype(np.float32) for key, array in found.items()}

    def shift_batch_norm(self, x: Value, *, spread: float = 10.0) -> Value:
        name, channels = self.fresh("sbn"), x.type.channels
        parameters = self.norm_parameters(channels, spread, "mixed")
        parameters["inv_std"] = 1 / np.sqrt(parameters.pop("var"))
        refs = {key: self.constant(f"{name}.{key}", Elem.F32, array) for key, array in parameters.items()}
        return self.append(nn.ShiftBatchNorm, "sbn", x=x, **refs, eps=EPS, momentum=MOMENTUM)

    def sign(self, x: Value, *, shifted: bool = False) -> Value:
        shift = self.vector(f"{self.fresh('sign')}.shift", x.type.channels) if shifted else None
        return self.append(nn.Sign, "sign", x=x, shift=shift)

    def pool(self, x: Value, window: Window | None = None) -> Value:
        return self.append(nn.MaxPool2d, "pool", x=x, window=window or square(2, stride=2))

    def flatten(self, x: Value) -> Value:
        return self.append(nn.Flatten, "flat", x=x)

    def relu(self, x: Value) -> Value:
        return self.append(nn.Relu, "relu", x=x)

    def hard_tanh(self, x: Value) -> Value:
        return self.append(nn.HardTanh, "tanh", x=x)

    def prelu(self, x: Value, *, shifted: bool = False, rising: bool = False) -> Value:
        name, channels = self.fresh("prelu"), x.type.channels
        slope = self.vector(f"{name}.slope", channels)
        if rising:
            slope = self.constant(slope.name, Elem.F32, np.abs(self.constants[slope.digest]))
        before, after = (
            self.vector(f"{name}.{key}", channels) if shifted else None for key in ("before", "after")
        )
        return self.append(nn.Prelu, "prelu", x=x, slope=slope, before=before, after=after)

    def dropout(self, x: Value) -> Value:
        return self.append(nn.Dropout, "drop", x=x, rate=Fraction(1, 2))

    def add(self, x: Value, y: Value) -> Value:
        return self.append(nn.Add, "add", x=x, y=y)

    def concat(self, *parts: Value) -> Value:
        return self.append(nn.Concat, "concat", parts=parts)

    def output(self, value: Value, name: str = "scores") -> Network:
        self.outputs.append(Output(name, value))
        return self

    def build(self) -> nn.NnGraph:
        return Graph(
            name=self.name,
            inputs=tuple(self.inputs),
            nodes=tuple(self.nodes),
            outputs=tuple(self.outputs),
            constants=dict(self.constants),
        )


def sample_inputs(graph: Graph[Any], images: int = 3, seed: int = 7) -> dict[str, Array]:
    """Return random inputs of the right types; the first image is extreme."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for value in graph.inputs:
        shape = (images, *value.type.shape)
        match value.type.elem:
            case Elem.U8:
                array = rng.integers(0, 256, size=shape).astype(np.uint8)
                array[0] = 255
            case Elem.I8:
                array = rng.integers(-128, 128, size=shape).astype(np.int8)
                array[0] = -128
            case Elem.F32:
                array = rng.normal(size=shape).astype(np.float32)
            case _:
                array = rng.choice(np.array([-1, 1], np.int8), size=shape)
        found[value.name] = array
    return found


def values_of(graph: BitGraph) -> dict[str, Array]:
    """Return every value of a bit graph by name, for the sample inputs; real ones rounded."""
    found: dict[str, Array] = {}
    for value, result in trace_bit(graph, sample_inputs(graph)):
        found[value.name] = to_f32(result) if value.type.elem is Elem.REAL else result
    return found


def unbound(graph: nn.NnGraph) -> tuple[nn.NnGraph, dict[str, Array]]:
    """Return the graph without weights, and the weights by name."""
    weights = {ref.name: graph.array(ref) for ref in graph.const_refs()}

    def strip(node: Any) -> Any:
        refs = {
            f: replace(r, digest="") for f in node.__slots__ if isinstance(r := getattr(node, f), ConstRef)
        }
        return replace(node, **refs)

    return replace(graph, nodes=tuple(map(strip, graph.nodes)), constants={}), weights


__all__ = ["NOWHERE", "Network", "sample_inputs", "square", "unbound", "values_of"]
