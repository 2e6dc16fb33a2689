from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import pytest

from bnncc._resources import resource_dir
from bnncc.diagnostics import CompileError, Position
from bnncc.frontend import ast
from bnncc.frontend.parse import build_table, parse_bytes, parse_table, parse_text
from bnncc.frontend.table import GRAMMAR_FILE, TABLE_FILE, ParseTable


def expression(text: str) -> ast.Expression:
    (block,) = parse_text(f"block b {{ let y = {text} }}", "test.bnn").items
    assert isinstance(block, ast.Block)
    (let,) = block.body.statements
    assert isinstance(let, ast.Let)
    return let.value


def as_text(node: ast.Expression | ast.Step) -> str:
    """Return ``node`` with every precedence written out."""
    match node:
        case ast.Number(text=text) | ast.Name(text=text):
            return text
        case ast.Incoming():
            return "input"
        case ast.Unary(operator=operator, operand=operand):
            return f"({operator.value}{as_text(operand)})"
        case ast.Binary(first=first, rest=rest):
            return "(" + as_text(first) + "".join(f" {o.value} {as_text(x)}" for o, x in rest) + ")"
        case ast.Conditional(test=test, yes=yes, no=no):
            return f"(if {as_text(test)} then {as_text(yes)} else {as_text(no)})"
        case ast.Flow(head=head, steps=steps):
            return "[" + " -> ".join(map(as_text, (head, *steps))) + "]"
        case ast.Tap(name=name):
            return f"output {name.text}"
        case ast.Call(callee=callee, arguments=arguments):
            return f"{callee.text}({', '.join(as_text(a.value) for a in arguments)})"
        case _:
            raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "(a - b - c)"),
        ("(a - (b - c))", "(a - (b - c))"),
        ("-a ** b", "(-(a ** b))"),
        ("a ** -b ** c", "(a ** (-(b ** c)))"),
        ("a // b % c / d", "(a // b % c / d)"),
        ("a + b < c * d", "((a + b) < (c * d))"),
        ("if a == b then c else if d then e else f", "(if (a == b) then c else (if d then e else f))"),
        ("x + y -> sign", "[(x + y) -> sign]"),
        ("x -> f(1, y -> g) -> output s -> h", "[x -> f(1, [y -> g]) -> output s -> h]"),
        ("(x -> f) + input", "([x -> f] + input)"),
        ("- -a", "(-(-a))"),
    ],
)
def test_precedence(text: str, meaning: str) -> None:
    assert as_text(expression(text)) == meaning


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Fraction(12)),
        ("0.5", Fraction(1, 2)),
        ("1e-3", Fraction(1, 1000)),
        ("10_000", Fraction(10000)),
        ("2.5E+1", Fraction(25)),
        ("1e999", Fraction(10**999)),
    ],
)
def test_numbers_are_exact_and_keep_their_text(text: str, value: Fraction) -> None:
    number = expression(text)
    assert isinstance(number, ast.Number)
    assert (number.value, number.text) == (value, text)


def test_a_call_has_its_parenthesis_on_its_line() -> None:
    same = parse_text("block b { x (y) -> sign }", "a")
    other = parse_text("block b { x\n (y) -> sign }", "b")
    assert isinstance(same.items[0], ast.Block)
    assert isinstance(other.items[0], ast.Block)
    assert len(same.items[0].body.statements) == 1
    assert len(other.items[0].body.statements) == 2


def test_whole_file() -> None:
    text = """# comment
include "blocks.bnn"
block stage(c, k = 3,) { conv(c, k) -> repeat i in [1, 2] { sign } }
network net(n = 2) { input a: u8[3, n, n] output b = a -> stage(n) output a }
train { loss squared_hinge optimizer adam(lr = 1e-3) epochs (5) }
"""
    include, block, network, train = parse_text(text, "t.bnn").items
    assert isinstance(include, ast.Include)
    assert include.path.content == "blocks.bnn"
    assert isinstance(block, ast.Block)
    assert [p.name.text for p in block.parameters] == ["c", "k"]
    assert isinstance(network, ast.Network)
    assert [type(s).__name__ for s in network.body.statements] == ["Input", "Output", "Output"]
    assert isinstance(train, ast.Train)
    assert [s.name.text for s in train.settings] == ["loss", "optimizer", "epochs"]


def test_spans() -> None:
    text = "block b {\n  let y = f(1) + (2*3)\n}"
    (block,) = parse_text(text, "t.bnn").items
    assert isinstance(block, ast.Block)
    (let,) = block.body.statements
    assert isinstance(let, ast.Let)
    assert (let.value.span.start, let.value.span.end) == (Position(2, 11), Position(2, 23))
    assert isinstance(let.value, ast.Binary)
    ((_, product),) = let.value.rest
    assert (product.span.start.column, product.span.end.column) == (18, 23)
    assert (block.span.start, block.span.end) == (Position(1, 1), Position(3, 2))


def test_trees_compare_by_meaning() -> None:
    assert parse_text("block b { f(0.5) }", "a") == parse_text("block b {\n\n f( 5e-1 ) # x\n}", "b")
    assert parse_text("block b { f(0.5) }", "a") != parse_text("block b { f(0.25) }", "a")


def test_line_ends_and_byte_order_mark() -> None:
    assert parse_bytes(b"\xef\xbb\xbfblock b {\r\n sign\r}\n", "a") == parse_text("block b { sign }", "b")


def test_empty_file() -> None:
    assert parse_text("", "a").items == ()
    assert parse_text("# only a comment", "a").items == ()


def test_the_stored_table_is_that_of_the_grammar() -> None:
    folder = resource_dir("grammar")
    built = build_table((folder / GRAMMAR_FILE).read_text("utf-8"))
    assert built.to_json() == (folder / TABLE_FILE).read_text("utf-8")
    assert ParseTable.from_json(built.to_json()) == parse_table()
    json.loads(built.to_json())


def test_the_table_does_not_depend_on_hash_seeds() -> None:
    script = (
        "from bnncc._resources import resource_dir\nfrom bnncc.frontend.parse import build_table\n"
        "print(build_table((resource_dir('grammar') / 'bnn.lark').read_text('utf-8')).to_json())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_parsing_needs_no_lark() -> None:
    script = (
        "import sys\nfrom bnncc.frontend.parse import parse_text\nparse_text('block b { sign }', 'a')\n"
        "assert not {'lark', 'torch', 'numpy', 'rich'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("network n { input x u8[1] \n y = 3 \n let a = f(1 2) }", ["1:21 E0104", "2:4 E0107", "3:14 E0111"]),
        ("block a { let let = 2 }\nblock b { -> sign }", ["1:15 E0109", "2:11 E0104"]),
        ("block a { f(1)) }\nblock b { (1] }", ["1:15 E0106", "2:11 E0105", "2:13 E0106"]),
        ("block a { x -> }\nnetwork { }", ["1:16 E0108", "2:9 E0104"]),
        ("}\n}", ["1:1 E0106", "2:1 E0106"]),
    ],
)
def test_every_syntax_error_in_one_run(text: str, places: list[str]) -> None:
    with pytest.raises(CompileError) as caught:
        parse_text(text, "t")
    found = [f"{d.span.start.line}:{d.span.start.column} {d.code}" for d in caught.value.diagnostics]
    assert found == places
