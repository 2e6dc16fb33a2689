"""What a target is: pure functions from a program to text. No device, compiler, clock or environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from bnncc.diagnostics import Diagnostic
from bnncc.ir.bit import BitGraph
from bnncc.ir.kernel import KernelGraph, KernelProgram, Packing, StorageForm


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One generated file: its name, without folders, and its text."""

    name: str
    text: str


ArtifactT_co = TypeVar("ArtifactT_co", covariant=True)


class Target(Protocol, Generic[ArtifactT_co]):
    """One way to run a network. Implementations are frozen dataclasses; their fields are their options."""

    name: ClassVar[str]

    @property
    def storage(self) -> StorageForm:
        """Return the layouts its kernels work on."""

    def check(self, graph: BitGraph) -> tuple[Diagnostic, ...]:
        """Return what this target cannot do with the lowered ``graph``, with spans."""

    def tiles(self, graph: KernelGraph) -> Mapping[str, Packing]:
        """Return in which further form its kernels read weights, by the name of the layer's result."""

    def emit(self, program: KernelProgram) -> ArtifactT_co:
        """Return the generated sources, and all that is needed to build and launch them."""
