"""Level 3, ``kernel``: what one target runs: physical layouts, packed constants, byte offsets.

Signs and sums have become words and mismatches: with bit 1 = +1, ``acc = K - 2 * mismatches`` and
``acc >= bound`` is ``mismatches <= limit`` with ``limit = floor((K - bound) / 2)``. Every layer is a window:
a dense layer is one whose kernel covers the whole ``[H, W]`` of its input.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from bnncc.ir import bit
from bnncc.ir.graph import Graph, Node
from bnncc.ir.types import ConstRef, Layout, Value
from bnncc.ir.window import Border, Window


class LaneOrder(Enum):
    """Which output stands in which lane of a panel of weights.

    - ``NATURAL``: lane ``l`` holds output ``l`` of the panel.
    - ``FRAGMENT``: lane ``l`` holds output ``l % 8 // 2 * (lanes / 4) + l // 8 * 2 + l % 2``. A thread of a
      tensor core's product owns columns ``8 j + 2 t`` and the next, ``t`` being its place among four: so its
      outputs follow one another, and their signs are whole words of the packed result without an exchange.

    Activations, limits, flips and tables are in the natural order always.
    """

    NATURAL = "natural"
    FRAGMENT = "fragment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How a target stores the weights of a layer, as ``u32[ceil(O / lanes)][V][lanes][vector_bits / 32]``.

    ``lanes`` neighbouring outputs stand side by side, so that one vector load serves them all. ``V`` counts
    vectors of ``vector_bits`` along ``K``, in the order in which the activations lie in memory:

    - ``NHWC_WORDS64``: tap row, tap column, then words of the channels (``ceil(C / vector_bits)`` of them).
    - ``PLANES128``, ``ROWS8X128``: plane of 128 channels, tap row, tap column.

    Channels past ``C`` and outputs past ``O`` are 0 bits. Where ``is_by_byte`` the bytes of a vector are
    transposed, ``u8[ceil(O / lanes)][V][vector_bits / 8][lanes]``: the same byte of all lanes is together.
    ``V`` is rounded up to a multiple of ``vector_multiple`` by vectors of 0 bits.
    """

    lanes: int
    vector_bits: int
    is_by_byte: bool = False
    order: LaneOrder = LaneOrder.NATURAL
    vector_multiple: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTiles:
    """The weights of a layer once more, in the form that another kernel of the same target reads.

    Args:
        weight: the very signs of the layer's weights, as ``packing`` says.
        packing: see above.
    """

    weight: ConstRef
    packing: Packing


class IntegerForm(Enum):
    """How the weights of an integer layer are stored; ``k`` runs over channel, tap row, tap column.

    - ``BYTES``: i8 ``[ceil(O / lanes)][ceil(K / 4)][lanes][4]`` of -1/+1, 0 past ``K`` and ``O``.
    - ``FIFTEENS``: u32 ``[ceil(O / 32)][ceil(K / 15)][16]`` as `pack_row_bits` gives them: 15 signs of each
      of two outputs in a word, to look up sums of five pixels.
    - ``QUADS``: u32 ``[ceil(O / lanes)][ceil(K / 32)][lanes]`` as `pack_quad_bits` gives them: a word is 32
      signs of one output, four of which become four bytes by one shift.
    """

    BYTES = "bytes"
    FIFTEENS = "fifteens"
    QUADS = "quads"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageForm:
    """The layouts that one form of one target works on.

    Args:
        spatial: of signs that a convolution or an element-wise operation reads.
        rows: of signs that only dense layers read.
        packing: of the weights of binary layers.
        integer_lanes: outputs side by side in the weights of integer layers.
        images_per_group: the batch is stored in whole groups of this many images.
        has_weight_ones: whether binary layers carry the ones of their weights.
        dense_integers: how dense integer layers store their weights.
        integer_windows: how other integer layers do.
    """

    spatial: Layout
    rows: Layout
    packing: Packing
    integer_lanes: int
    images_per_group: int
    has_weight_ones: bool = False
    dense_integers: IntegerForm = IntegerForm.BYTES
    integer_windows: IntegerForm = IntegerForm.BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSigns:
    """Store packed signs: ``(mismatches <= limits[class, o]) ^ flips[o]``, OR over ``pool``, ``^ flips``.

    For an `IntegerLayer` the test is ``acc >= limits[class, o]``.

    Shapes:
        limits: ``[classes, O']`` i32, ``O'`` being ``O`` rounded up to whole lanes and to 32; outputs past
        ``O`` never fire; those of an `XnorLayer` lie in ``[-1, K]``. flips, flips_after_pool: ``[O' / 32]``
        words, None where no channel is flipped.
    """

    limits: ConstRef
    border: Border | None
    flips: ConstRef | None
    pool: Window | None
    flips_after_pool: ConstRef | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreScores:
    """Store ``fl32(fl32(scale[o] * fl32(n)) + shift[o])``, ``n = multiply * acc + table[class, o]``, PLAIN.

    Shapes:
        table: ``[classes, O]`` i32 or None (0). scale, shift: ``[O]`` f32.
    """

    multiply: int
    table: ConstRef | None
    border: Border | None
    scale: ConstRef
    shift: ConstRef


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSums:
    """Store ``n = multiply * acc + table[class, o]``, PLAIN. Shapes: table ``[classes, O]`` i32 or None."""

    multiply: int
    table: ConstRef | None
    border: Border | None


Store: TypeAlias = StoreSigns | StoreScores | StoreSums


@dataclass(frozen=True, slots=True, kw_only=True)
class XnorLayer(Node):
    """``mismatches[o, y, x] = sum over taps and vectors of popcount(weight ^ x)``, then ``store``.

    Pixels outside the image are 0 bits (signs -1); ``acc = fan_in_bits - 2 * mismatches`` with
    ``fan_in_bits = C * taps``. What counts common ones instead of mismatches needs the ones of both sides:
    ``mismatches = ones(weight) + ones(x) - 2 * popcount(weight & x)``.

    Shapes:
        x: ``[C, H, W]`` or ``[C]`` sign, packed. weight: u32 as ``packing`` says.
        weight_ones: ``[O']`` i32, the number of 1 bits of each output's weights, ``O'`` as for `StoreSigns`;
        None where the target does not count ones. tiles: None where one form serves every kernel.
        result: ``[O, H', W']`` or ``[O]``; packed for `StoreSigns`, else PLAIN.
    """

    x: Value
    weight: ConstRef
    packing: Packing
    window: Window
    outputs: int
    store: Store
    weight_ones: ConstRef | None = None
    tiles: WeightTiles | None = None

    @property
    def fan_in_bits(self) -> int:
        """Return K, the number of terms of each sum."""
        return self.x.type.channels * self.window.taps


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerLayer(Node):
    """``acc[o, y, x] = sum_k weight[o, k] * x[k]`` over u8 or i8 pixels, then ``store``.

    ``k`` runs over channel, tap row, tap column; pixels outside the image are 0.

    Shapes:
        x: ``[C, H, W]`` or ``[C]`` u8 or i8, PLAIN.
        weight: as ``form`` says.
        result: as for `XnorLayer`.
    """

    x: Value
    weight: ConstRef
    lanes: int
    window: Window
    outputs: int
    store: Store
    form: IntegerForm = IntegerForm.BYTES

    @property
    def is_tabled(self) -> bool:
        """Return whether sums of pixels are looked up."""
        return self.form is IntegerForm.FIFTEENS

    @property
    def fan_in(self) -> int:
        """Return K, the number of terms of each sum."""
        return self.x.type.channels * self.window.taps


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatLayer(Node):
    """``result[o, y, x] = sum_k weight[k, o] * x[k]`` in f32, one rounding a product and one an addition.

    ``k`` runs over tap row, tap column, channel, in this order; taps outside the image are left out if
    ``pad_value`` is 0, else count as ``pad_value``.

    Shapes:
        x: ``[C, H, W]`` or ``[C]`` f32, PLAIN. weight: ``[K, O]`` f32, or signs as
        ``u32[K][ceil(O / 32)]`` words. result: ``[O, H', W']`` or ``[O]`` f32, PLAIN.
    """

    x: Value
    weight: ConstRef
    is_binary: bool
    window: Window
    outputs: int
    pad_value: int


KernelOp: TypeAlias = (
    XnorLayer
    | IntegerLayer
    | FloatLayer
    | bit.BorderAffine
    | bit.Threshold
    | bit.FlipSigns
    | bit.Sign
    | bit.MaxPool2d
    | bit.Flatten
    | bit.Affine
    | bit.Relu
    | bit.HardTanh
    | bit.Prelu
    | bit.Add
    | bit.Concat
    | bit.ChangeLayout
)
"""The layers, and the element-wise operations of the bit level that no layer absorbed.

Their constants are physical here: `bit.Threshold` bounds and `bit.BorderAffine` tables i32, flips ``u8[O]``.
"""

KernelGraph: TypeAlias = Graph[KernelOp]


class Role(Enum):
    """Who owns a buffer: the caller gives inputs and takes outputs; the workspace is the program's."""

    INPUT = "input"
    OUTPUT = "output"
    WORKSPACE = "workspace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Where a value lies.

    Args:
        value: the value.
        role: inputs and outputs are arrays of the caller, in batch order.
        bytes_per_image: length; the buffer of a batch is that many times the images, rounded up to whole
            groups of ``KernelProgram.images_per_group``.
        offset_bytes_per_image: start in the workspace, to be multiplied alike; 0 for inputs and outputs.
    """

    value: Value
    role: Role
    bytes_per_image: int
    offset_bytes_per_image: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSlice:
    """Where a constant lies in the weights blob; ``offset_bytes`` is a multiple of 64."""

    ref: ConstRef
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProgram:
    """A network as one target runs it: calls in order, where values lie, where constants lie.

    Args:
        graph: one node a kernel call; constants are in physical form.
        buffers: one for each value of the graph.
        slices: one for each constant, in the order of the blob.
        images_per_group: the batch granularity of the layouts (8 for ``ROWS8X128``, else 1).
        workspace_bytes_per_image: a multiple of 64.
        blob_bytes: length of the weights blob.
    """

    graph: KernelGraph
    buffers: tuple[Buffer, ...]
    slices: tuple[BlobSlice, ...]
    images_per_group: int
    workspace_bytes_per_image: int
    blob_bytes: int

    def buffer(self, value: Value) -> Buffer:
        """Return where ``value`` lies."""
        return next(item for item in self.buffers if item.value.name == value.name)

    def slice(self, ref: ConstRef) -> BlobSlice:
        """Return where the constant lies."""
        return next(
            item for item in self.slices if item.ref.digest == ref.digest and item.ref.type == ref.type
        )

    def blob(self) -> bytes:
        """Return the weights blob: every constant at its offset, zero bytes between."""
        content = bytearray(self.blob_bytes)
        for item in self.slices:
            content[item.offset_bytes : item.offset_bytes + item.size_bytes] = self.graph.array(
                item.ref
            ).tobytes()
        return bytes(content)
