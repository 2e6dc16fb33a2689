"""Every kernel of the C target equals the reference, bit for bit, in all forms and with both compilers."""

from __future__ import annotations

import functools
import shutil
from itertools import cycle, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnncc.ir import bit
from bnncc.ir.reference import evaluate_bit
from bnncc.ir.reference.program import run_program
from bnncc.ir.types import Elem, Layout
from bnncc.ir.window import Window, border_taps
from bnncc.passes.pipeline import layout_passes, lower_network, run_pipeline
from bnncc.runtime.native import NativeExecutable, machine_named
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.target import CTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import HostCompiler, find_c_compiler
from tests.corpus import CORPUS
from tests.networks import square
from tests.unit.targets_c.builder import PACKED, Bits, merged, program_of, random_inputs

CHANNELS = (1, 3, 20, 31, 32, 33, 63, 64, 65, 100, 128, 130)
COMPILERS = [name for name in ("gcc", "clang", "clang-19") if shutil.which(name)][:2]
NATIVE_FORM = machine_named("native").form


def form_params() -> list:
    """Return all forms; those that this processor cannot run are skipped."""
    no_avx2 = pytest.mark.skipif(
        NATIVE_FORM not in (CForm.AVX2, CForm.AVX512), reason="this processor has no AVX2"
    )
    no_avx512 = pytest.mark.skipif(
        NATIVE_FORM is not CForm.AVX512, reason="this processor has no AVX-512 with VPOPCNTDQ and VNNI"
    )
    return [
        CForm.PORTABLE,
        pytest.param(CForm.AVX2, marks=no_avx2),
        pytest.param(CForm.AVX512, marks=no_avx512),
    ]


def compiler(name: str) -> HostCompiler:
    return find_c_compiler({"CC": shutil.which(name) or name})


def load(graph: bit.BitGraph, form: CForm, cc: HostCompiler, cache: BuildCache) -> NativeExecutable:
    program = program_of(graph, form)
    return NativeExecutable.load(CTarget(form=form).emit(program), program.blob(), compiler=cc, cache=cache)


def assert_same(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
        assert got[name].dtype == array.dtype


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> BuildCache:
    return BuildCache(tmp_path_factory.mktemp("cache"))


def binary_layers() -> bit.BitGraph:
    """Binary convolutions and dense layers of every size, stride, padding and store."""
    net = Bits("binary")
    channels, outputs = cycle(CHANNELS), cycle((1, 10, 16, 17, 33, 48, 64, 65, 80, 128, 130))
    stores = cycle(("signs", "signs", "scores", "sums"))
    for kernel, stride in product(range(1, 8), (1, 2)):
        window = square(kernel, stride=stride, padding=kernel // 2)
        x = net.signs(next(channels), 9, 7)
        net.output(
            net.layer(
                x, next(outputs), window, next(stores), is_flipped=stride == 1, has_border=kernel % 2 == 1
            )
        )
    odd = (
        Window(kernel=(2, 3), stride=(1, 3), padding=(1, 0, 2, 1), dilation=(3, 2)),
        Window(kernel=(1, 5), padding=(0, 4, 0, 0)),
        Window(kernel=(3, 1), stride=(3, 1)),
        Window(kernel=(9, 7)),
        Window(kernel=(4, 7), dilation=(2, 1)),
    )
    for window, count in product(odd, (32, 70)):
        net.output(net.layer(net.signs(count, 9, 7), next(outputs), window, next(stores), has_border=True))
    for count in CHANNELS:
        net.output(net.layer(net.signs(count), next(outputs), None, next(stores), is_flipped=True))
        net.output(net.layer(net.signs(count, 3, 2), next(outputs), None, next(stores)))
    return net.graph()


def pooled_layers() -> bit.BitGraph:
    """Convolutions with pooling in the same kernel: side by side, overlapping, padded, with tails."""
    net = Bits("pooled")
    pools = (
        square(2, stride=2),
        square(3, stride=2, padding=1),
        square(2),
        square(3, stride=3),
        Window(kernel=(1, 3), stride=(2, 1), padding=(0, 1, 0, 2)),
        square(2, stride=2, padding=1),
        square(2, stride=1, dilation=2),
    )
    channels, outputs = cycle((20, 64, 65, 128)), cycle((10, 33, 64, 130))
    for pool, size in product(pools, ((8, 8), (7, 9), (5, 4))):
        has_border = size == (7, 9)
        x = net.signs(next(channels), *size)
        window = square(3, padding=1)
        net.output(
            net.layer(x, next(outputs), window, pool=pool, is_flipped=size != (8, 8), has_border=has_border)
        )
        y = net.plain(Elem.U8, 3, *size)
        net.output(net.layer(y, next(outputs), window, pool=pool, is_flipped=True, has_border=has_border))
    return net.graph()


def integer_layers() -> bit.BitGraph:
    """First layers on unsigned and signed pixels."""
    net = Bits("integer")
    outputs, stores = cycle((1, 10, 16, 33, 64, 100)), cycle(("signs", "scores", "sums"))
    for elem in (Elem.U8, Elem.I8):
        for kernel, channels in zip((1, 2, 3, 4, 5, 7, 3), (3, 1, 3, 2, 1, 3, 1), strict=True):
            window = square(kernel, stride=1 + kernel % 2, padding=kernel // 2)
            x = net.plain(elem, channels, 9, 8)
            net.output(net.layer(x, next(outputs), window, next(stores), has_border=kernel > 2))
        odd = Window(kernel=(2, 3), stride=(2, 1), padding=(0, 2, 1, 1), dilation=(2, 3))
        net.output(net.layer(net.plain(elem, 2, 9, 8), 20, odd, "sums", has_border=True, is_flipped=True))
        net.output(net.layer(net.plain(elem, 2, 3, 4), 20, Window(kernel=(3, 4)), "signs"))
        for fan_in in (1, 3, 4, 5, 30, 64):
            net.output(net.layer(net.plain(elem, fan_in), next(outputs), None, next(stores)))
        for fan_in, count in ((255, 130), (256, 40), (700, 200)):  # sums of 16 bits are moved in time
            net.output(net.layer(net.plain(elem, fan_in), count, None, next(stores)))
    return net.graph()


def wide_bands() -> bit.BitGraph:
    """Images that do not fit one band of rows."""
    net = Bits("bands")
    same = square(3, padding=1)
    net.output(net.layer(net.signs(64, 70, 66), 16, same, has_border=True))
    net.output(net.layer(net.signs(130, 61, 50), 40, same, pool=square(2, stride=2), has_border=True))
    net.output(
        net.layer(
            net.signs(130, 61, 50),
            17,
            same,
            pool=square(3, stride=2, padding=1),
            is_flipped=True,
            has_border=True,
        )
    )
    net.output(net.layer(net.signs(130, 60, 50), 17, square(3, stride=2, padding=1), "sums", has_border=True))
    net.output(net.layer(net.plain(Elem.U8, 3, 66, 66), 20, square(5, padding=2), pool=square(2, stride=2)))
    net.output(
        net.layer(net.plain(Elem.I8, 3, 66, 66), 20, square(7, stride=2, padding=3), pool=square(3, stride=2))
    )
    return net.graph()


def element_wise() -> bit.BitGraph:
    """The operations that no layer absorbed."""
    net = Bits("element")
    plain = Layout.PLAIN
    border = border_taps(square(3, padding=1), 5, 4).border
    for channels in (33, 130):
        x = net.plain(Elem.I32, channels, 5, 4)
        table = net.table(border.classes, channels, 500)
        net.output(
            net.append(
                bit.BorderAffine, Elem.I32, x.type.shape, plain, x=x, multiply=-3, table=table, border=border
            )
        )
        for elem, edge, flips in (
            (Elem.I32, border, net.flips(channels)),
            (Elem.U8, None, None),
            (Elem.I8, border, None),
        ):
            y = net.plain(elem, channels, 5, 4)
            bounds = net.table(1 if edge is None else border.classes, channels, 120)
            net.output(
                net.append(
                    bit.Threshold,
                    Elem.SIGN,
                    y.type.shape,
                    PACKED,
                    x=y,
                    bounds=bounds,
                    flips=flips,
                    border=edge,
                )
            )
        f = net.plain(Elem.F32, channels, 5, 4)
        net.output(net.append(bit.Sign, Elem.SIGN, f.type.shape, PACKED, x=f))
        net.output(net.append(bit.Sign, Elem.SIGN, x.type.shape, PACKED, x=x))
        for source in (f, x):
            net.output(
                net.append(
                    bit.Affine,
                    Elem.F32,
                    f.type.shape,
                    plain,
                    x=source,
                    scale=net.floats(channels),
                    shift=net.floats(channels),
                )
            )
            net.output(net.append(bit.Add, source.type.elem, f.type.shape, plain, x=source, y=source))
        net.output(net.append(bit.Relu, Elem.F32, f.type.shape, plain, x=f))
        net.output(net.append(bit.HardTanh, Elem.F32, f.type.shape, plain, x=f))
        s = net.signs(channels, 5, 4)
        net.output(net.append(bit.FlipSigns, Elem.SIGN, s.type.shape, PACKED, x=s, flips=net.flips(channels)))
        for window in (square(2, stride=2), square(3, stride=2, padding=1), square(2, dilation=3)):
            shape = (channels, *window.output_size(5, 4))
            for source in (s, x, f, net.plain(Elem.U8, channels, 5, 4), net.plain(Elem.I8, channels, 5, 4)):
                net.output(
                    net.append(
                        bit.MaxPool2d, source.type.elem, shape, source.type.layout, x=source, window=window
                    )
                )
        for source in (s, x, net.signs(channels)):
            count = (source.type.count,)
            net.output(net.append(bit.Flatten, source.type.elem, count, source.type.layout, x=source))
        parts = (s, net.signs(20, 5, 4), net.signs(64, 5, 4), s)
        total = sum(part.type.channels for part in parts)
        net.output(net.append(bit.Concat, Elem.SIGN, (total, 5, 4), PACKED, parts=parts))
        net.output(net.append(bit.Concat, Elem.F32, (2 * channels, 5, 4), plain, parts=(f, f)))
    return net.graph()


def float_layers() -> bit.BitGraph:
    """Layers over real numbers, with real and with binary weights."""
    net = Bits("floats")
    for outputs, is_binary in product((1, 5, 16, 33, 50), (False, True)):

        def weight(shape, *, is_binary=is_binary):
            if is_binary:
                return net.weight(shape)
            return net.constant("w", Elem.F32, net.rng.normal(size=shape).astype(np.float32))

        for window, pad_value in (
            (square(3, padding=1), 0),
            (square(2, stride=2, padding=1, dilation=2), -1),
        ):
            x = net.plain(Elem.F32, 3, 7, 6)
            net.output(
                net.append(
                    bit.Conv2d,
                    Elem.F32,
                    (outputs, *window.output_size(7, 6)),
                    Layout.PLAIN,
                    x=x,
                    weight=weight((outputs, 3, *window.kernel)),
                    window=window,
                    pad_value=pad_value,
                )
            )
        for shape in ((7,), (3, 4, 5)):
            x = net.plain(Elem.F32, *shape)
            net.output(
                net.append(
                    bit.Dense, Elem.F32, (outputs,), Layout.PLAIN, x=x, weight=weight((outputs, x.type.count))
                )
            )
    return net.graph()


GRAPHS = (binary_layers, pooled_layers, integer_layers, wide_bands, element_wise, float_layers)


@functools.cache
def all_layers() -> bit.BitGraph:
    return merged("layers", {make.__name__: make() for make in GRAPHS})


@functools.cache
def expected_of_binary_layers() -> dict:
    return evaluate_bit(binary_layers(), random_inputs(binary_layers(), 3))


@functools.cache
def expected_of_all_layers(images: int) -> dict:
    return evaluate_bit(all_layers(), random_inputs(all_layers(), images))


@pytest.mark.parametrize("form", form_params())
@pytest.mark.parametrize("cc", COMPILERS)
def test_kernels_equal_the_reference(form, cc, cache):
    executable = load(all_layers(), form, compiler(cc), cache)
    for images in (1, 17):
        assert_same(executable.run(random_inputs(all_layers(), images)), expected_of_all_layers(images))


def extreme_layers() -> bit.BitGraph:
    """Layers on pixels whose sums are as large as can be."""
    net = Bits("extreme")
    signs = {"minus": -np.ones((2, 3001), np.int8), "plus": np.ones((2, 3001), np.int8)}
    for elem, fan_in in product((Elem.U8, Elem.I8), (256, 257, 3001)):
        x = net.plain(elem, fan_in)
        for name, weight in signs.items():
            net.output(
                net.layer(x, 2, None, "sums", weight=net.constant(name, Elem.SIGN, weight[:, :fan_in]))
            )
    return net.graph()


def extreme_inputs(graph: bit.BitGraph, extreme: int) -> dict:
    """Return five images of the least (0) or the largest (-1) pixels."""
    limits = {Elem.U8: np.array([0, 255], np.uint8), Elem.I8: np.array([-128, 127], np.int8)}
    return {
        value.name: np.full((5, *value.type.shape), limits[value.type.elem][extreme])
        for value in graph.inputs
    }


@pytest.mark.parametrize("form", form_params())
def test_sums_of_extreme_pixels(form, cache):
    graph = extreme_layers()
    executable = load(graph, form, find_c_compiler(), cache)
    for extreme in (0, -1):
        inputs = extreme_inputs(graph, extreme)
        assert_same(executable.run(inputs), evaluate_bit(graph, inputs))


def long_layers() -> bit.BitGraph:
    """Binary layers whose mismatches do not fit 16 bits, with weights -1 and with weights +1."""
    net = Bits("long")
    for weight in (-1, 1):
        signs = np.full((17, 66_000), weight, np.int8)
        x = net.signs(66_000)
        net.output(net.layer(x, 17, None, "sums", weight=net.constant("w", Elem.SIGN, signs)))
    return net.graph()


@pytest.mark.parametrize("form", form_params())
def test_mismatches_past_16_bits(form, cache):
    graph = long_layers()
    executable = load(graph, form, find_c_compiler(), cache)
    for sign in (-1, 1):
        inputs = {value.name: np.full((5, 66_000), sign, np.int8) for value in graph.inputs}
        for name, weight in (("out0", -1), ("out1", 1)):
            assert (executable.run(inputs)[name] == 66_000 * sign * weight).all()


@pytest.mark.parametrize("form", dict.fromkeys((CForm.PORTABLE, NATIVE_FORM)))
def test_corpus_equals_the_reference(form, cache):
    layouts = layout_passes(form.storage)
    lowered = {network.name: run_pipeline(lower_network(network), layouts) for network in CORPUS}
    graph = merged("corpus", lowered)
    inputs = random_inputs(graph, 6)
    assert_same(load(graph, form, find_c_compiler(), cache).run(inputs), evaluate_bit(graph, inputs))


@pytest.mark.parametrize("form", CForm)
def test_the_program_on_bytes_equals_the_reference(form):
    inputs = random_inputs(binary_layers(), 3)
    assert_same(run_program(program_of(binary_layers(), form), inputs), expected_of_binary_layers())


@pytest.mark.parametrize("form", form_params())
def test_more_images_than_a_chunk(form, cache):
    net = Bits("chunks")
    x = net.layer(net.plain(Elem.U8, 3, 8, 8), 33, square(3, padding=1), has_border=True)
    net.output(net.layer(net.layer(x, 20, None), 10, None, "scores"))
    graph = net.graph()
    executable = load(graph, form, find_c_compiler(), cache)
    images = executable.artifact.chunk_images * 2 + 3
    inputs = random_inputs(graph, images)
    expected = evaluate_bit(graph, inputs)
    assert_same(executable.run(inputs), expected)
    for count in (0, 1, 5):
        few = {name: array[:count] for name, array in inputs.items()}
        assert_same(executable.run(few), {name: array[:count] for name, array in expected.items()})


WINDOWS = st.builds(
    lambda k, s, p, d: Window(kernel=k, stride=s, padding=p, dilation=d),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
POOLS = st.one_of(
    st.none(),
    st.just(square(2, stride=2)),
    st.builds(
        lambda k, s, p: Window(kernel=k, stride=s, padding=(p, p, p, p)),
        st.tuples(st.integers(2, 3), st.integers(2, 3)),
        st.tuples(st.integers(1, 3), st.integers(1, 3)),
        st.integers(0, 1),
    ),
)
LAYERS = st.tuples(
    st.sampled_from((Elem.SIGN, Elem.SIGN, Elem.U8, Elem.I8)),
    st.integers(1, 130),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.integers(1, 130),
    st.none() | WINDOWS,
    st.sampled_from(("signs", "signs", "scores", "sums")),
    POOLS,
    st.booleans(),
    st.booleans(),
)


def fits(size: tuple[int, int]) -> bool:
    return min(size) > 0


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(layers=st.lists(LAYERS, min_size=16, max_size=16), images=st.integers(1, 9))
@pytest.mark.parametrize("form", form_params())
def test_random_layers(form, cache, layers, images):
    net = Bits("random", seed=len(layers))
    for elem, channels, size, outputs, window, store, pool, is_flipped, has_border in layers:
        count = channels if elem is Elem.SIGN else 1 + channels % 4
        if window is not None and not fits(window.output_size(*size)):
            continue
        if (
            store != "signs"
            or window is None
            or not fits(pool.output_size(*window.output_size(*size)) if pool else (1, 1))
        ):
            pool = None  # noqa: PLW2901 - a pool that cannot be there
        shape = (
            (count, *size) if elem is not Elem.SIGN or window else (count, 1 + size[0] % 4, 1 + size[1] % 4)
        )
        x = net.signs(*shape) if elem is Elem.SIGN else net.plain(elem, *shape)
        net.output(net.layer(x, outputs, window, store, pool, is_flipped=is_flipped, has_border=has_border))
    if not net.outputs:
        return
    graph = net.graph()
    inputs = random_inputs(graph, images)
    assert_same(load(graph, form, find_c_compiler(), cache).run(inputs), evaluate_bit(graph, inputs))
