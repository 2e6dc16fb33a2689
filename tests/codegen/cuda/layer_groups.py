"""Networks whose every output is one layer of an odd size: a group is one source file, compiled once."""

from __future__ import annotations

from bnncc.ir import bit
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.types import Elem, Layout, TensorType, Value
from bnncc.ir.window import Window, border_taps
from tests.cuda_programs import PLANES, ROWS, Bits, Store

ODD = (1, 3, 20, 33, 64, 65, 130)
PLAIN = Layout.PLAIN


def square(kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
    return Window(
        kernel=(kernel,) * 2, stride=(stride,) * 2, padding=(padding,) * 4, dilation=(dilation,) * 2
    )


SAME3 = square(3, padding=1)
POOL2 = square(2, stride=2)


def dense_channels() -> KernelProgram:
    b = Bits("dense_channels")
    for index, channels in enumerate(ODD):
        x = b.packed(channels, layout=ROWS if index % 2 else PLANES, name=f"x{channels}")
        outputs = ODD[(3 * index + 1) % len(ODD)]
        store = Store(layout=PLANES if index % 3 else ROWS, has_flips=index % 2 == 0)
        b.output(b.layer(x, outputs, None, store), f"signs{channels}_{outputs}")
    return b.program()


def dense_stores() -> KernelProgram:
    b = Bits("dense_stores")
    x = b.packed(300, layout=ROWS)
    for name, store in {
        "scores": Store(kind="scores"),
        "scaled": Store(kind="scores", multiply=3, has_table=False),
        "sums": Store(kind="sums"),
        "doubled": Store(kind="sums", multiply=-2, has_table=False),
        "flipped_twice": Store(has_flips=True, has_flips_after_pool=True),
    }.items():
        b.output(b.layer(x, 37, None, store), name)
    return b.program()


def dense_chain() -> KernelProgram:
    """Wide enough that all eight warps work in several rounds; planes of pixels feed a dense layer."""
    b = Bits("dense_chain")
    x = b.packed(70, 5, 4, layout=ROWS)
    for outputs in (2100, 33):
        x = b.layer(x, outputs, None, Store(layout=ROWS))
    return b.output(b.layer(x, 10, None, Store(kind="scores")), "scores").program()


def conv_kernels() -> KernelProgram:
    b = Bits("conv_kernels")
    x = b.packed(20, 9, 8)
    windows = {
        "k1": square(1),
        "k3": square(3),
        "k3_stride2": square(3, stride=2, padding=1),
        "k3_stride3": square(3, stride=3),
        "k3_dilated": square(3, padding=2, dilation=2),
        "k5_padded": square(5, padding=2),
        "k7_padded": square(7, padding=3),
        "k8_whole": square(8),
        "lopsided": Window(kernel=(2, 5), stride=(1, 2), padding=(1, 0, 0, 3), dilation=(3, 1)),
    }
    for name, window in windows.items():
        b.output(b.layer(x, 33, window, Store(has_border=True)), name)
    return b.program()


def conv_channels() -> KernelProgram:
    b = Bits("conv_channels")
    for index, channels in enumerate(ODD):
        x = b.packed(channels, 6, 5, name=f"x{channels}", layout=ROWS if index == 2 else PLANES)
        outputs = ODD[(2 * index + 3) % len(ODD)]
        store = Store(has_border=True, has_flips=True, layout=ROWS if index % 2 else PLANES)
        b.output(b.layer(x, outputs, SAME3, store), f"c{channels}_{outputs}")
    return b.program()


def conv_pools() -> KernelProgram:
    b = Bits("conv_pools")
    x = b.packed(33, 9, 10)
    pools = {
        "half": POOL2,
        "overlapping": square(3, stride=2, padding=1),
        "sliding": square(2),
        "dilated": square(2, stride=1, dilation=3),
        "whole": Window(kernel=(9, 10)),
        "lopsided": Window(kernel=(3, 2), stride=(3, 1), padding=(0, 1, 2, 1)),
    }
    for index, (name, pool) in enumerate(pools.items()):
        store = Store(
            pool=pool,
            has_border=index % 2 == 0,
            has_flips=index % 3 != 1,
            has_flips_after_pool=index % 3 != 0,
            spread=40,
            layout=ROWS if index == 3 else PLANES,
        )
        b.output(b.layer(x, 40, SAME3, store), name)
    return b.program()


def conv_stores() -> KernelProgram:
    b = Bits("conv_stores")
    x = b.packed(70, 7, 6)
    for name, store in {
        "scores": Store(kind="scores", has_border=True),
        "sums": Store(kind="sums", multiply=5, has_border=True),
        "plain_sums": Store(kind="sums", has_table=False),
    }.items():
        b.output(b.layer(x, 35, square(3, padding=1), store), name)
    return b.program()


def conv_large() -> KernelProgram:
    """A patch staged in two steps, one too large for shared memory, a pool larger than a block, one image."""
    b = Bits("conv_large")
    deep = b.packed(1200, 19, 18, name="deep")
    b.output(b.layer(deep, 5, square(15), Store(kind="sums")), "two_steps")
    wide = b.packed(3, 54, 54, name="wide")
    b.output(b.layer(wide, 5, square(52, padding=1), Store(has_border=True)), "in_place")
    pooled = b.packed(5, 24, 20, name="pooled")
    store = Store(pool=Window(kernel=(24, 20)), has_flips=True, spread=30)
    b.output(b.layer(pooled, 34, SAME3, store), "pooled")
    large = b.packed(40, 32, 32, name="large")
    b.output(b.layer(large, 64, SAME3, Store(has_border=True, pool=POOL2)), "large")
    return b.program()


def integer_dense() -> KernelProgram:
    b = Bits("integer_dense")
    for index, (elem, count) in enumerate([(Elem.U8, 1), (Elem.I8, 3), (Elem.U8, 257), (Elem.I8, 1100)]):
        x = b.input(elem, count, name=f"x{count}")
        b.output(b.layer(x, ODD[index + 2], None, Store(spread=500, layout=ROWS)), f"signs{count}")
    image = b.input(Elem.U8, 3, 5, 4)
    b.output(b.layer(image, 33, None, Store(kind="scores")), "scores")
    b.output(b.layer(image, 10, None, Store(kind="sums", multiply=2)), "sums")
    return b.program()


def integer_conv() -> KernelProgram:
    b = Bits("integer_conv")
    rgb, signed = b.input(Elem.U8, 3, 9, 8, name="rgb"), b.input(Elem.I8, 31, 6, 6, name="signed")
    cases = {
        "k3": (rgb, SAME3, Store(has_border=True, spread=300)),
        "k5_stride2": (rgb, square(5, stride=2, padding=2), Store(has_border=True, has_flips=True)),
        "k7": (rgb, square(7), Store(has_flips_after_pool=True, pool=POOL2, spread=900)),
        "pooled": (rgb, SAME3, Store(has_flips=True, pool=square(3, stride=2, padding=1), spread=600)),
        "dilated": (rgb, square(2, dilation=3), Store(kind="sums", multiply=3)),
        "deep": (signed, SAME3, Store(spread=900, layout=ROWS)),
        "scores": (signed, square(3), Store(kind="scores")),
    }
    for index, (name, (x, window, store)) in enumerate(cases.items()):
        b.output(b.layer(x, ODD[index], window, store), name)
    return b.program()


def float_layers() -> KernelProgram:
    b = Bits("float_layers")
    x = b.input(Elem.F32, 3, 6, 5)
    for name, pad, elem in (("zero", 0, Elem.F32), ("plus", 1, Elem.F32), ("minus", -1, Elem.SIGN)):
        shape = (35, 3, 3, 3)
        array = b.signs(*shape) if elem is Elem.SIGN else b.rng.normal(size=shape).astype("float32")
        weight = b.const(f"{name}.weight", elem, array)
        y = b.add(
            "float",
            bit.Conv2d,
            TensorType(Elem.F32, (35, 6, 5)),
            x=x,
            weight=weight,
            window=SAME3,
            pad_value=pad,
        )
        b.output(y, name)
    weight = b.const("dense.weight", Elem.SIGN, b.signs(40, 90))
    b.output(b.add("float", bit.Dense, TensorType(Elem.F32, (40,)), x=x, weight=weight), "dense")
    return b.program()


def signs_of_values() -> KernelProgram:
    """Thresholds, signs, flips, packed and plain."""
    b = Bits("signs_of_values")
    image = b.input(Elem.U8, 5, 4, 3, name="pixels")
    border = border_taps(SAME3, 4, 3).border
    sums = _affine_sums(b, image)
    flips = b.const("flips", Elem.BOOL, b.rng.random(5) < 0.5)
    for name, x, classes in (("pixels", image, 1), ("sums", sums, border.classes)):
        bounds = b.const(f"{name}.bounds", Elem.I64, b.rng.integers(0, 255, (classes, 5)))
        for layout in (PLANES, ROWS):
            y = b.add(
                f"threshold_{name}",
                bit.Threshold,
                TensorType(Elem.SIGN, (5, 4, 3), layout),
                x=x,
                bounds=bounds,
                flips=flips if layout is ROWS else None,
                border=border if classes > 1 else None,
            )
            b.output(y, f"{name}_{layout.value}")
    y = b.add("sign", bit.Sign, TensorType(Elem.SIGN, (5, 4, 3), PLANES), x=sums)
    for layout in (PLANES, ROWS):
        flipped = TensorType(Elem.SIGN, (5, 4, 3), layout)
        b.output(b.add("flip", bit.FlipSigns, flipped, x=y, flips=flips), f"flipped_{layout.value}")
    floats = b.input(Elem.F32, 5, 4, 3, name="floats")
    shift = b.const("shift", Elem.F32, b.rng.normal(size=5).astype("float32"))
    shifted = TensorType(Elem.SIGN, (5, 4, 3), PLANES)
    b.output(b.add("shifted", bit.Sign, shifted, x=floats, shift=shift), "shifted")
    return b.program()


def signs_of_signs() -> KernelProgram:
    """Pools, flattens, concatenations and changes of layout of packed signs."""
    b = Bits("signs_of_signs")
    x, y = b.packed(130, 5, 4), b.packed(33, 5, 4, name="other", layout=ROWS)
    for layout in (PLANES, ROWS):
        b.output(b.relayout(x, layout), f"layout_{layout.value}")
        flat = TensorType(Elem.SIGN, (33 * 20,), layout)
        b.output(b.add("flat", bit.Flatten, flat, x=y), f"flat_{layout.value}")
        for name, pool in (("half", POOL2), ("lopsided", Window(kernel=(3, 2), padding=(1, 1, 1, 0)))):
            size = pool.output_size(5, 4)
            pooled = TensorType(Elem.SIGN, (33, *size), layout)
            b.output(b.add("pool", bit.MaxPool2d, pooled, x=y, window=pool), f"{name}_{layout.value}")
        joined = TensorType(Elem.SIGN, (130 + 33 + 33, 5, 4), layout)
        b.output(b.add("concat", bit.Concat, joined, parts=(y, x, y)), f"concat_{layout.value}")
    return b.program()


def plain_values() -> KernelProgram:
    """Numbers: affine, relu, clipping, sums, pools, concatenations."""
    b = Bits("plain_values")
    pixels, floats = b.input(Elem.I8, 5, 6, 4, name="pixels"), b.input(Elem.F32, 5, 6, 4, name="floats")
    sums = _affine_sums(b, pixels)
    shape = (5, 6, 4)
    b.output(sums, "sums")
    scale, shift = (b.const(n, Elem.F32, b.rng.normal(size=5).astype("float32")) for n in ("scale", "shift"))
    for name, x in (("pixels", pixels), ("sums", sums), ("floats", floats)):
        y = b.add("affine", bit.Affine, TensorType(Elem.F32, shape), x=x, scale=scale, shift=shift)
        b.output(y, f"affine_{name}")
    b.output(b.add("relu", bit.Relu, TensorType(Elem.F32, shape), x=floats), "relu")
    b.output(b.add("tanh", bit.HardTanh, TensorType(Elem.F32, shape), x=floats), "tanh")
    for name, x, elem in (("sums", sums, Elem.I32), ("floats", floats, Elem.F32)):
        b.output(b.add("add", bit.Add, TensorType(elem, shape), x=x, y=x), f"add_{name}")
        pool = square(3, stride=2, padding=1)
        pooled = TensorType(elem, (5, *pool.output_size(6, 4)))
        b.output(b.add("pool", bit.MaxPool2d, pooled, x=x, window=pool), f"pool_{name}")
        b.output(b.add("flat", bit.Flatten, TensorType(elem, (120,)), x=x), f"flat_{name}")
        joined = TensorType(elem, (10, 6, 4))
        b.output(b.add("concat", bit.Concat, joined, parts=(x, x)), f"concat_{name}")
    slope, before, after = (
        b.const(name, Elem.F32, b.rng.normal(size=5).astype("float32"))
        for name in ("slope", "before", "after")
    )
    for name, shifts in (("prelu", {}), ("rprelu", {"before": before, "after": after})):
        tensor = TensorType(Elem.F32, shape)
        b.output(b.add("prelu", bit.Prelu, tensor, x=floats, slope=slope, **shifts), name)
    return b.program()


def _affine_sums(b: Bits, x: Value) -> Value:
    border = border_taps(SAME3, *x.type.spatial).border
    table = b.const(f"{x.name}.table", Elem.I64, b.rng.integers(-99, 99, (border.classes, x.type.channels)))
    tensor = TensorType(Elem.I32, x.type.shape)
    return b.add("affine_sums", bit.BorderAffine, tensor, x=x, multiply=-2, table=table, border=border)


BINARY_GROUPS = (
    dense_channels,
    dense_stores,
    dense_chain,
    conv_kernels,
    conv_channels,
    conv_pools,
    conv_stores,
    conv_large,
)
GROUPS = (
    *BINARY_GROUPS,
    integer_dense,
    integer_conv,
    float_layers,
    signs_of_values,
    signs_of_signs,
    plain_values,
)
