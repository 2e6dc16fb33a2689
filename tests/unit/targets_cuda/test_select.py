"""Who takes which tier: by architecture, batch and layer, from the numbers of the cost model."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bnncc.targets.cuda.artifact import Traffic
from bnncc.targets.cuda.cost import Work, seconds
from bnncc.targets.cuda.cut import CUTS, SHARED_BYTES
from bnncc.targets.cuda.device import DEVICES, B1Form, device_for
from bnncc.targets.cuda.launch import LaunchGeometry
from bnncc.targets.cuda.select import BATCHES, DENSE_IMAGES, NO_PATCH, Tier
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.cuda_compiler import ARCHITECTURES
from tests.codegen.cuda.layer_groups import BINARY_GROUPS, SAME3, conv_large, dense_chain, plain_values
from tests.cuda_programs import ROWS, Bits, Store


def wide_program():
    b = Bits("wide")
    x = b.layer(b.packed(128, 16, 16), 128, SAME3, Store(has_border=True, layout=ROWS))
    x = b.layer(x, 1024, None, Store(layout=ROWS))
    return b.output(b.layer(x, 10, None, Store(kind="scores")), "scores").program()


def tiers(artifact, arch, images):
    return [launch.tier for launch in artifact.launches_for(arch, images) if launch.tier]


def test_every_architecture_is_described():
    assert tuple(DEVICES) == ARCHITECTURES
    assert {arch for arch, device in DEVICES.items() if device.b1_form is None} == {"sm_100a", "sm_120"}
    for device in DEVICES.values():
        assert (device.b1_macs > 0) == (device.b1_form is not None)


@pytest.mark.parametrize(
    ("code", "capability", "expected"),
    [
        ("sm_80", (8, 0), "sm_80"),
        ("sm_80", (8, 6), "sm_86"),
        ("sm_86", (8, 7), "sm_86"),
        ("sm_75", (8, 9), "sm_89"),
        ("sm_90a", (9, 0), "sm_90a"),
        ("sm_80", (9, 0), None),  # xor is emulated there
        ("sm_80", (10, 0), None),
        ("sm_89", (12, 0), None),
        ("sm_120", (12, 1), "sm_120"),
        ("sm_100a", (10, 0), "sm_100a"),
        ("sm_80", (7, 0), None),
        ("sm_999", (8, 0), None),
    ],
)
def test_rates_count_only_where_the_code_is_native(code, capability, expected):
    found = device_for(code, capability)
    assert (found and found.arch) == expected


def test_batches_decide():
    artifact = CudaTarget().emit(wide_program())
    assert tiers(artifact, "sm_80", 4096) == ["bmma", "bmma", "bmma"]
    assert tiers(artifact, "sm_80", 1)[1:] == ["popc", "popc"], "few images stay with popc in dense layers"
    for arch in ("sm_100a", "sm_120", None):
        assert set(tiers(artifact, arch, 4096)) == {"popc"}


@pytest.mark.parametrize("make", BINARY_GROUPS, ids=lambda make: make.__name__)
def test_dense_layers_need_some_images(make):
    artifact = CudaTarget().emit(make())
    for variant in artifact.variants:
        for use in variant.uses:
            assert use.from_images is None or use.from_images in BATCHES
            if variant.launch.geometry.images_per_step > 1:
                assert use.from_images is None or use.from_images >= DENSE_IMAGES


def test_every_choice_has_a_reason():
    program = conv_large()
    artifact = CudaTarget().emit(program)
    uses = dict(artifact.tier_uses)
    assert len(uses) == sum(type(node).__name__ == "XnorLayer" for node in program.graph.nodes)
    assert {use.reason for use in uses["conv2"] if use.tier == Tier.BMMA} == {NO_PATCH}
    assert all(use.reason for found in uses.values() for use in found)


def test_tiers_can_be_forced():
    program = wide_program()
    popc, bmma = (CudaTarget(tier=tier).emit(program) for tier in (Tier.POPC, Tier.BMMA))
    assert not popc.variants
    assert not bmma.variants
    assert "bmma" not in popc.source.text
    assert "xnor_rows<" not in bmma.source.text.split("// bnncc_bmma.cuh")[1]
    assert {launch.tier for launch in bmma.launches} >= {"bmma"}
    assert CudaTarget(tier=Tier.BMMA).emit(conv_large()).launches_for(None, 1)


def test_networks_without_layers_of_signs_or_bytes_need_no_tensor_cores():
    assert "bmma" not in CudaTarget().emit(plain_values()).source.text


def test_launches_of_an_architecture():
    artifact = CudaTarget().emit(dense_chain())
    assert len(artifact.all_launches) > len(artifact.launches)
    assert artifact.launches_on("sm_80") == artifact.all_launches
    assert artifact.launches_on("sm_120") == artifact.launches_on(None) == artifact.launches


def test_the_ones_of_rows_cost_a_product_where_common_ones_are_counted():
    work = Work(products=32, row_loads=4, column_loads=4)
    clocks = {form: work.clocks(device, 64) * device.b1_macs for form, device in by_form().items()}
    assert clocks[B1Form.AND] / clocks[B1Form.XOR] == pytest.approx(36 / 32)


def by_form():
    return {B1Form.XOR: DEVICES["sm_80"], B1Form.AND: DEVICES["sm_90a"]}


def test_time_is_that_of_the_narrowest():
    device = DEVICES["sm_80"]
    geometry = LaunchGeometry(images_per_step=1, blocks_per_step=1, grid_y=1, threads=32, shared_bytes=0)
    none = Traffic(read_bytes_per_image=0, written_bytes_per_image=0, constant_bytes=0)
    full = Traffic(read_bytes_per_image=10**9, written_bytes_per_image=0, constant_bytes=0)
    work = Work(popcounts=16 * 1000, single_popcounts=16)
    assert seconds(work, geometry, none, device, 108) == pytest.approx(1000 / 1.41e9)
    assert seconds(work, geometry, none, device, 109) == pytest.approx(2000 / 1.41e9)
    assert seconds(work, geometry, none, device, 1) == pytest.approx(1 / 1.41e9)
    assert seconds(work, geometry, full, device, 1) == pytest.approx(1 / 1555)


@pytest.mark.parametrize("cut", CUTS)
def test_cuts_fit_a_block(cut):
    assert cut.threads <= 256
    assert cut.n_tiles in {4, 8, 16}
    assert cut.step % 2 == 0
    assert cut.threads % cut.rows == cut.threads % cut.columns == 0, "a thread copies of one row"
    assert (cut.rows + cut.columns) * cut.step * cut.stages * 16 <= SHARED_BYTES
    assert cut.resident_blocks * cut.threads <= 1024


def test_cuts_go_from_large_to_small():
    assert all(a.rows * a.columns >= b.rows * b.columns for a, b in pairwise(CUTS))
