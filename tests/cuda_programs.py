"""Kernel programs for tests: one layer, or a few, through the real lowering and memory plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import Position, Source, Span
from bnncc.ir import bit
from bnncc.ir.graph import Graph, Output, digest_of, freeze
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value
from bnncc.ir.window import Border, Window, border_taps
from bnncc.passes.lower_to_kernels import LowerToKernels
from bnncc.passes.plan_memory import PlanMemory
from bnncc.targets.cuda.target import STORAGE

Array = npt.NDArray[Any]
PLANES, ROWS = Layout.PLANES128, Layout.ROWS8X128


class Bits:
    """A bit graph under construction, in the layouts of the CUDA target."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.rng = np.random.default_rng([seed, *name.encode()])
        self.inputs: list[Value] = []
        self.nodes: list[bit.BitOp] = []
        self.outputs: list[Output] = []
        self.constants: dict[str, Array] = {}
        self.source = Source(f"{name}.bnn", "")

    def const(self, name: str, elem: Elem, array: Array) -> ConstRef:
        frozen = freeze(array)
        self.constants[digest_of(frozen)] = frozen
        return ConstRef(name, TensorType(elem, frozen.shape), digest_of(frozen))

    def signs(self, *shape: int) -> Array:
        return self.rng.choice(np.array([-1, 1], np.int8), shape)

    def input(self, elem: Elem, *shape: int, name: str = "image") -> Value:
        value = Value(name, TensorType(elem, shape))
        self.inputs.append(value)
        return value

    def add(self, stem: str, make: Any, tensor: TensorType, **fields: Any) -> Value:
        number = sum(node.result.name.startswith(stem) for node in self.nodes) + 1
        row = len(self.nodes) + 2
        span = Span(self.source, Position(row, 3), Position(row, 12))
        value = Value(f"{stem}{number}", tensor)
        self.nodes.append(make(result=value, span=span, **fields))
        return value

    def packed(self, *shape: int, layout: Layout = PLANES, name: str = "image") -> Value:
        """Return an input of signs, packed."""
        return self.relayout(self.input(Elem.SIGN, *shape, name=name), layout)

    def relayout(self, x: Value, layout: Layout) -> Value:
        return self.add("layout", bit.ChangeLayout, TensorType(Elem.SIGN, x.type.shape, layout), x=x)

    def layer(self, x: Value, outputs: int, window: Window | None, store: Store) -> Value:
        shape = (outputs, x.type.count) if window is None else (outputs, x.type.channels, *window.kernel)
        geometry = window or Window(kernel=x.type.spatial)
        size = geometry.output_size(*x.type.spatial)
        fan_in = geometry.taps * x.type.channels
        border = border_taps(geometry, *x.type.spatial).border if window and store.has_border else None
        stem = "dense" if window is None else "conv"
        number = sum(node.result.name.startswith(stem) for node in self.nodes) + 1
        epilogue = store.epilogue(self, f"{stem}{number}", outputs, fan_in, border)
        out = store.pool.output_size(*size) if store.pool else size
        elem = {"signs": Elem.SIGN, "scores": Elem.F32, "sums": Elem.I32}[store.kind]
        layout = store.layout if store.kind == "signs" else Layout.PLAIN
        result_shape = (outputs,) if window is None else (outputs, *out)
        weight = self.const(f"{stem}{number}.weight", Elem.SIGN, self.signs(*shape))
        return self.add(
            stem,
            bit.Layer,
            TensorType(elem, result_shape, layout),
            x=x,
            weight=weight,
            window=window,
            epilogue=epilogue,
        )

    def output(self, value: Value, name: str = "out") -> Bits:
        if value.type.layout.is_packed:
            value = self.relayout(value, Layout.PLAIN)
        self.outputs.append(Output(name, value))
        return self

    def graph(self) -> bit.BitGraph:
        return Graph(
            name=self.name,
            inputs=tuple(self.inputs),
            nodes=tuple(self.nodes),
            outputs=tuple(self.outputs),
            constants=dict(self.constants),
        )

    def program(self) -> KernelProgram:
        lowered = LowerToKernels(STORAGE).run(self.graph())
        return PlanMemory(STORAGE.images_per_group).run(lowered)


@dataclass(frozen=True, kw_only=True)
class Store:
    """What a test layer does with its sums."""

    kind: str = "signs"
    has_border: bool = False
    has_flips: bool = False
    has_flips_after_pool: bool = False
    pool: Window | None = None
    layout: Layout = field(default=PLANES)
    multiply: int = 1
    has_table: bool = True
    spread: int = 0

    def epilogue(self, b: Bits, name: str, outputs: int, fan_in: int, border: Border | None) -> bit.Epilogue:
        classes = border.classes if border else 1
        spread = self.spread or max(2, round(fan_in**0.5))
        numbers = b.rng.integers(-spread, spread + 1, (classes, outputs)).astype(np.int32)
        if self.kind == "signs":
            flips = [
                b.const(f"{name}.{key}", Elem.BOOL, b.rng.random(outputs) < 0.5) if wanted else None
                for key, wanted in (("flips", self.has_flips), ("after", self.has_flips_after_pool))
            ]
            return bit.ToSigns(
                bounds=b.const(f"{name}.bounds", Elem.I32, numbers),
                border=border,
                flips=flips[0],
                pool=self.pool,
                flips_after_pool=flips[1],
            )
        table = b.const(f"{name}.table", Elem.I32, numbers) if self.has_table else None
        if self.kind == "sums":
            return bit.ToSums(multiply=self.multiply, table=table, border=border)
        return bit.ToScores(
            multiply=self.multiply,
            table=table,
            border=border,
            scale=b.const(f"{name}.scale", Elem.F32, b.rng.normal(size=outputs).astype(np.float32)),
            shift=b.const(f"{name}.shift", Elem.F32, b.rng.normal(size=outputs).astype(np.float32)),
        )


def inputs_of(program: KernelProgram, images: int, seed: int = 7) -> dict[str, Array]:
    """Return random inputs of the right types."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for value in program.graph.inputs:
        shape = (images, *value.type.shape)
        match value.type.elem:
            case Elem.U8:
                found[value.name] = rng.integers(0, 256, shape).astype(np.uint8)
            case Elem.I8:
                found[value.name] = rng.integers(-128, 128, shape).astype(np.int8)
            case Elem.I32:
                found[value.name] = rng.integers(-1000, 1000, shape).astype(np.int32)
            case Elem.F32:
                found[value.name] = rng.normal(size=shape).astype(np.float32)
            case _:
                found[value.name] = rng.choice(np.array([-1, 1], np.int8), shape)
    return found
