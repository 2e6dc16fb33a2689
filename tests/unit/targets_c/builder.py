"""Bit graphs for tests of the C target: many layers in one network, so that one compilation serves all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bnncc.ir import bit
from bnncc.ir.graph import Graph, Output, digest_of, freeze
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value
from bnncc.ir.window import Border, Window, border_taps
from bnncc.passes.lower_to_kernels import LowerToKernels
from bnncc.passes.plan_memory import PlanMemory
from bnncc.targets.c.forms import CForm

Array = npt.NDArray[Any]
PACKED = Layout.NHWC_WORDS64


@dataclass
class Bits:
    """A bit graph under construction, in the layouts of the C target."""

    name: str = "many"
    seed: int = 0
    inputs: list[Value] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, *self.name.encode()])

    def constant(self, name: str, elem: Elem, array: Array) -> ConstRef:
        frozen = freeze(array)
        self.constants[digest_of(frozen)] = frozen
        return ConstRef(name, TensorType(elem, frozen.shape), digest_of(frozen))

    def plain(self, elem: Elem, *shape: int) -> Value:
        """Return a new input of the network."""
        value = Value(f"in{len(self.inputs)}", TensorType(elem, shape))
        self.inputs.append(value)
        return value

    def append(self, make: Any, elem: Elem, shape: tuple[int, ...], layout: Layout, **fields: Any) -> Value:
        result = Value(f"n{len(self.nodes)}", TensorType(elem, shape, layout))
        self.nodes.append(make(result=result, **fields))
        return result

    def pack(self, x: Value) -> Value:
        return self.append(bit.ChangeLayout, x.type.elem, x.type.shape, PACKED, x=x)

    def signs(self, *shape: int) -> Value:
        """Return packed signs, from a new input."""
        return self.pack(self.plain(Elem.SIGN, *shape))

    def output(self, x: Value) -> None:
        """Make ``x`` an output, unpacked."""
        if x.type.layout.is_packed:
            x = self.append(bit.ChangeLayout, x.type.elem, x.type.shape, Layout.PLAIN, x=x)
        self.outputs.append(Output(f"out{len(self.outputs)}", x))

    def weight(self, shape: tuple[int, ...]) -> ConstRef:
        signs = self.rng.choice(np.array([-1, 1], np.int8), shape)
        return self.constant("weight", Elem.SIGN, signs)

    def flips(self, channels: int) -> ConstRef:
        return self.constant("flips", Elem.BOOL, self.rng.random(channels) < 0.5)

    def floats(self, channels: int) -> ConstRef:
        return self.constant("f", Elem.F32, self.rng.normal(size=channels).astype(np.float32))

    def table(self, classes: int, channels: int, spread: int) -> ConstRef:
        table = self.rng.integers(-spread, spread + 1, (classes, channels), dtype=np.int32)
        return self.constant("table", Elem.I32, table)

    def layer(
        self,
        x: Value,
        outputs: int,
        window: Window | None,
        store: str = "signs",
        pool: Window | None = None,
        *,
        is_flipped: bool = False,
        has_border: bool = False,
        weight: ConstRef | None = None,
    ) -> Value:
        """Return the result of a layer; ``store`` is signs, scores or sums."""
        kernel = x.type.spatial if window is None else window.kernel
        fan_in = x.type.channels * kernel[0] * kernel[1]
        size = (1, 1) if window is None else window.output_size(*x.type.spatial)
        border = border_taps(window, *x.type.spatial).border if window and has_border else None
        spread = max(3, int(fan_in**0.5)) * (1 if x.type.elem is Elem.SIGN else 140)
        if weight is None:
            taps = (x.type.count,) if window is None else (x.type.channels, *kernel)
            weight = self.weight((outputs, *taps))
        epilogue = self._epilogue(store, outputs, border, spread, pool, is_flipped=is_flipped)
        if pool is not None:
            size = pool.output_size(*size)
        shape = (outputs,) if window is None else (outputs, *size)
        elem = {"signs": Elem.SIGN, "scores": Elem.F32, "sums": Elem.I32}[store]
        layout = PACKED if store == "signs" else Layout.PLAIN
        return self.append(
            bit.Layer, elem, shape, layout, x=x, weight=weight, window=window, epilogue=epilogue
        )

    def _epilogue(
        self,
        store: str,
        outputs: int,
        border: Border | None,
        spread: int,
        pool: Window | None,
        *,
        is_flipped: bool,
    ) -> bit.Epilogue:
        classes = 1 if border is None else border.classes
        if store == "signs":
            return bit.ToSigns(
                bounds=self.table(classes, outputs, spread),
                border=border,
                flips=self.flips(outputs) if is_flipped else None,
                pool=pool,
                flips_after_pool=self.flips(outputs) if is_flipped and pool else None,
            )
        table = self.table(classes, outputs, 99) if border or is_flipped else None
        multiply = -3 if is_flipped else 1
        if store == "sums":
            return bit.ToSums(multiply=multiply, table=table, border=border)
        return bit.ToScores(
            multiply=multiply,
            table=table,
            border=border,
            scale=self.floats(outputs),
            shift=self.floats(outputs),
        )

    def graph(self) -> bit.BitGraph:
        return Graph(
            name=self.name,
            inputs=tuple(self.inputs),
            nodes=tuple(self.nodes),
            outputs=tuple(self.outputs),
            constants=dict(self.constants),
        )


def program_of(graph: bit.BitGraph, form: CForm) -> KernelProgram:
    """Return ``graph``, in the layouts of the C target, as a kernel program."""
    return PlanMemory(1).run(LowerToKernels(form.storage).run(graph))


def merged(name: str, graphs: Mapping[str, bit.BitGraph]) -> bit.BitGraph:
    """Return one network that holds ``graphs`` side by side, their values and ports prefixed."""
    inputs: list[Value] = []
    nodes: list[Any] = []
    outputs: list[Output] = []
    constants: dict[str, Array] = {}
    for prefix, graph in graphs.items():

        def named(item: Any, prefix: str = prefix) -> Any:
            if isinstance(item, Value):
                return replace(item, name=f"{prefix}.{item.name}")
            return tuple(named(part) for part in item)

        inputs += [named(value) for value in graph.inputs]
        for node in graph.nodes:
            parts = {part.name: getattr(node, part.name) for part in fields(node)}
            values = {
                key: named(part)
                for key, part in parts.items()
                if isinstance(part, Value)
                or (isinstance(part, tuple) and part and isinstance(part[0], Value))
            }
            nodes.append(replace(node, **values))
        outputs += [Output(f"{prefix}.{item.name}", named(item.value)) for item in graph.outputs]
        constants |= graph.constants
    return Graph(
        name=name, inputs=tuple(inputs), nodes=tuple(nodes), outputs=tuple(outputs), constants=constants
    )


def random_inputs(graph: Graph[Any], images: int, seed: int = 0) -> dict[str, Array]:
    """Return random inputs of every element type, extremes included."""
    rng = np.random.default_rng([seed, images])
    found: dict[str, Array] = {}
    for value in graph.inputs:
        shape = (images, *value.type.shape)
        match value.type.elem:
            case Elem.U8:
                array = rng.choice(np.array([0, 1, 2, 100, 254, 255], np.uint8), shape)
            case Elem.I8:
                array = rng.choice(np.array([-128, -127, -1, 0, 1, 5, 126, 127], np.int8), shape)
            case Elem.F32:
                array = rng.normal(size=shape).astype(np.float32)
            case Elem.I32:
                array = rng.integers(-1000, 1000, shape, dtype=np.int32)
            case _:
                array = rng.choice(np.array([-1, 1], np.int8), shape)
        found[value.name] = array
    return found
