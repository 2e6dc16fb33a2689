"""How many images go through a network at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnncc.targets.cuda.artifact import CudaArtifact, Launch, Traffic
from bnncc.targets.cuda.batches import MOST_IMAGES, STEP_IMAGES, images_at_once
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.launch import LaunchGeometry

RATES = DEVICES["sm_90a"]


def network(*moved, constants=0, blocks=1):
    """Return a network whose launches read and write these bytes an image."""
    geometry = LaunchGeometry(images_per_step=1, blocks_per_step=blocks, grid_y=1, threads=32, shared_bytes=0)
    launches = tuple(
        Launch(
            kernel=f"k{index}",
            node=f"n{index}",
            origin="a.bnn:1:1",
            arguments=(),
            geometry=geometry,
            traffic=Traffic(
                read_bytes_per_image=read, written_bytes_per_image=written, constant_bytes=constants
            ),
        )
        for index, (read, written) in enumerate(moved)
    )
    return CudaArtifact(
        name="net",
        files=(),
        launches=launches,
        inputs=(),
        outputs=(),
        buffers=(),
        images_per_group=1,
        workspace_bytes_per_image=0,
        blob_bytes=0,
    )


LARGE = network((3072, 1 << 20), (1 << 20, 1 << 20), (1 << 20, 40), blocks=64)


def test_a_large_network_is_cut_to_half_of_the_cache():
    images = images_at_once(LARGE, RATES, 256 << 20)
    assert images == 64
    assert images * (2 << 20) <= 128 << 20


def test_weights_take_their_share():
    heavy = network((3072, 1 << 20), (1 << 20, 1 << 20), (1 << 20, 40), constants=96 << 20, blocks=64)
    assert images_at_once(heavy, RATES, 256 << 20) == 16


@pytest.mark.parametrize(
    ("artifact", "rates", "l2_bytes"),
    [
        (LARGE, None, 256 << 20),
        (LARGE, RATES, 0),
        (LARGE, RATES, 1 << 20),  # not one step fits
        (network((784, 128), (128, 40)), RATES, 256 << 20),  # all fits
        (network((1 << 20, 8), (8, 1 << 20)), RATES, 256 << 20),  # nothing saved between the launches
        (network((3072, 1 << 20), (1 << 20, 1 << 20), (1 << 20, 40)), RATES, 256 << 20),  # too few blocks
        (replace(LARGE, launches=()), RATES, 256 << 20),
    ],
)
def test_what_is_not_cut(artifact, rates, l2_bytes):
    assert images_at_once(artifact, rates, l2_bytes) == MOST_IMAGES


traffic = st.tuples(st.integers(1, 1 << 21), st.integers(1, 1 << 21))


@given(
    st.lists(traffic, min_size=1, max_size=6),
    st.integers(0, 1 << 24),
    st.integers(1, 64),
    st.sampled_from(sorted(DEVICES)),
    st.integers(0, 1 << 28),
)
def test_a_sub_batch_fits_and_pays(moved, constants, blocks, arch, l2_bytes):
    artifact, rates = network(*moved, constants=constants, blocks=blocks), DEVICES[arch]
    images = images_at_once(artifact, rates, l2_bytes)
    if images == MOST_IMAGES:
        return
    assert images % STEP_IMAGES == 0
    assert images * max(map(sum, moved)) + constants <= l2_bytes / 2
    inner = sum(map(sum, moved)) - moved[0][0] - moved[-1][1]
    assert images * inner / (rates.memory_gb_s * 1e9) > 1.5e-6 * len(moved)
    assert math.prod(artifact.launches[0].geometry.grid(images)) >= rates.multiprocessors
