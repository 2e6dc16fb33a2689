"""What the C target makes: the sources, and what is needed to build and call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bnncc.diagnostics import Span
from bnncc.ir.types import Elem
from bnncc.targets.c.forms import CForm
from bnncc.targets.target import SourceFile

ABI_VERSION: Final = 3
MAX_PARTS: Final = 1024
ALIGN_BYTES: Final = 64
"""Alignment of weights and workspace that the generated ``run`` demands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CPort:
    """An input or output of ``run``, in the order of its arguments: ``[images, *shape]``, row-major."""

    name: str
    elem: Elem
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CKernel:
    """One function of the source: the value it computes, its symbol, and the source text it comes from."""

    value: str
    symbol: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class CArtifact:
    """A network as C.

    Args:
        files: ``model.c`` and ``model.h``, and ``bnncc_threads.c`` and ``.h`` for those who want them.
        prefix: of the public symbols: ``<prefix>_run`` and so on.
        forms: of the kernels, the one preferred first.
        flags: for the compiler and every file, without warnings and output options.
        own_flags: of single files, in addition.
        inputs, outputs: what ``run`` takes after ``weights``, in this order.
        weights_bytes: length of the weights blob.
        chunk_images: how many images go through the network together.
        workspace_bytes_per_image: of values, for each image of a chunk.
        scratch_bytes: of workspace whatever the number of images.
        work_per_image: binary multiply-adds, those of integers and floats counted as the time they take.
        kernels: the functions in the order of their calls.
    """

    files: tuple[SourceFile, ...]
    network: str
    prefix: str
    forms: tuple[CForm, ...]
    flags: tuple[str, ...]
    inputs: tuple[CPort, ...]
    outputs: tuple[CPort, ...]
    weights_bytes: int
    chunk_images: int
    workspace_bytes_per_image: int
    scratch_bytes: int
    work_per_image: int
    kernels: tuple[CKernel, ...]
    own_flags: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def workspace_bytes(self, images: int) -> int:
        """Return the workspace that ``run`` needs for ``images``."""
        return self.scratch_bytes + min(images, self.chunk_images) * self.workspace_bytes_per_image

    def parallel_workspace_bytes(self, images: int, parts: int) -> int:
        """Return the workspace that ``run_parallel`` needs for ``images`` and ``parts``."""
        return max(0, min(parts, MAX_PARTS) - 1) * self.scratch_bytes + self.workspace_bytes(images)

    def file(self, name: str) -> SourceFile:
        """Return the file of that name."""
        return next(item for item in self.files if item.name == name)
