from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from bnncc._resources import resource_dir
from bnncc.diagnostics import CompileError
from bnncc.frontend.format import format_text
from bnncc.frontend.lexer import lex
from bnncc.frontend.parse import parse_table, parse_text
from tests.unit.frontend.programs import sources

EXAMPLES = sorted(resource_dir("examples").glob("*.bnn"))

UGLY = """


#!first
#a comment
network  a( width=128 ,b = -1){ input image :u8[ 3,32 , 32 ]   # trailing


  block stage(c){ conv(c,3)->sign }
  block s2(c) { conv(c,3)
-> batch_norm -> repeat i in [1,2 , 3]{ dense( 2 * i**2-1 , pad = + 1) }
# inner

# end
}
  image->normalize(scale=1 / 127.5,shift= - 1)
->stage(width)->concat(
image ,
image
)->repeat 2 {
 sign
 }
   let y = if a<b then 3 else -x +y
(a + b) -> sign
output q = y output z
}
train{loss squared_hinge optimizer adam( lr=1e-3 )
   schedule  exponential(to=3e-7)}
train { }
#end"""

NEAT = """#!first
# a comment
network a(width = 128, b = -1) {
  input image: u8[3, 32, 32]  # trailing

  block stage(c) { conv(c, 3) -> sign }
  block s2(c) {
    conv(c, 3)
      -> batch_norm -> repeat i in [1, 2, 3] { dense(2*i**2 - 1, pad = +1) }
    # inner

    # end
  }
  image -> normalize(scale = 1/127.5, shift = -1)
    -> stage(width) -> concat(
      image,
      image
    ) -> repeat 2 {
      sign
    }
  let y = if a < b then 3 else -x + y
  (a + b) -> sign
  output q = y
  output z
}
train {
  loss squared_hinge
  optimizer adam(lr = 1e-3)
  schedule exponential(to = 3e-7)
}
train {}
# end
"""


def test_layout() -> None:
    assert format_text(UGLY, "a") == NEAT


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n"])
def test_small_files(text: str) -> None:
    assert format_text(text, "a") == text.strip("\n") + ("\n" if text.strip() else "")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_have_the_canonical_layout(example: Path) -> None:
    text = example.read_text("utf-8")
    assert format_text(text, example.name) == text


def test_what_cannot_be_parsed_is_not_formatted() -> None:
    with pytest.raises(CompileError):
        format_text("network {", "a")


def comments(text: str) -> list[str]:
    source = parse_text(text, "a").span.source
    return [comment.text.lstrip("# ").rstrip() for comment in lex(source, parse_table()).comments]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(sources())
def test_formatting_keeps_meaning_and_comments_and_is_idempotent(text: str) -> None:
    once = format_text(text, "a")
    assert parse_text(once, "a") == parse_text(text, "a")
    assert comments(once) == comments(text)
    assert format_text(once, "a") == once
    assert "\n\n\n" not in once
    assert not any(line != line.rstrip() for line in once.split("\n"))
