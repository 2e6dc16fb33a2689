from __future__ import annotations

from fractions import Fraction

import pytest

from bnncc.diagnostics import CompileError
from bnncc.frontend.load import load_text
from bnncc.ir import nn
from bnncc.ir.nn import NnGraph
from bnncc.ir.types import Elem, TensorType
from bnncc.ir.verify import verify_nn
from bnncc.ir.window import Window


def graph(body: str, parameters: str = "", blocks: str = "", **overrides: int | str | Fraction) -> NnGraph:
    text = f"{blocks}\nnetwork net({parameters}) {{ input x: u8[3, 8, 8] input v: u8[12]\n{body}\n}}"
    text = text.replace("net()", "net")
    found = load_text(text, "test.bnn", overrides).graph
    assert verify_nn(found) == ()
    return found


def names(found: NnGraph) -> list[str]:
    return [node.result.name for node in found.nodes]


def types(found: NnGraph) -> list[str]:
    return [str(node.result.type) for node in found.nodes]


def codes(body: str, **options: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        graph(body, **options)
    return [d.code for d in caught.value.diagnostics]


def test_every_layer() -> None:
    found = graph("""
      x -> normalize(scale = 1/127.5, shift = -1)
        -> conv(6, 3, stride = 2, pad = +1) -> batch_norm(eps = 1e-3, momentum = 1/4, gamma = false)
        -> sign(ste = approx, stochastic = true)
        -> conv(4, [3, 1], padding = [1, 0, 1, 0], dilation = 1) -> max_pool(2, stride = 1, padding = 1)
        -> shift_batch_norm -> relu -> hard_tanh -> dropout(0.25)
        -> flatten -> dense(5, weights = float) -> output scores
    """)
    normalize, conv, norm, sign, conv2, pool, shift, _relu, _tanh, dropout, _flatten, dense = found.nodes
    assert isinstance(normalize, nn.Normalize)
    assert (normalize.scale, normalize.shift) == (Fraction(2, 255), -1)
    assert isinstance(conv, nn.Conv2d)
    assert conv.window == Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    assert (conv.pad_value, conv.weight.name, str(conv.weight.type)) == (
        1,
        "conv1.weight",
        "sign[6, 3, 3, 3]",
    )
    assert isinstance(norm, nn.BatchNorm)
    assert (norm.gamma, norm.eps, norm.momentum) == (None, Fraction(1, 1000), Fraction(1, 4))
    assert norm.var.name == "batch_norm1.var"
    assert isinstance(sign, nn.Sign)
    assert (sign.estimator, sign.stochastic) == (nn.Estimator.APPROX, True)
    assert isinstance(conv2, nn.Conv2d)
    assert conv2.window == Window(kernel=(3, 1), padding=(1, 0, 1, 0))
    assert isinstance(pool, nn.MaxPool2d)
    assert pool.window == Window(kernel=(2, 2), padding=(1, 1, 1, 1))
    assert isinstance(shift, nn.ShiftBatchNorm)
    assert (shift.eps, shift.momentum) == (Fraction(1, 100000), Fraction(1, 8))
    assert shift.gamma is not None
    assert isinstance(dropout, nn.Dropout)
    assert dropout.rate == Fraction(1, 4)
    assert isinstance(dense, nn.Dense)
    assert dense.weight.type == TensorType(Elem.F32, (5, 100))


def test_default_padding_keeps_the_size() -> None:
    last = "conv(4, 3, padding = valid) -> output y"
    found = graph(f"x -> conv(4, 5) -> sign -> conv(4, 3, dilation = 2) -> sign -> {last}")
    assert types(found)[::2] == ["i32[4, 8, 8]", "i32[4, 8, 8]", "i32[4, 6, 6]"]


def test_names_follow_the_author() -> None:
    found = graph(
        """
        let hidden = v -> dense(4) -> batch_norm -> sign
        let again = hidden -> tower(4)
        again -> tower(4) -> tower(4) -> repeat 2 { dense(4) -> sign } -> output scores
        """,
        blocks="block tower(c) { dense(c) -> inner }\nblock inner { sign }",
    )
    assert names(found) == [
        "dense1", "batch_norm1", "hidden",
        "again.dense1", "again.inner1.sign1",
        "tower1.dense1", "tower1.inner1.sign1", "tower2.dense1", "tower2.inner1.sign1",
        "dense2", "sign1", "dense3", "sign2",
    ]  # fmt: skip


def test_names_stay_unique() -> None:
    found = graph("""
      let dense1 = v -> dense(4)
      let add1 = dense1 + (v -> dense(4))
      add1 + dense1 -> repeat 2 { let y = sign  y -> dense(4) } -> output v
    """)
    assert len(set(names(found))) == len(names(found))
    assert names(found)[:4] == ["dense1", "dense2", "add1", "add2"]
    assert names(found)[4::2] == ["y", "y1"]


def test_shortcuts_and_concat() -> None:
    found = graph(
        """
        let a = x -> conv(4, 3)
        let b = a -> residual(4)
        concat(a -> sign, b -> sign) -> concat(a -> sign) -> output joined
        a + b + a -> output sum
        """,
        blocks="block residual(c) { let y = sign -> conv(c, 3)  y + input }",
    )
    assert {o.name: str(o.value.type) for o in found.outputs} == {
        "joined": "sign[12, 8, 8]",
        "sum": "i32[4, 8, 8]",
    }


def test_two_inputs_and_outputs_and_taps() -> None:
    found = graph("""
      x -> flatten -> dense(4) -> output early -> batch_norm -> output late
      output raw = v
      output x
    """)
    assert [(o.name, o.value.name) for o in found.outputs] == [
        ("early", "dense1"), ("late", "batch_norm1"), ("raw", "v"), ("x", "x"),
    ]  # fmt: skip


ARITHMETIC = {
    "2 + 3*4": 14,
    "7 // 2": 3,
    "7 % 4": 3,
    "2**3**2": 512,
    "-2 + 5": 3,
    "6/2": 3,
    "9 - 4 - 2": 3,
    "max(1, 2, n)": 4,
    "min(n, 3)": 3,
    "if n == 4 then 5 else 1/0": 5,
    "if n > 4 then 5 else 6": 6,
    "if w == valid then 1 else 2": 2,
    "(1/3 + 2/3) * 5": 5,
    "0.1 * 30": 3,
    "1**10**9": 1,
    "0**2 + 0**(10**9) + 1": 1,
    "0**0": 1,
    "(-1)**(10**9 + 1) + 2": 1,
    "2**-1 * 8": 4,
}


@pytest.mark.parametrize(("expression", "units"), ARITHMETIC.items())
def test_arithmetic_is_exact(expression: str, units: int) -> None:
    body = f"let w = if n == 4 then same else valid\n v -> dense({expression}) -> output y"
    found = graph(body, parameters="n = 4")
    assert found.nodes[-1].result.type.shape == (units,)


def test_repeat() -> None:
    found = graph(
        "v -> repeat i in 3 { dense(2**i) -> sign } -> repeat c in [5, 6] { dense(c) -> sign } -> output y"
    )
    assert [t for t in types(found) if t.startswith("i32")] == [f"i32[{n}]" for n in (1, 2, 4, 5, 6)]
    assert names(graph("v -> repeat 0 { sign } -> output y")) == []


def test_overrides() -> None:
    text = "v -> dense(width) -> output y"
    assert graph(text, parameters="width = 3", width=7).nodes[0].result.type.shape == (7,)
    assert graph(text, parameters="n = 2, width = 2*n", n=5).nodes[0].result.type.shape == (10,)
    assert graph(text, parameters="width", width=Fraction(3)).nodes[0].result.type.shape == (3,)
    weights = graph("v -> dense(2, weights = w) -> output y", parameters="w = binary", w="float")
    assert isinstance(weights.nodes[0], nn.Dense)
    assert weights.nodes[0].weight.type.elem is Elem.F32


def test_blocks_see_what_is_around_them() -> None:
    found = graph(
        """
        block local { dense(n) -> outer(width = n + 1) }
        v -> local -> output y
        """,
        parameters="n = 3",
        blocks="block outer(width, more = 2*width) { sign -> dense(more) }",
    )
    assert found.nodes[-1].result.type.shape == (8,)
    assert codes("v -> a -> output y", parameters="n = 3", blocks="block a { dense(n) }") == ["E0301"]


def test_blocks_take_words_and_lists_and_values() -> None:
    found = graph(
        """
        let other = v -> dense(4)
        v -> join(other, [4, 4], binary) -> output y
        """,
        blocks="block join(value, sizes, kind) { dense(min(4, 5), weights = kind) + value }",
    )
    assert names(found) == ["other", "join1.dense1", "join1.add1"]


def test_every_node_has_its_span() -> None:
    found = graph("v -> dense(4) -> sign -> output y")
    assert [str(node.span) for node in found.nodes] == ["test.bnn:3:6", "test.bnn:3:18"]


def test_one_mistake_is_one_error() -> None:
    assert codes("let a = v -> dense(z) -> sign -> dense(2) -> stage(a)\n a + a -> output y") == [
        "E0301",
        "E0301",
    ]
    assert codes(
        "v -> broken -> broken -> repeat 9 { broken } -> output y", blocks="block broken { dense(0) }"
    ) == ["E0202"]


def test_elaboration_is_deterministic() -> None:
    body = "concat(x -> conv(2, 3), x -> conv(3, 3)) -> sign -> output y"
    assert graph(body) == graph(body)
