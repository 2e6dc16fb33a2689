"""Random networks: every pass keeps their meaning, their text comes back."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bnncc.ir import nn
from bnncc.ir.infer import IllTypedError
from bnncc.ir.reference import evaluate_bit, evaluate_nn
from bnncc.ir.text import parse_bit, parse_nn, print_graph
from bnncc.ir.types import Elem, Layout, Value
from bnncc.ir.verify import verify_bit, verify_lowered, verify_nn
from bnncc.ir.window import Window
from bnncc.passes.assign_layouts import AssignLayouts
from bnncc.passes.lower_to_bits import LowerToBits
from bnncc.passes.pipeline import BIT_PASSES
from tests.networks import Network, sample_inputs, values_of

small = st.integers(1, 3)
fractions = st.builds(Fraction, st.integers(-300, 300).filter(bool), st.integers(1, 300))


@st.composite
def windows(draw: Any) -> Window:
    return Window(
        kernel=(draw(small), draw(small)),
        stride=(draw(small), draw(small)),
        # Four entries, which the type of a generator does not say.
        padding=tuple(draw(st.integers(0, 2)) for _ in range(4)),  # type: ignore[arg-type]
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
    )


def grow(draw: Any, net: Network, values: list[Value]) -> Value:  # noqa: C901 -- one branch an operation
    """Append one operation to the network, over any value so far."""
    x = draw(st.sampled_from(values))
    kind = draw(st.sampled_from(STEPS[x.type.elem]))
    channels = draw(st.integers(1, 9))
    real = draw(st.integers(0, 9)) == 0
    scaled = not real and draw(st.integers(0, 3)) == 0
    match kind:
        case "normalize":
            return net.normalize(x, draw(fractions), draw(fractions))
        case "layer" if len(x.type.shape) == 1:
            return net.dense(x, channels, real=real, scaled=scaled)
        case "layer":
            pad_value = draw(st.sampled_from([-1, 0, 1]))
            return net.conv(x, channels, draw(windows()), pad_value=pad_value, real=real, scaled=scaled)
        case "norm":
            kind = draw(st.sampled_from(["mixed", "ties", "positive"]))
            spread = draw(st.sampled_from([0.5, 3.0, 100.0]))
            return net.batch_norm(x, spread=spread, kind=kind, gamma=draw(st.booleans()))
        case "shift":
            return net.shift_batch_norm(x, spread=3)
        case "sign":
            return net.sign(x, shifted=draw(st.booleans()))
        case "pool":
            return net.pool(x, draw(windows()))
        case "flatten":
            return net.flatten(x)
        case "relu":
            return net.relu(x)
        case "prelu":
            return net.prelu(x, shifted=draw(st.booleans()), rising=draw(st.booleans()))
        case "tanh":
            return net.hard_tanh(x)
        case "dropout":
            return net.dropout(x)
        case "add":
            return net.add(x, draw(st.sampled_from([y for y in values if y.type.shape == x.type.shape])))
        case "concat":
            return net.concat(x, draw(st.sampled_from([y for y in values if y.type.elem is x.type.elem])))
    raise AssertionError(kind)


_ANY = ("pool", "flatten", "dropout", "concat")
_SUMS = ("norm", "norm", "norm", "sign", "sign", "shift", "relu", "tanh", "prelu", "add", *_ANY)
STEPS = {
    Elem.U8: ("normalize", "normalize", "layer", *_ANY),
    Elem.I8: ("normalize", "layer", *_ANY),
    Elem.SIGN: ("layer", "layer", "layer", *_ANY),
    Elem.I32: _SUMS,
    Elem.REAL: ("layer", *_SUMS),
    Elem.F32: ("layer", *_SUMS),
}


@st.composite
def networks(draw: Any) -> nn.NnGraph:
    net = Network("random", seed=draw(st.integers(0, 2**16)))
    shape = draw(st.sampled_from([(5,), (33,), (1, 6, 6), (3, 5, 7), (2, 8, 4)]))
    elem = draw(st.sampled_from([Elem.U8, Elem.U8, Elem.I8, Elem.SIGN, Elem.SIGN, Elem.F32]))
    values = [net.input(elem, *shape)]
    for _ in range(draw(st.integers(1, 9))):
        try:
            made = grow(draw, net, values)
        except IllTypedError:
            continue
        assume(made.type.count < 3000)
        values.append(made)
    net.output(values[-1], "last")
    if draw(st.booleans()):
        net.output(draw(st.sampled_from(values)), "other")
    return net.build()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(network=networks())
def test_passes_keep_meaning(network: nn.NnGraph) -> None:
    assert verify_nn(network) == ()
    assert parse_nn(print_graph(network), network.constants) == network
    inputs = sample_inputs(network, images=2)
    wanted = evaluate_nn(network, inputs)
    current = LowerToBits().run(network)
    layouts = AssignLayouts(spatial=Layout.PLANES128, rows=Layout.ROWS8X128)
    for transform in (None, *BIT_PASSES, layouts):
        before = current
        current = current if transform is None else transform.run(current)
        name = "lower-to-bits" if transform is None else transform.name
        assert verify_bit(current) == (), name
        if current is before and transform is not None:
            continue
        found = evaluate_bit(current, inputs)
        for key, array in wanted.items():
            assert found[key].dtype == array.dtype, name
            np.testing.assert_array_equal(found[key], array, err_msg=name)
        if transform is None:
            continue
        old = values_of(before)
        for key, array in values_of(current).items():
            if key in old:
                np.testing.assert_array_equal(array, old[key], err_msg=f"{name}: {key}")
    assert verify_lowered(current) == ()
    assert parse_bit(print_graph(current), current.constants) == current
