"""Which lines of a generated source were made from which line of the user's."""

from __future__ import annotations

import re
from typing import Final

from bnncc.emulator import LineOrigin

_HEADING: Final = re.compile(r"\s*// ([\w.]+)[:,] from (.+?:\d+:\d+)(?::|$)")
_END: Final = re.compile(r"};?$")


def line_origins(source: str) -> tuple[LineOrigin, ...]:
    """Return the lines of every layer in ``source``, from the comment on that names its place.

    The layer is named beside the place, because the layers of a block share the lines of the block.

    A layer ends where another one begins, or where the structure or function that it stands in does. The
    headings are those of `bnncc.targets.cuda.describe`.
    """
    found: list[LineOrigin] = []
    first, origin = 0, ""
    for number, line in enumerate(source.splitlines(), 1):
        heading = _HEADING.match(line)
        if origin and (heading or _END.match(line)):
            found.append(LineOrigin(first_line=first, last_line=number - 1, origin=origin))
            origin = ""
        if heading:
            first, origin = number, f"{heading[2]} ({heading[1]})"
    return tuple(found)
