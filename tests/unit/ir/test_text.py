"""The text form: what it looks like, and what broken text gives."""

from __future__ import annotations

import pytest

from bnncc.diagnostics import DataError
from bnncc.frontend.load import load_text
from bnncc.ir import nn
from bnncc.ir.text import parse_bit, parse_nn, print_graph, print_node
from bnncc.ir.types import ConstRef, Elem, TensorType, Value
from tests.corpus import graph
from tests.networks import Network
from tests.stages import stages


def text_of(name: str) -> str:
    return print_graph(stages(name)[-1].after)


def test_a_node_reads_well() -> None:
    node = graph("conv_first").nodes[1]
    assert print_node(node) == (
        "%conv1 = nn.conv2d(x=%normalize1, weight=@conv1.weight, "
        "window=window(kernel=(3, 3), padding=(1, 1, 1, 1))) : real[20, 8, 6]"
        '  loc("conv_first.bnn":3:3-3:12)'
    )


def test_places_come_back() -> None:
    network = graph("conv_first")
    sources = {"conv_first.bnn": "network conv_first {\n}\n"}
    again = parse_nn(print_graph(network), network.constants, sources)
    for node, wanted in zip(again.nodes, network.nodes, strict=True):
        assert str(node.span) == str(wanted.span)
        assert node.span.end == wanted.span.end
        assert node.span.source.text == sources["conv_first.bnn"]


def test_unusual_names_come_back() -> None:
    net = Network('a "strange" näme\n')
    x = net.input(Elem.U8, 4, name="%x = ()")
    network = net.output(net.normalize(x), "two words").build()
    assert parse_nn(print_graph(network), network.constants) == network


def test_unbound_constants_come_back() -> None:
    network = graph("mlp_ties")
    stripped = print_graph(network).replace(network.nodes[0].weight.digest, "unbound")
    ref = parse_nn(stripped, {}).nodes[0].weight
    assert ref == ConstRef("dense1.weight", TensorType(Elem.SIGN, (64, 64)))
    assert not ref.is_bound


BROKEN = {
    "": "line 1",
    "graph x {": "line 1",
    "graph x }\n}": "line 1",
    "graph x {\n  what\n}": "line 2",
    "graph x {\n  input %a : u9[3]\n}": "line 2: 'u9' is not a elem",
    "graph x {\n  input %a : u8[3\n}": "line 2",
    "graph x {\n  input %a : u8[3] more\n}": "line 2",
    "graph x {\n  input %a : u8[x]\n}": "line 2",
    "graph x {\n  input %a : u8[3]\n  input %a : u8[3]\n}": "line 3: %a is defined twice",
    "graph x {\n  output y = %a\n}": "line 2: %a is not defined",
    "graph x {\n  input %a : u8[3]\n  %b = bit.evil(x=%a) : u8[3]\n}": "no operation 'bit.evil'",
    "graph x {\n  input %a : u8[3]\n  %b = bit.rescale(x=%a) : real[3]\n}": "line 3: 'unit' is missing",
    "graph x {\n  input %a : u8[3]\n  %b = bit.rescale(x=%a, unit=1/0) : real[3]\n}": "denominator",
    "graph x {\n  input %a : u8[3]\n  %b = bit.rescale(x=%a, unit=1, unit=1) : real[3]\n}": "'unit'",
    "graph x {\n  input %a : u8[3]\n  %b = bit.rescale(x=%a, result=%a) : real[3]\n}": "'result' is not due",
    "graph x {\n  input %a : u8[3]\n  %b = bit.sign(x=@a) : real[3]\n}": "line 3",
    "graph x {\n  input %a : u8[3]\n  %b = bit.sign(x=%a) : real[3] loc(\n}": "line 3",
    f"graph x {{\n  input %a : u8[{'9' * 5000}]\n}}": "line 2",
    "graph x {\n  \x00\n}": "line 2",
    'graph x {\n  const @"\\q" : u8[3] = 00\n}': "line 2",
    "graph x {\n  const @a : u8[3] = 00\n  const @a : u8[3] = 00\n}": "line 3",
}


@pytest.mark.parametrize("text", BROKEN)
def test_broken_text_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError, match="IR text") as caught:
        parse_bit(text, {})
    assert BROKEN[text] in str(caught.value)


@pytest.mark.parametrize("name", ["conv_first_pooled", "shortcut_real"])
def test_damaged_text_never_crashes(name: str) -> None:
    """Every prefix, and every text with one character missing, parses or gives a data error."""
    text = text_of(name)
    for place in range(0, len(text), 31):
        for damaged in (text[:place], text[:place] + text[place + 1 :]):
            try:
                parse_bit(damaged, {})
            except DataError:
                continue


def test_operations_of_another_level_are_refused() -> None:
    with pytest.raises(DataError, match=r"no operation 'bit\.layer'"):
        parse_nn(text_of("conv_first"), {})


def test_values_are_shared() -> None:
    again = parse_bit(text_of("conv_first"), {})
    assert again.outputs[0].value == Value("bn3.f32", TensorType(Elem.F32, (10,)))
    assert again.outputs[0].value is again.nodes[-1].result


@pytest.mark.parametrize("estimator", nn.Estimator)
def test_estimators_come_back(estimator: nn.Estimator) -> None:
    source = f"network n {{ input x: u8[4]  x -> dense(8) -> batch_norm -> sign(ste = {estimator.value})"
    network = load_text(f"{source} -> dense(2) -> batch_norm -> output y }}", "n.bnn").graph
    signs = [node for node in network.nodes if isinstance(node, nn.Sign)]
    assert [node.estimator for node in signs] == [estimator]
    assert parse_nn(print_graph(network), network.constants) == network
