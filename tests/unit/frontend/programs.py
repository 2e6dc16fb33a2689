"""Random well-formed sources, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "width", "stage", "x1", "sign", "conv", "same", "min", "concat"])
NUMBERS = st.sampled_from(["0", "3", "0.5", "1e-3", "10_000", "127.5"])
SPACE = st.sampled_from([" ", "  ", "\t", "\n", "\n\n\n", " # note\n", "\n  #note é\n", "\n# a\n\n\n# b\n"])


def _expressions() -> st.SearchStrategy[list[str]]:
    atoms = st.one_of(NAMES.map(lambda n: [n]), NUMBERS.map(lambda n: [n]), st.just(["input"]))
    return st.recursive(atoms, _larger, max_leaves=6)


def _larger(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
    calls = st.tuples(NAMES, st.lists(st.tuples(st.one_of(st.none(), NAMES), inner), max_size=3))
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda t: ["(", *t[0], t[1], *t[2], ")"]),
        st.tuples(st.sampled_from("+-"), inner).map(lambda t: ["(", t[0], *t[1], ")"]),
        st.tuples(inner, inner, inner).map(
            lambda t: [
                "(",
                "if",
                "(",
                *t[0],
                ")",
                "==",
                "1",
                "then",
                "(",
                *t[1],
                ")",
                "else",
                "(",
                *t[2],
                ")",
                ")",
            ]
        ),
        st.lists(inner, max_size=3).map(lambda items: ["[", *_joined(items), "]"]),
        calls.map(lambda c: [f"{c[0]}(", *_joined([_argument(*a) for a in c[1]]), ")"]),
    )


def _argument(name: str | None, value: list[str]) -> list[str]:
    return value if name is None else [name, "=", *value]


def _joined(items: list[list[str]]) -> list[str]:
    return [word for number, item in enumerate(items) for word in ([","] if number else []) + item]


EXPRESSIONS = _expressions()


def _flows() -> st.SearchStrategy[list[str]]:
    steps = st.one_of(
        NAMES.map(lambda n: ["->", n]),
        NAMES.map(lambda n: ["->", "output", n]),
        EXPRESSIONS.map(lambda e: ["->", "f(", *e, ")"]),
        st.tuples(EXPRESSIONS, st.deferred(lambda: BODIES)).map(
            lambda t: ["->", "repeat", "i", "in", *t[0], *t[1]]
        ),
    )
    return st.tuples(EXPRESSIONS, st.lists(steps, max_size=3)).map(
        lambda t: [*t[0], *(word for step in t[1] for word in step)]
    )


FLOWS = _flows()


def _bodies() -> st.SearchStrategy[list[str]]:
    statements = st.one_of(
        st.tuples(NAMES, FLOWS).map(lambda t: ["let", t[0], "=", *t[1]]),
        st.tuples(NAMES, FLOWS).map(lambda t: ["output", t[0], "=", *t[1]]),
        EXPRESSIONS.map(lambda e: ["input", "img", ":", "u8", "[", *e, ",", "8", "]"]),
    )
    return st.lists(statements, max_size=3).map(
        lambda s: ["{", *(word for statement in s for word in statement), "}"]
    )


BODIES = _bodies()


def sources() -> st.SearchStrategy[str]:
    """Return whole files, with spaces, line breaks and comments anywhere."""
    items = st.one_of(
        BODIES.map(lambda b: ["block", "stage(", "c", "=", "3", ")", *b]),
        BODIES.map(lambda b: ["network", "net", *b]),
        EXPRESSIONS.map(lambda e: ["train", "{", "epochs", *e, "loss", "hinge", "}"]),
        st.just(["include", '"x.bnn"']),
    )
    words = st.lists(items, max_size=3).map(lambda found: [word for item in found for word in item])
    return words.flatmap(
        lambda w: st.lists(SPACE, min_size=len(w) + 1, max_size=len(w) + 1).map(
            lambda gaps: "".join(gap + word for gap, word in zip(gaps, [*w, ""], strict=True))
        )
    )
