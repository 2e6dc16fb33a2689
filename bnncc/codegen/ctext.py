"""C literals and identifiers."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

_KEYWORDS: Final = frozenset(
    # As a block: sixty lines of one quoted word each would be harder to read.
    """
    alignas alignof auto bool break case char class const constexpr continue default delete do double else
    enum explicit export extern false float for friend goto if inline int long main namespace new operator
    private protected public register restrict return short signed sizeof static struct switch template this
    throw true try typedef typename union unsigned using virtual void volatile while
    """.split()  # noqa: SIM905 - a list of words reads best as words
)


def c_float(value: np.float32) -> str:
    """Return the C literal with exactly the bits of ``value``, as a hexadecimal float."""
    if not np.isfinite(value):
        return "INFINITY" if value > 0 else "-INFINITY" if value < 0 else "NAN"
    return f"{float(value).hex()}f"


def c_identifier(name: str) -> str:
    """Return ``name`` as a C identifier: dots and other characters become underscores."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"{plain}_" if plain in _KEYWORDS or not plain or plain[0].isdigit() else plain


def c_comment(text: str) -> str:
    """Return ``text`` so that it cannot end a block comment or splice a line."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\\\n", " ").replace("\n", " ")
