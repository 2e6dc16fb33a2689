"""Launch geometry and tile sizes: computed once from shapes, frozen, the same for every batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bnncc.ir.window import Window

WARP: Final = 32
MAP_THREADS: Final = 256
ROW_IMAGES: Final = 8
"""Images that one block of a dense layer takes, and its warps."""
ROW_THREADS: Final = ROW_IMAGES * WARP
ROW_PARTIAL_BYTES: Final = ROW_IMAGES * ROW_THREADS * 4

SHARED_LIMIT_BYTES: Final = 40 * 1024
"""Below the 48 KiB of static shared memory that every architecture gives a block."""
MAX_WARPS: Final = 8
RESIDENT_THREADS: Final = 640
"""Threads that should fit one multiprocessor; the assembler may use about 100 registers a thread then."""
ROW_RESIDENT_BLOCKS: Final = 4
"""Blocks of a dense layer that should fit one multiprocessor: 64 registers a thread."""
MAX_RESIDENT_BLOCKS: Final = 16
"""Of one multiprocessor, on the architecture that holds fewest (sm_75, sm_86)."""
BUSY_BLOCKS: Final = 128
"""Blocks an image from which a large GPU is busy with batch 1."""
_TILES: Final = ((8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2), (1, 1))
_STAGED_WORDS: Final = 8
_EARLY_VECTORS: Final = 8
"""Four registers each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchGeometry:
    """Grid and block of one launch; the grid grows with the number of images.

    Args:
        images_per_step: images that ``blocks_per_step`` blocks along x take.
        blocks_per_step: see above.
        grid_y: blocks along y.
        threads: of one block, all along x.
        shared_bytes: static shared memory of one block.
        dynamic_shared_bytes: what a block gets besides at its launch.
        most_blocks: along x, where a block makes one tile after the other.
    """

    images_per_step: int
    blocks_per_step: int
    grid_y: int
    threads: int
    shared_bytes: int
    dynamic_shared_bytes: int = 0
    most_blocks: int | None = None

    def tiles(self, images: int) -> int:
        """Return what blocks make of ``images``, one tile each where nothing limits their number."""
        return -(-images // self.images_per_step) * self.blocks_per_step * self.grid_y

    def grid(self, images: int) -> tuple[int, int, int]:
        """Return the grid for ``images``."""
        blocks = -(-images // self.images_per_step) * self.blocks_per_step
        return (blocks if self.most_blocks is None else min(blocks, self.most_blocks), self.grid_y, 1)

    @property
    def block(self) -> tuple[int, int, int]:
        """Return the block."""
        return (self.threads, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """The rectangle of one layer's result that a block makes, and the sums it needs for that.

    Args:
        out_rows: of the result, after pooling.
        out_columns: see above.
        rows: of sums, before pooling.
        columns: see above.
        tiles_y: tiles that cover the result.
        tiles_x: see above.
        pixels_per_thread: sums that one thread holds at a time.
        warps: that work on different pixels, a divisor of `MAX_WARPS`; a thread has what its warp has.
        patch_rows: of the input that lie under the sums.
        patch_columns: see above.
    """

    out_rows: int
    out_columns: int
    rows: int
    columns: int
    tiles_y: int
    tiles_x: int
    pixels_per_thread: int
    warps: int
    patch_rows: int
    patch_columns: int

    @property
    def tiles(self) -> int:
        """Return the number of blocks along x for one image."""
        return self.tiles_y * self.tiles_x

    @property
    def pixels(self) -> int:
        """Return the number of sums."""
        return self.rows * self.columns

    @property
    def out_pixels(self) -> int:
        """Return the number of results."""
        return self.out_rows * self.out_columns

    @property
    def pixel_slots(self) -> int:
        """Return the number of sums that all rounds of the block can take."""
        round_pixels = self.warps * self.pixels_per_thread
        return -(-self.pixels // round_pixels) * round_pixels

    @property
    def parts(self) -> int:
        """Return how many warps share a sum: as many as the block has for each of ``warps``."""
        return MAX_WARPS // self.warps

    @property
    def partial_bytes(self) -> int:
        """Return the shared memory in which the parts of a sum come together."""
        return (self.parts - 1) * self.warps * self.pixels_per_thread * WARP * 4

    @property
    def own_bytes(self) -> int:
        """Return the shared memory for sums and results."""
        return self.pixel_slots * 4 + self.partial_bytes

    @property
    def threads(self) -> int:
        """Return the threads of the block."""
        return self.warps * self.parts * WARP

    @property
    def resident_blocks(self) -> int:
        """Return the blocks that one multiprocessor should hold at the same time."""
        return max(1, RESIDENT_THREADS // self.threads)

    @property
    def patch_pixels(self) -> int:
        """Return the pixels of the input under the tile."""
        return self.patch_rows * self.patch_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class TileProblem:
    """What a tile has to cover: the window and the pool of a layer, its result, its groups of 32 channels."""

    window: Window
    pool: Window | None
    out_size: tuple[int, int]
    grid_y: int

    def tile(self, rows: int, columns: int) -> Tile:
        """Return the tile of about ``rows`` x ``columns`` sums."""
        step = self.pool.stride if self.pool else (1, 1)
        out_rows = min(max(1, rows // step[0]), self.out_size[0])
        out_columns = min(max(1, columns // step[1]), self.out_size[1])
        sum_rows, sum_columns = out_rows, out_columns
        if self.pool is not None:
            sum_rows, sum_columns = covered(self.pool, out_rows, out_columns)
        pixels = sum_rows * sum_columns
        per_thread = 8 if pixels >= 64 else 4
        patch_rows, patch_columns = covered(self.window, sum_rows, sum_columns)
        return Tile(
            out_rows=out_rows,
            out_columns=out_columns,
            rows=sum_rows,
            columns=sum_columns,
            tiles_y=-(-self.out_size[0] // out_rows),
            tiles_x=-(-self.out_size[1] // out_columns),
            pixels_per_thread=per_thread,
            warps=next((warps for warps in (1, 2, 4) if warps * per_thread >= pixels), MAX_WARPS),
            patch_rows=patch_rows,
            patch_columns=patch_columns,
        )

    def candidates(self) -> tuple[Tile, ...]:
        """Return the tiles to choose from, from large to small."""
        return tuple(dict.fromkeys(self.tile(rows, columns) for rows, columns in _TILES))


def covered(window: Window, rows: int, columns: int) -> tuple[int, int]:
    """Return the rows and columns that ``rows`` x ``columns`` positions of ``window`` look at."""
    return (
        (rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1,
        (columns - 1) * window.stride[1] + (window.kernel[1] - 1) * window.dilation[1] + 1,
    )


def choose_tile(problem: TileProblem, bytes_per_patch_pixel: int) -> Tile:
    """Return the largest tile that fits shared memory and keeps a large GPU busy with one image.

    Where no tile gives enough blocks, the one of at least eight sums that gives most; where none fits, the
    smallest: its kernel reads the input in place.
    """
    fitting = [
        tile
        for tile in problem.candidates()
        if tile.patch_pixels * bytes_per_patch_pixel + tile.own_bytes <= SHARED_LIMIT_BYTES
    ]
    if not fitting:
        return problem.candidates()[-1]
    busy = [tile for tile in fitting if tile.tiles * problem.grid_y >= BUSY_BLOCKS]
    if busy:
        return busy[0]
    wide = [tile for tile in fitting if tile.pixels >= 8]
    return wide[-1] if wide else fitting[0]


def spread_tile(tile: Tile) -> Tile:
    """Return ``tile`` with its sums over all warps of the block."""
    return replace(tile, warps=MAX_WARPS, pixels_per_thread=min(8, -(-tile.pixels // MAX_WARPS)))


def row_columns(groups: int) -> int:
    """Return how many outputs a tile of a binary dense layer has, for a GPU busy with one image."""
    return next((columns for columns in (32, 16) if groups * 32 // columns >= BUSY_BLOCKS), 8)


def early_vectors(vectors: int, columns: int) -> int:
    """Return how many vectors of weights a thread of a dense layer loads before anything else."""
    return min(_EARLY_VECTORS, -(-vectors * columns // ROW_THREADS))


def staged_planes(tile: Tile, planes: int) -> int:
    """Return how many planes of 128 channels fit shared memory at a time; 0 where not even one does."""
    room = SHARED_LIMIT_BYTES - tile.own_bytes
    return min(planes, room // (tile.patch_pixels * 16))


def staged_words(words: int) -> int:
    """Return how many runs of 32 inputs, the signs of a word, an integer layer stages at a time."""
    return min(words, _STAGED_WORDS)


def map_geometry(threads_per_image: int) -> LaunchGeometry:
    """Return the geometry of an element-wise kernel."""
    return LaunchGeometry(
        images_per_step=1,
        blocks_per_step=max(1, -(-threads_per_image // MAP_THREADS)),
        grid_y=1,
        threads=MAP_THREADS,
        shared_bytes=0,
    )


def tile_geometry(tile: Tile, grid_y: int, shared_bytes: int) -> LaunchGeometry:
    """Return the geometry of a layer that works in tiles of one image."""
    return LaunchGeometry(
        images_per_step=1,
        blocks_per_step=tile.tiles,
        grid_y=grid_y,
        threads=tile.threads,
        shared_bytes=shared_bytes,
    )


def row_geometry(grid_y: int, shared_bytes: int) -> LaunchGeometry:
    """Return the geometry of a dense layer."""
    return LaunchGeometry(
        images_per_step=ROW_IMAGES,
        blocks_per_step=1,
        grid_y=grid_y,
        threads=ROW_THREADS,
        shared_bytes=shared_bytes,
    )
