"""The arguments of the templates of tier wgmma: one frozen dataclass a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.targets.cuda.args import WindowArgs
from bnncc.targets.cuda.store import StoreArgs
from bnncc.targets.cuda.wgmma_tile import ConvTile, DenseTile


@dataclass(frozen=True, slots=True, kw_only=True)
class WgmmaDenseArgs:
    """A binary dense layer by warpgroups: images are the rows of the product, outputs its columns.

    Args:
        word: word ``w`` of a lane's bits that is stored, in C.
    """

    template: ClassVar[str] = "cuda/wgmma_dense.cu.j2"
    comment: str
    layer: str
    parameters: str
    vectors: int
    stored_vectors: int
    steps: int
    groups: int
    stored_groups: int
    tiles_n: int
    tile: DenseTile
    word: str
    store: StoreArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class WgmmaConvArgs(WindowArgs):
    """A binary convolution by warpgroups: 8 x 8 pixels are the rows of the product, channels its columns.

    Args:
        is_by_descriptor: whether taps are read from shared memory by overlapping matrices, not registers.
        word: word ``w`` of a lane's bits of one pixel, in C.
        pooled_word: the same of a result.
    """

    template: ClassVar[str] = "cuda/wgmma_conv.cu.j2"
    tables: str
    planes: int
    stored_vectors: int
    groups: int
    stored_groups: int
    tiles_y: int
    tiles_x: int
    tile: ConvTile
    is_by_descriptor: bool
    x_layout: str
    x_index: str
    word: str
    pooled_word: str
    store: StoreArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class WgmmaKernelArgs:
    """The kernel of a layer whose blocks make tile after tile.

    Args:
        arguments: what its device function is called with, after the shared memory.
    """

    template: ClassVar[str] = "cuda/wgmma_kernel.cu.j2"
    name: str
    layer: str
    threads: int
    parameters: str
    arguments: str
