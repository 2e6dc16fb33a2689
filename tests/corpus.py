"""Small networks that together use every operation and every corner that must be right."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final

import pytest

from bnncc.ir.nn import NnGraph
from bnncc.ir.types import Elem
from bnncc.ir.window import Window
from tests.networks import Network, square

SAME3 = square(3, padding=1)


def mlp_mixed_gammas() -> NnGraph:
    net = Network("mlp_mixed_gammas")
    x = net.normalize(net.input(Elem.U8, 30))
    for width in (65, 33):
        x = net.sign(net.batch_norm(net.dense(net.dropout(x), width)))
    return net.output(net.batch_norm(net.dense(x, 10))).build()


def mlp_ties() -> NnGraph:
    net = Network("mlp_ties")
    x = net.input(Elem.SIGN, 64)
    for width in (64, 40):
        x = net.sign(net.batch_norm(net.dense(x, width), kind="ties", spread=3))
    return net.output(net.batch_norm(net.dense(x, 10), kind="ties")).build()


def mlp_shift() -> NnGraph:
    net = Network("mlp_shift")
    x = net.normalize(net.input(Elem.U8, 40), Fraction(1, 255), Fraction(0))
    x = net.sign(net.hard_tanh(net.shift_batch_norm(net.dense(x, 33), spread=4)))
    x = net.sign(net.shift_batch_norm(net.dense(x, 20), spread=4))
    return net.output(net.shift_batch_norm(net.dense(x, 10))).build()


def mlp_ends_in_signs() -> NnGraph:
    net = Network("mlp_ends_in_signs")
    x = net.sign(net.batch_norm(net.dense(net.input(Elem.SIGN, 20), 33), gamma=False))
    return net.output(net.sign(net.dense(x, 17)), "bits").build()


def mlp_ends_in_sums() -> NnGraph:
    net = Network("mlp_ends_in_sums")
    x = net.sign(net.dense(net.input(Elem.I8, 21), 65))
    return net.output(net.dense(x, 5), "sums").build()


def conv_pad(pad_value: int, channels: int, window: Window, size: int = 7) -> NnGraph:
    sides = f"{window.kernel[0]}s{window.stride[0]}d{window.dilation[0]}"
    net = Network(f"conv_pad{pad_value}_c{channels}_k{sides}".replace("-", "m"))
    x = net.input(Elem.SIGN, channels, size, size)
    y = net.sign(net.batch_norm(net.conv(x, 20, window, pad_value=pad_value), spread=4))
    z = net.sign(net.batch_norm(net.conv(y, 9, window, pad_value=pad_value), spread=4))
    return net.output(net.batch_norm(net.dense(net.flatten(z), 10))).build()


def conv_first(name: str, scale: Fraction, shift: Fraction, pad_value: int) -> NnGraph:
    net = Network(name)
    x = net.normalize(net.input(Elem.U8, 3, 8, 6), scale, shift)
    y = net.sign(net.batch_norm(net.conv(x, 20, SAME3, pad_value=pad_value), spread=2))
    y = net.pool(net.conv(y, 33, SAME3, pad_value=pad_value))
    y = net.flatten(net.sign(net.batch_norm(y, spread=6)))
    return net.output(net.batch_norm(net.dense(y, 10))).build()


def conv_first_pooled() -> NnGraph:
    """The paper's order: convolution, pool, batch norm, sign; also on the first layer."""
    net = Network("conv_first_pooled")
    x = net.normalize(net.input(Elem.U8, 3, 8, 8))
    y = net.sign(net.batch_norm(net.pool(net.conv(x, 12, SAME3)), spread=2))
    y = net.pool(net.sign(net.batch_norm(net.conv(y, 20, SAME3), spread=5)))
    return net.output(net.batch_norm(net.dense(net.flatten(y), 10))).build()


def conv_pool_after_norm() -> NnGraph:
    net = Network("conv_pool_after_norm")
    x = net.input(Elem.SIGN, 20, 9, 9)
    y = net.sign(
        net.pool(
            net.batch_norm(net.conv(x, 33, SAME3, pad_value=1), spread=8), square(3, stride=2, padding=1)
        )
    )
    y = net.pool(net.batch_norm(net.conv(y, 8, SAME3)))
    return net.output(y, "real_map").build()


def conv_first_negative_pool() -> NnGraph:
    """The normalize turns the order round, then pools."""
    net = Network("conv_first_negative_pool")
    x = net.normalize(net.input(Elem.U8, 1, 10, 10), Fraction(-2, 255), Fraction(1))
    y = net.sign(net.batch_norm(net.pool(net.conv(x, 9, SAME3)), spread=1))
    return net.output(net.batch_norm(net.dense(net.flatten(y), 4))).build()


def conv_first_negative_ties() -> NnGraph:
    """Sums that fall on the thresholds exactly, turned round by the normalize."""
    net = Network("conv_first_negative_ties")
    x = net.normalize(net.input(Elem.U8, 1, 6, 6), Fraction(-1), Fraction(3))
    y = net.sign(net.batch_norm(net.conv(x, 64, square(1)), kind="ties", spread=60))
    return net.output(net.conv(y, 3, square(6)), "sums").build()


def padded_pool_before_norm() -> NnGraph:
    """Thresholds per pixel after a pool with padding."""
    net = Network("padded_pool_before_norm")
    window = Window(kernel=(2, 3), stride=(2, 3), padding=(1, 1, 0, 2))
    y = net.pool(net.conv(net.input(Elem.SIGN, 9, 7, 8), 6, SAME3), window)
    y = net.sign(net.batch_norm(net.flatten(y), spread=4))
    return net.output(net.dense(y, 4), "sums").build()


def shared_pool() -> NnGraph:
    """Pooled sums read twice: they are stored."""
    net = Network("shared_pool")
    s = net.pool(net.conv(net.input(Elem.SIGN, 9, 6, 6), 6, SAME3))
    y = net.add(s, net.conv(net.sign(net.batch_norm(s, spread=4)), 6, SAME3))
    return net.output(net.sign(net.batch_norm(y, spread=4)), "bits").build()


def conv_no_normalize() -> NnGraph:
    net = Network("conv_no_normalize")
    x = net.input(Elem.U8, 2, 6, 6)
    y = net.sign(net.batch_norm(net.conv(x, 10, SAME3, pad_value=1), spread=300))
    return net.output(net.conv(y, 3, square(6)), "sums").build()


def conv_i8() -> NnGraph:
    net = Network("conv_i8")
    x = net.normalize(net.input(Elem.I8, 2, 6, 6), Fraction(1, 127), Fraction(1, 3))
    y = net.sign(net.batch_norm(net.conv(x, 10, square(5, padding=2), pad_value=-1), spread=2))
    return net.output(net.dense(net.flatten(y), 6), "sums").build()


def one_bit_input() -> NnGraph:
    net = Network("one_bit_input")
    x = net.sign(net.normalize(net.input(Elem.U8, 1, 8, 8)))
    y = net.sign(net.batch_norm(net.conv(x, 16, square(5, stride=2)), spread=3))
    return net.output(net.batch_norm(net.dense(net.flatten(y), 10))).build()


def one_bit_input_negative() -> NnGraph:
    net = Network("one_bit_input_negative")
    x = net.sign(net.normalize(net.input(Elem.U8, 33), Fraction(-1, 64), Fraction(2)))
    return net.output(net.batch_norm(net.dense(x, 10))).build()


def batch_norm_input() -> NnGraph:
    """A batch norm of the normalized input, and of a sum of it."""
    net = Network("batch_norm_input")
    x = net.normalize(net.input(Elem.U8, 3, 5, 5), Fraction(1, 100), Fraction(-5, 4))
    y = net.sign(net.pool(net.batch_norm(x, spread=1), square(2)))
    return net.output(net.batch_norm(net.conv(y, 4, square(3)), spread=4)).build()


def flatten_before_norm() -> NnGraph:
    """Thresholds per pixel, flips per pixel."""
    net = Network("flatten_before_norm")
    y = net.conv(net.input(Elem.SIGN, 5, 6, 6), 7, SAME3)
    y = net.sign(net.batch_norm(net.flatten(y), spread=4))
    return net.output(net.batch_norm(net.dense(y, 10))).build()


def flatten_before_norm_positive() -> NnGraph:
    net = Network("flatten_before_norm_positive")
    y = net.pool(net.conv(net.normalize(net.input(Elem.U8, 3, 7, 7)), 7, SAME3))
    y = net.sign(net.batch_norm(net.flatten(y), spread=2, kind="positive"))
    return net.output(net.batch_norm(net.dense(y, 10))).build()


def flatten_input() -> NnGraph:
    net = Network("flatten_input")
    x = net.flatten(net.normalize(net.input(Elem.U8, 3, 4, 5)))
    y = net.sign(net.batch_norm(net.dense(x, 20), spread=3))
    return net.output(net.batch_norm(net.dense(y, 10))).build()


def pooled_input() -> NnGraph:
    net = Network("pooled_input")
    x = net.pool(net.normalize(net.input(Elem.U8, 3, 8, 8)))
    y = net.sign(net.batch_norm(net.conv(x, 20, SAME3), spread=3))
    return net.output(net.conv(y, 2, square(4)), "sums").build()


def pooled_negative_input() -> NnGraph:
    """A pool over a falling normalize: the layer after it works on rounded values."""
    net = Network("pooled_negative_input")
    x = net.pool(net.normalize(net.input(Elem.U8, 2, 6, 6), Fraction(-1, 51), Fraction(2)))
    y = net.sign(net.batch_norm(net.conv(x, 5, square(2)), spread=3))
    return net.output(net.conv(y, 2, square(2)), "sums").build()


def shortcut_sums() -> NnGraph:
    net = Network("shortcut_sums")
    s = net.conv(net.input(Elem.SIGN, 20, 6, 6), 16, SAME3)
    x = net.sign(net.batch_norm(s, spread=8))
    total = net.add(s, net.conv(x, 16, SAME3))
    y = net.sign(net.batch_norm(total, spread=8))
    return net.output(net.batch_norm(net.dense(net.flatten(y), 10))).build()


def shortcut_real() -> NnGraph:
    """Bi-Real Net's shortcut: real values around a binary convolution."""
    net = Network("shortcut_real")
    x = net.batch_norm(net.conv(net.normalize(net.input(Elem.U8, 3, 6, 6)), 12, SAME3), spread=2)
    for _ in range(2):
        x = net.add(x, net.batch_norm(net.conv(net.sign(x), 12, SAME3), spread=4))
    y = net.batch_norm(net.relu(x), spread=1)
    return net.output(net.batch_norm(net.dense(net.flatten(net.sign(y)), 10))).build()


def two_inputs_two_outputs() -> NnGraph:
    net = Network("two_inputs_two_outputs")
    a = net.sign(net.batch_norm(net.dense(net.input(Elem.U8, 20, name="left"), 33), spread=200))
    b = net.sign(net.dense(net.input(Elem.SIGN, 12, name="right"), 20))
    both = net.concat(a, b)
    sums = net.dense(both, 7)
    net.output(net.batch_norm(sums), "scores")
    return net.output(sums, "sums").output(b, "bits").build()


def concat_real() -> NnGraph:
    net = Network("concat_real")
    x = net.input(Elem.SIGN, 10, 5, 5)
    a = net.batch_norm(net.conv(x, 6, SAME3), spread=4)
    b = net.pool(net.conv(x, 5, SAME3), square(3, padding=1))
    y = net.sign(net.batch_norm(net.concat(a, net.batch_norm(b)), spread=1))
    joined = net.concat(net.conv(y, 4, SAME3), net.conv(y, 3, SAME3))
    return net.output(net.batch_norm(joined)).build()


def shared_sum() -> NnGraph:
    """One sum read by two thresholds, and one batch norm read by a sign and an output."""
    net = Network("shared_sum")
    s = net.dense(net.input(Elem.SIGN, 40), 20)
    norm = net.batch_norm(s, spread=4)
    a, b = net.sign(norm), net.sign(net.batch_norm(s, spread=4))
    net.output(norm, "norm")
    return net.output(net.add(net.dense(a, 6), net.dense(b, 6)), "total").build()


def binary_connect() -> NnGraph:
    """Binary weights, real activations."""
    net = Network("binary_connect")
    x = net.normalize(net.input(Elem.U8, 2, 8, 8))
    y = net.pool(net.relu(net.batch_norm(net.conv(x, 8, SAME3), spread=2)))
    y = net.relu(net.batch_norm(net.conv(y, 6, SAME3, pad_value=1), spread=2))
    y = net.hard_tanh(net.batch_norm(net.dense(net.flatten(y), 12), spread=2))
    return net.output(net.batch_norm(net.dense(y, 10))).build()


def real_weights() -> NnGraph:
    net = Network("real_weights")
    x = net.normalize(net.input(Elem.U8, 2, 6, 6))
    y = net.sign(net.batch_norm(net.conv(x, 8, SAME3, real=True), spread=1))
    y = net.flatten(net.sign(net.batch_norm(net.conv(y, 9, SAME3), spread=4)))
    return net.output(net.batch_norm(net.dense(y, 10, real=True), spread=4)).build()


def real_weights_on_pixels() -> NnGraph:
    net = Network("real_weights_on_pixels")
    x = net.input(Elem.U8, 15)
    return net.output(net.relu(net.dense(net.sign(net.dense(x, 8, real=True)), 4, real=True))).build()


def real_input() -> NnGraph:
    net = Network("real_input")
    x = net.pool(net.input(Elem.F32, 2, 6, 6))
    y = net.sign(net.batch_norm(net.conv(net.sign(x), 9, square(2)), spread=3))
    return net.output(net.dense(net.flatten(y), 3), "sums").output(x, "pooled").build()


def norm_of_norm() -> NnGraph:
    net = Network("norm_of_norm")
    x = net.batch_norm(net.dense(net.input(Elem.SIGN, 30), 9), spread=3)
    y = net.batch_norm(x, spread=1)
    net.output(net.sign(y), "bits")
    return net.output(net.dense(x, 3)).build()


def rectangular() -> NnGraph:
    net = Network("rectangular")
    window = Window(kernel=(2, 5), stride=(2, 1), padding=(1, 2, 0, 1), dilation=(1, 2))
    y = net.conv(net.normalize(net.input(Elem.U8, 3, 9, 12)), 21, window, pad_value=1)
    y = net.sign(net.batch_norm(y, spread=2))
    y = net.conv(y, 10, Window(kernel=(3, 1), padding=(2, 0, 1, 0)), pad_value=0)
    y = net.pool(y, Window(kernel=(2, 3), stride=(1, 2), padding=(0, 1, 1, 0)))
    return net.output(net.sign(net.batch_norm(y, spread=3)), "bits").build()


def overlapping_pool() -> NnGraph:
    net = Network("overlapping_pool")
    y = net.conv(net.input(Elem.SIGN, 65, 8, 8), 33, SAME3)
    y = net.sign(net.batch_norm(net.pool(y, square(3, stride=2, padding=1)), spread=10, kind="ties"))
    y = net.sign(net.batch_norm(net.flatten(net.pool(net.conv(y, 6, SAME3), square(3, stride=1))), spread=10))
    return net.output(net.dense(y, 10), "sums").build()


def scaled_mlp() -> NnGraph:
    net = Network("scaled_mlp")
    x = net.normalize(net.input(Elem.U8, 30))
    x = net.sign(net.batch_norm(net.dense(x, 65, scaled=True), kind="ties", spread=3))
    x = net.sign(net.dense(x, 33, scaled=True), shifted=True)
    x = net.sign(net.shift_batch_norm(net.dense(x, 40, scaled=True), spread=4), shifted=True)
    net.output(net.dense(x, 7, scaled=True), "plain")
    return net.output(net.batch_norm(net.dense(x, 10, scaled=True))).build()


def scaled_conv() -> NnGraph:
    net = Network("scaled_conv")
    x = net.normalize(net.input(Elem.U8, 3, 8, 8))
    x = net.sign(net.batch_norm(net.pool(net.conv(x, 12, SAME3, scaled=True)), spread=2), shifted=True)
    y = net.pool(net.conv(x, 20, SAME3, scaled=True))
    z = net.sign(net.pool(net.batch_norm(y)), shifted=True)
    w = net.sign(net.batch_norm(net.flatten(net.conv(x, 9, SAME3, pad_value=1, scaled=True))), shifted=True)
    flat = net.sign(net.flatten(net.batch_norm(y)), shifted=True)
    joined = net.concat(net.flatten(z), w, flat)
    return net.output(net.batch_norm(net.dense(joined, 10, scaled=True))).build()


def shifted_signs() -> NnGraph:
    net = Network("shifted_signs")
    x = net.normalize(net.input(Elem.I8, 2, 6, 6), Fraction(1, 8), Fraction(0))
    x = net.sign(x, shifted=True)
    y = net.conv(x, 33, SAME3)
    a, b = net.sign(y, shifted=True), net.sign(net.relu(net.batch_norm(y)), shifted=True)
    return net.output(net.dense(net.flatten(net.concat(a, b)), 10, scaled=True)).build()


def reactnet_block() -> NnGraph:
    """Return two of ReActNet's blocks: shifted signs, scaled weights, shortcuts in f32, RPReLU."""
    net = Network("reactnet_block")
    x = net.batch_norm(net.conv(net.normalize(net.input(Elem.U8, 3, 6, 6)), 33, SAME3, scaled=True))
    for _ in range(2):
        y = net.batch_norm(net.conv(net.sign(x, shifted=True), 33, SAME3, scaled=True))
        x = net.prelu(net.add(x, y), shifted=True)
    net.output(x, "features")
    x = net.sign(net.prelu(net.pool(x)), shifted=True)
    return net.output(net.batch_norm(net.dense(net.flatten(x), 10, scaled=True))).build()


def rising_prelu() -> NnGraph:
    """Return a network whose real activations all fold into thresholds."""
    net = Network("rising_prelu")
    x = net.input(Elem.SIGN, 70)
    x = net.sign(net.prelu(net.batch_norm(net.dense(x, 65)), shifted=True, rising=True))
    x = net.sign(net.hard_tanh(net.prelu(net.dense(x, 40, scaled=True), rising=True)), shifted=True)
    return net.output(net.batch_norm(net.dense(x, 10))).build()


def pass_through() -> NnGraph:
    """The input is an output too, and something is dead."""
    net = Network("pass_through")
    x = net.input(Elem.U8, 4)
    net.normalize(x)
    return (
        net.output(x, "same").output(net.normalize(x), "normalized").output(net.normalize(x), "again").build()
    )


def wide_dense() -> NnGraph:
    net = Network("wide_dense")
    x = net.sign(net.batch_norm(net.dense(net.normalize(net.input(Elem.U8, 784)), 130), spread=5))
    x = net.sign(net.batch_norm(net.dense(x, 257), spread=10))
    return net.output(net.batch_norm(net.dense(x, 10), spread=16)).build()


_MEAN_STD = (Fraction(1, 255) / Fraction(2023, 10000), Fraction(-4914, 2023))

_MAKERS: Final[tuple[Callable[[], NnGraph], ...]] = (
    mlp_mixed_gammas, mlp_ties, mlp_shift, mlp_ends_in_signs, mlp_ends_in_sums,
    lambda: conv_pad(0, 1, SAME3),
    lambda: conv_pad(1, 3, SAME3),
    lambda: conv_pad(-1, 20, SAME3),
    lambda: conv_pad(0, 33, square(5, padding=2)),
    lambda: conv_pad(1, 65, square(3, stride=2, padding=1)),
    lambda: conv_pad(0, 64, square(1)),
    lambda: conv_pad(-1, 5, square(3, padding=2, dilation=2)),
    lambda: conv_pad(0, 6, square(2, stride=1, padding=1)),
    lambda: conv_pad(1, 128, square(4, stride=1, padding=2), 5),
    lambda: conv_first("conv_first", Fraction(2, 255), Fraction(-1), 0),
    lambda: conv_first("conv_first_negative", Fraction(-2, 255), Fraction(1), -1),
    lambda: conv_first("conv_first_mean_std", *_MEAN_STD, 0),
    lambda: conv_first("conv_first_unit", Fraction(1), Fraction(0), 1),
    conv_first_pooled, conv_pool_after_norm, conv_first_negative_pool, conv_first_negative_ties,
    padded_pool_before_norm, shared_pool, conv_no_normalize, conv_i8,
    one_bit_input, one_bit_input_negative, batch_norm_input, flatten_before_norm,
    flatten_before_norm_positive, flatten_input, pooled_input, pooled_negative_input, shortcut_sums,
    shortcut_real, two_inputs_two_outputs, concat_real, shared_sum, binary_connect, real_weights,
    real_weights_on_pixels, real_input, norm_of_norm, rectangular, overlapping_pool, pass_through, wide_dense,
    scaled_mlp, scaled_conv, shifted_signs, reactnet_block, rising_prelu,
)  # fmt: skip

CORPUS: Final[tuple[NnGraph, ...]] = tuple(make() for make in _MAKERS)
"""Every network, with its weights."""

_FEW: Final = {
    "mlp_mixed_gammas", "conv_first_pooled", "shortcut_sums", "two_inputs_two_outputs", "overlapping_pool",
}  # fmt: skip
FEW_AND_THE_REST: Final = tuple(
    pytest.param(network, marks=() if network.name in _FEW else pytest.mark.slow) for network in CORPUS
)
"""The same as parameters of a test that takes long: all but a few are for `make test-all`."""


def graph(name: str) -> NnGraph:
    """Return the network called ``name``."""
    return next(found for found in CORPUS if found.name == name)
