"""The C target: a kernel program to one readable translation unit and its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, assert_never

from bnncc.codegen.ctext import c_identifier
from bnncc.codegen.render import render
from bnncc.diagnostics import Diagnostic
from bnncc.ir import bit, kernel
from bnncc.ir.bit import BitGraph
from bnncc.ir.kernel import KernelGraph, KernelOp, KernelProgram, Packing, StorageForm
from bnncc.targets.c import element_wise, packed_steps
from bnncc.targets.c.artifact import CArtifact, CKernel
from bnncc.targets.c.calls import MOVED_WORK, Unit, inputs_of, outputs_of, port_of
from bnncc.targets.c.cut import NetworkCut
from bnncc.targets.c.float_layers import emit_float_layer
from bnncc.targets.c.forms import MACHINES, CForm, CMachine
from bnncc.targets.c.geometry import align
from bnncc.targets.c.layers import emit_layer
from bnncc.targets.c.model import header_args, model_args, thread_files
from bnncc.targets.c.text import Emission, Function, function_names
from bnncc.targets.target import SourceFile

_CHUNK_BYTES: Final = 1 << 20
"""How much workspace a chunk of images may take: it stays in the second-level cache."""
_CHUNK_IMAGES: Final = (4, 64)
"""Fewest and most images of a chunk: a tile of a dense layer takes four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CTarget:
    """C11 for one form of the kernels.

    Args:
        form: the instructions the kernels are written for.
        machine_flags: what the compiler is told about the processor; None for the least the form needs.
        part: its name among several forms in one library, in symbols and files; empty where it is alone.
        cut: how the network is cut.
    """

    name: ClassVar[str] = "c"
    form: CForm
    machine_flags: tuple[str, ...] | None = None
    part: str = ""
    cut: NetworkCut = field(default_factory=NetworkCut)

    @staticmethod
    def for_machine(machine: CMachine, part: str = "") -> CTarget:
        """Return the target for one of `MACHINES`."""
        return CTarget(form=machine.form, machine_flags=machine.flags, part=part)

    @property
    def storage(self) -> StorageForm:
        """Return the layouts its kernels work on."""
        return self.form.storage

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the compiler flags that change results or instructions."""
        least = MACHINES[self.form.least_machine].flags
        machine = least if self.machine_flags is None else self.machine_flags
        return ("-ffp-contract=off", *machine)

    def check(self, graph: BitGraph) -> tuple[Diagnostic, ...]:
        """Return what this target cannot do: nothing is refused."""
        _ = graph
        return ()

    def tiles(self, graph: KernelGraph) -> Mapping[str, Packing]:
        """Return nothing: one form of weights serves every kernel."""
        _ = graph
        return {}

    def emit(self, program: KernelProgram) -> CArtifact:
        """Return ``model.c``, ``model.h`` and optional threads, and what is needed to build and call them."""
        unit = self.unit(program)
        return CArtifact(
            files=(
                SourceFile(name=unit.source, text=render(model_args(unit))),
                SourceFile(name=unit.header, text=render(header_args(unit))),
                *thread_files(),
            ),
            network=program.graph.name,
            prefix=unit.prefix,
            forms=(self.form,),
            flags=self.flags,
            inputs=tuple(port_of(name, value) for name, value in inputs_of(program)),
            outputs=tuple(port_of(name, value) for name, value in outputs_of(program)),
            weights_bytes=program.blob_bytes,
            chunk_images=unit.chunk_images,
            workspace_bytes_per_image=program.workspace_bytes_per_image,
            scratch_bytes=unit.scratch_bytes,
            work_per_image=sum(unit.work),
            kernels=tuple(
                CKernel(value=node.result.name, symbol=function.symbol, span=node.span)
                for node, function in zip(program.graph.nodes, unit.functions, strict=True)
            ),
        )

    def unit(self, program: KernelProgram) -> Unit:
        """Return what the files are made from."""
        part = f"_{self.part}" if self.part else ""
        chunk_images = self.cut.chunk_images or _chunk_images(program.workspace_bytes_per_image)
        emission = Emission(
            program=program,
            symbols=function_names(c_identifier(program.graph.name), (n.result for n in program.graph.nodes)),
            word_bytes=self.form.word_bytes,
            chunk_images=chunk_images,
            cut=self.cut,
        )
        functions = tuple(emit_node(node, emission) for node in program.graph.nodes)
        return Unit(
            program=program,
            prefix=f"bnncc_{c_identifier(program.graph.name)}{part}",
            source=f"model{part}.c",
            header=f"model{part}.h",
            form=self.form,
            flags=self.flags,
            functions=functions,
            work=tuple(map(_work, program.graph.nodes)),
            chunk_images=chunk_images,
            scratch_bytes=align(max((function.scratch_bytes for function in functions), default=0)),
        )


def _work(node: KernelOp) -> int:
    """Return the work for one image, in binary multiply-adds; that of other operations by their time."""
    if not isinstance(node, kernel.XnorLayer | kernel.IntegerLayer | kernel.FloatLayer):
        return MOVED_WORK * node.result.type.count
    weight = 1 if isinstance(node, kernel.XnorLayer) else 8 if isinstance(node, kernel.IntegerLayer) else 32
    rows, columns = node.window.output_size(*node.x.type.spatial)
    return weight * node.x.type.channels * node.window.taps * node.outputs * rows * columns


def _chunk_images(workspace_bytes_per_image: int) -> int:
    fewest, most = _CHUNK_IMAGES
    fitting = _CHUNK_BYTES // max(1, workspace_bytes_per_image) // 4 * 4
    return max(fewest, min(most, fitting))


def emit_node(node: KernelOp, emission: Emission) -> Function:  # noqa: PLR0911, C901 -- one branch an operation
    """Return the C function of one kernel operation."""
    match node:
        case kernel.XnorLayer() | kernel.IntegerLayer():
            return emit_layer(node, emission)
        case kernel.FloatLayer():
            return emit_float_layer(node, emission)
        case bit.Affine() | bit.Relu() | bit.HardTanh() | bit.Prelu() | bit.Add() | bit.BorderAffine():
            return element_wise.emit_map(node, emission)
        case bit.Threshold() | bit.Sign():
            return element_wise.emit_pack(node, emission)
        case bit.FlipSigns():
            return packed_steps.emit_flip(node, emission)
        case bit.MaxPool2d(x=x):
            if x.type.layout.is_packed:
                return packed_steps.emit_or_pool(node, emission)
            return element_wise.emit_max_pool(node, emission)
        case bit.Flatten():
            return packed_steps.emit_flatten(node, emission)
        case bit.Concat():
            return packed_steps.emit_concat(node, emission)
        case bit.ChangeLayout():
            return _emit_change_layout(node, emission)
        case _:
            assert_never(node)


def _emit_change_layout(node: bit.ChangeLayout, emission: Emission) -> Function:
    if node.x.type.layout is node.result.type.layout:
        return packed_steps.emit_copy(node, emission)
    if node.x.type.layout.is_packed:
        return packed_steps.emit_unpack(node, emission)
    return element_wise.emit_pack(node, emission)
