"""The arguments of the layer templates: one frozen dataclass a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.ir.window import Window
from bnncc.targets.cuda.cut import Cut
from bnncc.targets.cuda.launch import Tile
from bnncc.targets.cuda.store import StoreArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowArgs:
    """What all kernels that slide a window know; a base without behaviour of its own."""

    comment: str
    layer: str
    parameters: str
    height: int
    width: int
    window: Window

    @property
    def kernel_h(self) -> int:
        """Return the rows of taps."""
        return self.window.kernel[0]

    @property
    def kernel_w(self) -> int:
        """Return the columns of taps."""
        return self.window.kernel[1]

    @property
    def stride_h(self) -> int:
        """Return the step along rows."""
        return self.window.stride[0]

    @property
    def stride_w(self) -> int:
        """Return the step along columns."""
        return self.window.stride[1]

    @property
    def dilation_h(self) -> int:
        """Return the distance of tap rows."""
        return self.window.dilation[0]

    @property
    def dilation_w(self) -> int:
        """Return the distance of tap columns."""
        return self.window.dilation[1]

    @property
    def pad_top(self) -> int:
        """Return the rows added above the image."""
        return self.window.padding[0]

    @property
    def pad_left(self) -> int:
        """Return the columns added on the left of the image."""
        return self.window.padding[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class XnorConvArgs(WindowArgs):
    """A binary convolution, tile by tile."""

    template: ClassVar[str] = "cuda/xnor_conv.cu.j2"
    tables: str
    planes: int
    groups: int
    tile: Tile
    staged_planes: int
    x_layout: str
    x_step: int
    store: StoreArgs

    @property
    def x_index(self) -> str:
        """Return the place of a vector in its image, in C."""
        return _x_index(self.x_step)

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return self.tile.threads

    @property
    def is_split(self) -> bool:
        """Return whether several warps share a sum."""
        return self.tile.parts > 1

    @property
    def is_staged(self) -> bool:
        """Return whether the input under a tile goes through shared memory."""
        return self.staged_planes > 0

    @property
    def unroll_taps(self) -> str:
        """Return the pragma for the loop over a row of taps; many sums leave no registers for it."""
        is_small = self.kernel_w <= 7 and self.tile.pixels_per_thread <= 4
        return "#pragma unroll" if is_small else "#pragma unroll 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class XnorDenseArgs:
    """A binary dense layer, eight images and ``columns`` outputs a tile."""

    template: ClassVar[str] = "cuda/xnor_dense.cu.j2"
    comment: str
    layer: str
    parameters: str
    vectors: int
    groups: int
    columns: int
    early: int
    x_layout: str
    x_step: int
    x_image_step: int
    store: StoreArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class BmmaDenseArgs:
    """A binary dense layer on tensor cores: images are the rows of the product, outputs its columns."""

    template: ClassVar[str] = "cuda/bmma_dense.cu.j2"
    comment: str
    layer: str
    parameters: str
    vectors: int
    steps: int
    groups: int
    stored_outputs: int
    x_layout: str
    x_step: int
    cut: Cut
    lane_word: str
    store: StoreArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class BmmaConvArgs(WindowArgs):
    """A binary convolution on tensor cores: the pixels of a tile are the rows of the product."""

    template: ClassVar[str] = "cuda/bmma_conv.cu.j2"
    tables: str
    planes: int
    groups: int
    stored_groups: int
    tile: Tile
    cut: Cut
    staged_planes: int
    x_layout: str
    x_step: int
    lane_word: str
    store: StoreArgs

    @property
    def ones_at(self) -> str:
        """Return the ones of weights that decide whether a sum fires, in C."""
        return ", weight_ones + at"

    @property
    def lane_sum(self) -> str:
        """Return the statement that finds one sum of a lane, in C."""
        return "const int mismatched = sums.mismatches(m, half, i, weight_ones[channel]);"

    @property
    def x_index(self) -> str:
        """Return the place of a vector in its image, in C."""
        return _x_index(self.x_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmaDenseArgs:
    """A dense layer of bytes with signs on tensor cores: images are the rows of the product.

    Args:
        is_whole: whether an image is whole vectors of 16 bytes.
        is_signed: whether its bytes are signed, in C.
    """

    template: ClassVar[str] = "cuda/imma_dense.cu.j2"
    comment: str
    layer: str
    parameters: str
    fan_in: int
    words: int
    steps: int
    groups: int
    stored_outputs: int
    cut: Cut
    is_whole: bool
    is_signed: str
    lane_word: str
    store: StoreArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmaConvArgs(WindowArgs):
    """A convolution of bytes with signs on tensor cores: the pixels of a tile are the rows of the product."""

    template: ClassVar[str] = "cuda/imma_conv.cu.j2"
    tables: str
    channels: int
    words: int
    steps: int
    groups: int
    stored_groups: int
    tile: Tile
    cut: Cut
    x_type: str
    is_signed: str
    lane_word: str
    store: StoreArgs

    @property
    def ones_at(self) -> str:
        """Return the ones of weights that decide whether a sum fires, in C; they are no part of this one."""
        return ""

    @property
    def lane_sum(self) -> str:
        """Return the statement that finds one sum of a lane, in C."""
        return "const int sum = sums.sum(m, half, i);"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerConvArgs(WindowArgs):
    """A convolution of bytes with signs, tile by tile."""

    template: ClassVar[str] = "cuda/integer_conv.cu.j2"
    tables: str
    channels: int
    words: int
    staged_words: int
    groups: int
    tile: Tile
    x_type: str
    dot4: str
    store: StoreArgs

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return self.tile.threads


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerDenseArgs:
    """A dense layer of bytes with signs, eight images and 32 outputs a block."""

    template: ClassVar[str] = "cuda/integer_dense.cu.j2"
    comment: str
    layer: str
    parameters: str
    fan_in: int
    words: int
    staged_words: int
    groups: int
    dot4: str
    store: StoreArgs


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatWindowArgs(WindowArgs):
    """A convolution or dense layer of floats, one sum a thread.

    Args:
        pad_value: of pixels outside the image, a C literal; unused where they are skipped.
        weight_words: words of one row of binary weights.
        blocks: along x, for one image.
    """

    template: ClassVar[str] = "cuda/float_window.cu.j2"
    channels: int
    outputs: int
    sums_w: int
    sums: int
    blocks: int
    is_binary: bool
    is_padding_skipped: bool
    pad_value: str
    weight_words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMapArgs:
    """An element-wise kernel whose result is one number a thread.

    Args:
        lines: statements that leave the result in ``value``, from ``image`` and ``i``.
    """

    template: ClassVar[str] = "cuda/value_map.cu.j2"
    comment: str
    layer: str
    tables: str
    parameters: str
    blocks: int
    count: int
    lines: tuple[str, ...]
    has_border: bool
    border_rows: str
    border_columns: str
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignMapArgs:
    """An element-wise kernel whose result is one sign a thread, packed by a ballot.

    Args:
        lines: statements that leave the sign in ``is_plus``, from ``image``, ``channel`` and ``pixel``.
    """

    template: ClassVar[str] = "cuda/sign_map.cu.j2"
    comment: str
    layer: str
    tables: str
    parameters: str
    blocks: int
    vectors: int
    pixels: int
    channels: int
    lines: tuple[str, ...]
    has_border: bool
    border_rows: str
    border_columns: str
    height: int
    width: int
    y_layout: str
    y_word_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WordMapArgs:
    """An element-wise kernel on words of 32 signs.

    Args:
        lines: statements that leave the result in ``word``, from ``x_image``, ``vector`` and ``i``.
    """

    template: ClassVar[str] = "cuda/word_map.cu.j2"
    comment: str
    layer: str
    parameters: str
    blocks: int
    vectors: int
    x_layout: str
    x_vectors: int
    lines: tuple[str, ...]
    y_layout: str
    y_word_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelArgs:
    """The kernel of one layer: a block makes one tile.

    Args:
        name: of the kernel.
        layer: the structure that holds its device function.
        bounds: threads of a block, and blocks that a multiprocessor should hold.
        parameters: as in the device function.
        arguments: what the device function is called with.
        has_shared: whether it works in shared memory.
        is_early: whether its first weights are loaded before anything else.
        is_bmma: whether it is left out where tensor cores multiply no single bits.
    """

    template: ClassVar[str] = "cuda/kernel.cu.j2"
    name: str
    layer: str
    bounds: str
    parameters: str
    arguments: str
    has_shared: bool
    is_early: bool
    is_bmma: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseArgs:
    """One layer of a persistent kernel.

    Args:
        number: from 1 on.
        lines: of its comment.
        tiles: how many there are, in C.
        layer: the structure that holds its device functions.
        place: the first arguments: shared memory, and which tile ``i`` is.
        values: the other arguments and the end of the call, in lines.
        is_early: whether a block's first weights are loaded before it waits.
        early: what they are called.
        first_group: of outputs, of the block's first tile, in C; ``group`` that of tile ``i``.
        weight: where the weights are, in C.
        has_barrier: whether all blocks wait before it.
        has_shared: whether the device function works in shared memory.
    """

    number: int
    lines: tuple[str, ...]
    tiles: str
    layer: str
    place: str
    values: tuple[str, ...]
    is_early: bool
    early: str
    first_group: str
    group: str
    weight: str
    has_barrier: bool
    has_shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistentArgs:
    """The kernel of a whole network.

    Args:
        name: of the kernel.
        bounds: threads of a block, and blocks that a multiprocessor should hold.
        members: declarations of what each layer needs of shared memory.
        prefetches: calls that bring weights into the L2 cache.
        phases: the layers in order.
        is_bmma: whether it is left out where tensor cores multiply no single bits.
    """

    template: ClassVar[str] = "cuda/persistent.cu.j2"
    comment: str
    name: str
    bounds: str
    parameters: str
    has_shared: bool
    members: tuple[str, ...]
    prefetches: tuple[str, ...]
    phases: tuple[PhaseArgs, ...]
    is_bmma: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArgs:
    """The source file of a network."""

    template: ClassVar[str] = "cuda/model.cu.j2"
    title: str
    plan: tuple[str, ...]
    runtime_header: str
    kernels: tuple[str, ...]


def _x_index(step: int) -> str:
    index = "(in_plane * H + in_y) * W + in_x"
    return index if step == 1 else f"({index}) * {step}"
