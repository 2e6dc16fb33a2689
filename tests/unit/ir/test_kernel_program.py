"""Packing, lowering to kernels and the memory plan keep the meaning of a fused bit graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnncc.ir import bit, kernel
from bnncc.ir.graph import Graph, Output, digest_of, freeze
from bnncc.ir.packing import (
    load_signs,
    load_vectors,
    pack_weights,
    pack_words,
    store_signs,
    unpack_words,
    weight_vectors,
    weight_words,
)
from bnncc.ir.reference import evaluate_bit
from bnncc.ir.reference.program import run_program
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value
from bnncc.ir.window import Window, border_taps
from bnncc.passes.lower_to_kernels import LowerToKernels
from bnncc.passes.plan_memory import PlanMemory

PORTABLE = kernel.StorageForm(
    spatial=Layout.NHWC_WORDS64,
    rows=Layout.NHWC_WORDS64,
    packing=kernel.Packing(lanes=1, vector_bits=64),
    integer_lanes=16,
    images_per_group=1,
)
VECTOR = replace(PORTABLE, packing=kernel.Packing(lanes=16, vector_bits=32))
BY_BYTE = replace(PORTABLE, packing=kernel.Packing(lanes=16, vector_bits=32, is_by_byte=True))
GPU = kernel.StorageForm(
    spatial=Layout.PLANES128,
    rows=Layout.ROWS8X128,
    packing=kernel.Packing(lanes=32, vector_bits=128),
    integer_lanes=32,
    images_per_group=8,
    has_weight_ones=True,
)
FORMS = {"portable": PORTABLE, "vector": VECTOR, "by_byte": BY_BYTE, "gpu": GPU}


def random_signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


@pytest.mark.parametrize("length", range(1, 201))
def test_unpack_inverts_pack_and_padding_bits_are_zero(length):
    signs = random_signs(np.random.default_rng(length), 3, length)
    words = pack_words(signs, 64)
    np.testing.assert_array_equal(unpack_words(words, length), signs)
    assert int(np.bitwise_count(words).sum()) == int((signs > 0).sum())


@pytest.mark.parametrize("layout", [Layout.NHWC_WORDS64, Layout.PLANES128, Layout.ROWS8X128])
@pytest.mark.parametrize("channels", [1, 63, 64, 65, 128, 130])
@pytest.mark.parametrize("images", [1, 7, 8, 9])
def test_load_inverts_store(layout, channels, images):
    signs = random_signs(np.random.default_rng(0), images, channels, 3, 2)
    tensor = TensorType(Elem.SIGN, (channels, 3, 2), layout)
    np.testing.assert_array_equal(load_signs(store_signs(signs, layout), tensor, images), signs)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("outputs", "channels"), [(1, 1), (17, 33), (32, 128), (65, 130)])
def test_a_packed_weight_stands_against_its_activation(form, outputs, channels):
    rng = np.random.default_rng(1)
    weight = random_signs(rng, outputs, channels, 2, 3)
    image = random_signs(rng, 2, channels, 2, 3)
    bits = form.packing.vector_bits
    tensor = TensorType(Elem.SIGN, (channels, 2, 3), form.spatial)
    vectors = load_vectors(store_signs(image, form.spatial), tensor, 2, bits)
    shape = (outputs, -(-channels // bits), 2, 3)
    words = weight_words(pack_weights(weight, form.packing, form.spatial), form.packing)
    taps = weight_vectors(words, shape, form.spatial)
    mismatches = np.bitwise_count(vectors[:, None] ^ taps[None]).sum(axis=(2, 3, 4, 5))
    expected = np.einsum("ncyx,ocyx->no", image.astype(int), weight.astype(int))
    np.testing.assert_array_equal(channels * 6 - 2 * mismatches.astype(int), expected)


class Builder:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.constants = {}

    def const(self, name, elem, array):
        array = freeze(array)
        digest = digest_of(array)
        self.constants[digest] = array
        return ConstRef(name, TensorType(elem, array.shape), digest)


def small_network(form, channels=33, seed=3):
    """u8 conv (scored by border class, pooled, flipped) -> padded sign conv -> dense scores."""
    b = Builder(seed)
    first = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
    border = border_taps(first, 6, 5).border
    image = Value("image", TensorType(Elem.U8, (3, 6, 5)))
    a = Value("a", TensorType(Elem.SIGN, (channels, 3, 2), form.spatial))
    c = Value("c", TensorType(Elem.SIGN, (20, 3, 2), form.rows))
    d = Value("d", TensorType(Elem.F32, (10,)))
    nodes = (
        bit.Layer(
            result=a,
            x=image,
            weight=b.const("conv1.weight", Elem.SIGN, random_signs(b.rng, channels, 3, 3, 3)),
            window=first,
            epilogue=bit.ToSigns(
                bounds=b.const(
                    "t1", Elem.I32, b.rng.integers(-300, 300, (border.classes, channels), dtype=np.int32)
                ),
                border=border,
                flips=b.const("f1", Elem.BOOL, b.rng.random(channels) < 0.5),
                pool=Window(kernel=(2, 2), stride=(2, 2)),
                flips_after_pool=b.const("g1", Elem.BOOL, b.rng.random(channels) < 0.5),
            ),
        ),
        bit.Layer(
            result=c,
            x=a,
            weight=b.const("conv2.weight", Elem.SIGN, random_signs(b.rng, 20, channels, 3, 3)),
            window=first,
            epilogue=bit.ToSigns(
                bounds=b.const("t2", Elem.I32, b.rng.integers(-9, 9, (1, 20), dtype=np.int32)),
                border=None,
                flips=None,
                pool=None,
                flips_after_pool=None,
            ),
        ),
        bit.Layer(
            result=d,
            x=c,
            weight=b.const("dense3.weight", Elem.SIGN, random_signs(b.rng, 10, 120)),
            window=None,
            epilogue=bit.ToScores(
                multiply=1,
                table=None,
                border=None,
                scale=b.const("s", Elem.F32, b.rng.normal(size=10).astype(np.float32)),
                shift=b.const("h", Elem.F32, b.rng.normal(size=10).astype(np.float32)),
            ),
        ),
    )
    return Graph(
        name="small", inputs=(image,), nodes=nodes, outputs=(Output("scores", d),), constants=b.constants
    )


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("images", [1, 9])
@pytest.mark.parametrize("channels", [1, 33, 130])
def test_program_equals_bit_reference(form, images, channels):
    graph = small_network(form, channels)
    program = PlanMemory(form.images_per_group).run(LowerToKernels(form).run(graph))
    x = np.random.default_rng(9).integers(0, 256, (images, 3, 6, 5), dtype=np.uint8)
    expected = evaluate_bit(graph, {"image": x})["scores"]
    np.testing.assert_array_equal(run_program(program, {"image": x})["scores"], expected)


def test_overlapping_buffers_change_the_result():
    graph = small_network(PORTABLE)
    program = PlanMemory(1).run(LowerToKernels(PORTABLE).run(graph))
    squeezed = tuple(replace(buffer, offset_bytes_per_image=0) for buffer in program.buffers)
    x = np.random.default_rng(9).integers(0, 256, (2, 3, 6, 5), dtype=np.uint8)
    wrong = run_program(replace(program, buffers=squeezed), {"image": x})["scores"]
    assert not np.array_equal(wrong, run_program(program, {"image": x})["scores"])


def test_constants_start_at_multiples_of_64_bytes():
    program = PlanMemory(8).run(LowerToKernels(GPU).run(small_network(GPU)))
    assert all(item.offset_bytes % 64 == 0 for item in program.slices)
    assert len(program.blob()) == program.blob_bytes
