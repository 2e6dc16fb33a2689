"""From the bit level to the kernel level: constants take their physical form, layers become windows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import InternalError
from bnncc.ir import bit, kernel
from bnncc.ir.graph import Output, digest_of, freeze
from bnncc.ir.packing import (
    pack_integer_weights,
    pack_quad_bits,
    pack_row_bits,
    pack_weights,
    pack_words,
    weight_ones,
)
from bnncc.ir.types import ConstRef, Elem, TensorType, Value
from bnncc.ir.window import Window
from bnncc.passes.rewrite import with_operands

Array: TypeAlias = npt.NDArray[Any]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class LowerToKernels:
    """Give every layer its packed weights and its test on mismatches.

    Before::  %y = bit.layer(x=%x : sign[128, 32, 32] nhwc_words64, weight=@conv2.weight, ...)
    After::   %y = kernel.xnor_layer(x=%x, weight=@conv2.weight.packed, outputs=128, ...)

    Needs layouts (``assign-layouts``) and no real value left. ``acc >= bound`` becomes
    ``mismatches <= floor((K - bound) / 2)``: the sum has the parity of ``K``, so nothing is lost.
    """

    name: ClassVar[str] = "lower-to-kernels"
    storage: kernel.StorageForm

    def run(self, graph: bit.BitGraph) -> kernel.KernelGraph:
        """Return the same network in the physical form of ``storage``."""
        named = _named_after_weights(graph)
        lowering = _Lowering(graph=named, storage=self.storage)
        nodes = tuple(lowering.node(node) for node in named.nodes)
        return kernel.KernelGraph(
            name=named.name,
            inputs=named.inputs,
            nodes=nodes,
            outputs=named.outputs,
            constants=lowering.constants,
        )


def _named_after_weights(graph: bit.BitGraph) -> bit.BitGraph:
    """Return ``graph`` with the result of each layer called as its author calls the layer: ``conv2``.

    In the bit graph it has the name of the last operation that was fused, ``sign2``: there a name stands for
    the same value from pass to pass.
    """
    taken = {value.name for value in graph.inputs} | {node.result.name for node in graph.nodes}
    renamed: dict[str, Value] = {}
    nodes: list[bit.BitOp] = []
    for node in graph.nodes:
        moved = with_operands(node, renamed)
        if isinstance(moved, bit.Layer) and moved.weight.name.endswith(".weight"):
            name = moved.weight.name.removesuffix(".weight")
            if name not in taken:
                taken.add(name)
                renamed[moved.result.name] = replace(moved.result, name=name)
                moved = replace(moved, result=renamed[moved.result.name])
        nodes.append(moved)
    outputs = tuple(Output(o.name, renamed.get(o.value.name, o.value)) for o in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def _integer_weights(weight: Array, form: kernel.IntegerForm, lanes: int) -> Array:
    match form:
        case kernel.IntegerForm.BYTES:
            return pack_integer_weights(weight, lanes)
        case kernel.IntegerForm.FIFTEENS:
            return pack_row_bits(weight)
        case kernel.IntegerForm.QUADS:
            return pack_quad_bits(weight, lanes)
        case _:
            assert_never(form)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lowering:
    """The graph being lowered, and the constants made so far."""

    graph: bit.BitGraph
    storage: kernel.StorageForm
    constants: dict[str, Array] = field(default_factory=dict)

    def node(self, node: bit.BitOp) -> kernel.KernelOp:
        """Return the kernel operation of one bit operation."""
        match node:
            case bit.Layer():
                return self._layer(node)
            case bit.Conv2d(x=x) | bit.Dense(x=x) if x.type.elem is Elem.F32:
                return self._float_layer(node)
            case bit.Threshold() | bit.BorderAffine() | bit.FlipSigns() | bit.Affine() | bit.Prelu():
                return self._with_physical_constants(node)
            case bit.Sign(shift=shift):
                return replace(node, shift=None if shift is None else self._copy(shift))
            case (
                bit.MaxPool2d()
                | bit.Flatten()
                | bit.Relu()
                | bit.HardTanh()
                | bit.Add()
                | bit.Concat()
                | bit.ChangeLayout()
            ):
                return node
            case _:
                raise InternalError(
                    f"lower-to-kernels: '{type(node).__name__}' at {node.span} was not lowered before"
                )

    def _with_physical_constants(
        self, node: bit.Threshold | bit.BorderAffine | bit.FlipSigns | bit.Affine | bit.Prelu
    ) -> kernel.KernelOp:
        """Return an operation that no layer absorbed, its constants in 32-bit form."""
        match node:
            case bit.Threshold(bounds=bounds, flips=flips):
                limits = np.clip(self.graph.array(bounds), INT32_MIN, INT32_MAX).astype(np.int32)
                stored_flips = None if flips is None else self._flip_bytes(flips)
                return replace(node, bounds=self._add(bounds.name, Elem.I32, limits), flips=stored_flips)
            case bit.BorderAffine(table=table):
                return replace(node, table=self._add(table.name, Elem.I32, self._int32(table)))
            case bit.FlipSigns(flips=flips):
                return replace(node, flips=self._flip_bytes(flips))
            case bit.Affine(scale=scale, shift=shift):
                return replace(node, scale=self._copy(scale), shift=self._copy(shift))
            case bit.Prelu(slope=slope, before=before, after=after):
                return replace(
                    node,
                    slope=self._copy(slope),
                    before=None if before is None else self._copy(before),
                    after=None if after is None else self._copy(after),
                )

    def _layer(self, node: bit.Layer) -> kernel.XnorLayer | kernel.IntegerLayer:
        weight = self._weights4d(node.weight, node.x.type)
        window = node.window or Window(kernel=node.x.type.spatial)
        outputs = weight.shape[0]
        fan_in = int(np.prod(weight.shape[1:]))
        if node.x.type.elem is Elem.SIGN:
            packing = self.storage.packing
            packed = pack_weights(weight, packing, node.x.type.layout)
            ones = None
            if self.storage.has_weight_ones:
                ones = self._add(f"{node.weight.name}.ones", Elem.I32, weight_ones(packed))
            return kernel.XnorLayer(
                result=node.result,
                span=node.span,
                x=node.x,
                weight=self._add(f"{node.weight.name}.packed", Elem.U32, packed),
                packing=packing,
                window=window,
                outputs=outputs,
                store=self._store(node.epilogue, outputs, packing.lanes, fan_in),
                weight_ones=ones,
            )
        lanes = self.storage.integer_lanes
        form = self.storage.dense_integers if node.window is None else self.storage.integer_windows
        stored = _integer_weights(weight, form, lanes)
        elem = Elem.I8 if form is kernel.IntegerForm.BYTES else Elem.U32
        return kernel.IntegerLayer(
            result=node.result,
            span=node.span,
            x=node.x,
            weight=self._add(f"{node.weight.name}.packed", elem, stored),
            lanes=lanes,
            window=window,
            outputs=outputs,
            store=self._store(node.epilogue, outputs, lanes, None),
            form=form,
        )

    def _store(
        self, epilogue: bit.Epilogue, outputs: int, lanes: int, fan_in_bits: int | None
    ) -> kernel.Store:
        match epilogue:
            case bit.ToSigns(bounds=bounds, border=border, flips=flips, pool=pool, flips_after_pool=after):
                return kernel.StoreSigns(
                    limits=self._add(
                        bounds.name, Elem.I32, self._limits(bounds, outputs, lanes, fan_in_bits)
                    ),
                    border=border,
                    flips=self._flip_words(flips),
                    pool=pool,
                    flips_after_pool=self._flip_words(after),
                )
            case bit.ToScores(multiply=multiply, table=table, border=border, scale=scale, shift=shift):
                return kernel.StoreScores(
                    multiply=multiply,
                    table=None if table is None else self._add(table.name, Elem.I32, self._int32(table)),
                    border=border,
                    scale=self._copy(scale),
                    shift=self._copy(shift),
                )
            case bit.ToSums(multiply=multiply, table=table, border=border):
                return kernel.StoreSums(
                    multiply=multiply,
                    table=None if table is None else self._add(table.name, Elem.I32, self._int32(table)),
                    border=border,
                )

    def _limits(self, bounds: ConstRef, outputs: int, lanes: int, fan_in_bits: int | None) -> Array:
        stored = self.graph.array(bounds).astype(np.int64)
        padded_outputs = -(-outputs // max(lanes, 32)) * max(lanes, 32)
        if fan_in_bits is None:
            limits, never = np.clip(stored, INT32_MIN, INT32_MAX), INT32_MAX
        else:
            limits, never = np.clip((fan_in_bits - stored) // 2, -1, fan_in_bits), -1
        table = np.full((stored.shape[0], padded_outputs), never, np.int32)
        table[:, :outputs] = limits
        return table

    def _float_layer(self, node: bit.Conv2d | bit.Dense) -> kernel.FloatLayer:
        weight = self._weights4d(node.weight, node.x.type)
        outputs = weight.shape[0]
        by_term = np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, outputs))
        is_binary = node.weight.type.elem is Elem.SIGN
        if is_binary:
            ref = self._add(f"{node.weight.name}.packed", Elem.U32, pack_words(by_term))
        else:
            ref = self._add(f"{node.weight.name}.packed", Elem.F32, by_term.astype(np.float32))
        return kernel.FloatLayer(
            result=node.result,
            span=node.span,
            x=node.x,
            weight=ref,
            is_binary=is_binary,
            window=node.window if isinstance(node, bit.Conv2d) else Window(kernel=node.x.type.spatial),
            outputs=outputs,
            pad_value=node.pad_value if isinstance(node, bit.Conv2d) else 0,
        )

    def _weights4d(self, ref: ConstRef, x: TensorType) -> Array:
        """Return the weights as ``[O, C, kh, kw]``; those of a dense layer cover the image of ``x``."""
        weight = self.graph.array(ref)
        return weight if weight.ndim == 4 else weight.reshape(weight.shape[0], x.channels, *x.spatial)

    def _flip_words(self, ref: ConstRef | None) -> ConstRef | None:
        if ref is None:
            return None
        signs = np.where(self.graph.array(ref), 1, -1).astype(np.int8)
        return self._add(ref.name, Elem.U32, pack_words(signs))

    def _flip_bytes(self, ref: ConstRef) -> ConstRef:
        return self._add(ref.name, Elem.U8, self.graph.array(ref).astype(np.uint8))

    def _int32(self, ref: ConstRef) -> Array:
        table = self.graph.array(ref)
        if table.size and (table.min() < INT32_MIN or table.max() > INT32_MAX):
            raise InternalError(
                f"lower-to-kernels: '{ref.name}' does not fit 32 bits; ranges should have said so"
            )
        return table.astype(np.int32)

    def _copy(self, ref: ConstRef) -> ConstRef:
        return self._add(ref.name, ref.type.elem, self.graph.array(ref))

    def _add(self, name: str, elem: Elem, array: Array) -> ConstRef:
        frozen = freeze(array)
        digest = digest_of(frozen)
        self.constants[digest] = frozen
        return ConstRef(name, TensorType(elem, tuple(frozen.shape)), digest)
