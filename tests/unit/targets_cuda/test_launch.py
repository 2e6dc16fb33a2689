"""Grids, blocks and tiles: every result is made, nothing exceeds what a block may have."""

from __future__ import annotations

import pytest

from bnncc.ir.window import Window
from bnncc.targets.cuda import launch


def square(kernel, *, stride=1, padding=0, dilation=1):
    return Window(
        kernel=(kernel,) * 2, stride=(stride,) * 2, padding=(padding,) * 4, dilation=(dilation,) * 2
    )


POOLS = {
    "none": None,
    "2x2": square(2, stride=2),
    "3x3": square(3, stride=2, padding=1),
    "9x9": square(9, stride=9),
}


@pytest.mark.parametrize("images", [1, 7, 8, 9, 4096])
def test_grid_grows_with_the_images(images):
    rows = launch.row_geometry(grid_y=5, shared_bytes=0)
    assert rows.grid(images) == (-(-images // 8), 5, 1)
    assert rows.block == (256, 1, 1)
    maps = launch.map_geometry(threads_per_image=257)
    assert maps.grid(images) == (2 * images, 1, 1)


def test_a_map_without_elements_has_a_block():
    assert launch.map_geometry(0).grid(1) == (1, 1, 1)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize(
    "window", [square(1), square(3, padding=1), square(5, stride=2), square(3, dilation=4)]
)
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (32, 32), (224, 224)])
def test_tiles_cover_the_result_and_fit_a_block(pool, window, size):
    problem = launch.TileProblem(window=window, pool=pool, out_size=size, grid_y=4)
    for tile in problem.candidates():
        assert tile.tiles_y * tile.out_rows >= size[0] > (tile.tiles_y - 1) * tile.out_rows
        assert tile.tiles_x * tile.out_columns >= size[1] > (tile.tiles_x - 1) * tile.out_columns
        assert tile.pixel_slots >= tile.pixels
        assert tile.threads <= launch.MAX_WARPS * launch.WARP
        assert tile.pixels_per_thread <= launch.WARP, "lane i keeps the word of sum i"
        last = (tile.out_rows - 1, tile.out_columns - 1)
        if pool is not None:
            assert tile.rows == last[0] * pool.stride[0] + (pool.kernel[0] - 1) * pool.dilation[0] + 1
        else:
            assert (tile.rows, tile.columns) == (last[0] + 1, last[1] + 1)


@pytest.mark.parametrize(
    ("size", "grid_y", "expected"),
    [
        ((32, 32), 4, (4, 8)),
        ((16, 16), 8, (4, 4)),
        ((8, 8), 16, (2, 4)),
        ((224, 224), 4, (8, 8)),
        ((3, 3), 1, (3, 3)),
    ],
)
def test_a_large_gpu_is_busy_with_one_image_where_it_can_be(size, grid_y, expected):
    problem = launch.TileProblem(window=square(3, padding=1), pool=None, out_size=size, grid_y=grid_y)
    tile = launch.choose_tile(problem, bytes_per_patch_pixel=16)
    assert (tile.rows, tile.columns) == expected


@pytest.mark.parametrize("kernel", [1, 3, 7, 15, 40, 52, 80])
@pytest.mark.parametrize("planes", [1, 6, 64])
def test_staged_planes_fit_static_shared_memory(kernel, planes):
    problem = launch.TileProblem(window=square(kernel), pool=None, out_size=(20, 20), grid_y=1)
    tile = launch.choose_tile(problem, bytes_per_patch_pixel=16)
    staged = launch.staged_planes(tile, planes)
    assert 0 <= staged <= planes
    assert staged * tile.patch_pixels * 16 + tile.pixel_slots * 4 <= 48 * 1024
    assert (staged == 0) == (kernel >= 52), "larger windows are read in place"


@pytest.mark.parametrize(("words", "expected"), [(1, 1), (7, 7), (8, 8), (25, 8)])
def test_staged_words(words, expected):
    assert launch.staged_words(words) == expected
