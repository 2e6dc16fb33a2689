"""The pages in ``docs/errors``, written from the docstrings of the catalogue.

``python -m bnncc.frontend.error_pages`` writes them anew.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnncc._files import write_atomically
from bnncc.diagnostics import Diagnostic
from bnncc.frontend.errors.catalogue import CATALOGUE

_SECTIONS: Final = ("Why", "Example", "Fix")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """What a docstring says: one line, perhaps more, and the sections."""

    code: str
    summary: str
    details: str
    sections: Mapping[str, str]

    def markdown(self) -> str:
        """Return the page."""
        parts = [f"# {self.code}\n\n{self.summary}\n"]
        if self.details:
            parts.append(f"{self.details}\n")
        for name, text in self.sections.items():
            body = f"```\n{text}\n```" if is_program(text) else text
            parts.append(f"## {name}\n\n{body}\n")
        return "\n".join(parts)


def is_program(text: str) -> bool:
    """Return whether a section is a program, not prose."""
    return text.startswith(("network ", "block ", "include "))


def page_of(situation: type[Diagnostic]) -> ErrorPage:
    """Return the page of a class of the catalogue."""
    lines = inspect.cleandoc(situation.__doc__ or "").split("\n")
    sections: dict[str, list[str]] = {}
    details: list[str] = []
    current = details
    for line in lines[1:]:
        if line.endswith(":") and line[:-1] in _SECTIONS:
            current = sections.setdefault(line[:-1], [])
        else:
            current.append(line)
    return ErrorPage(
        code=situation.code,
        summary=lines[0],
        details="\n".join(details).strip(),
        sections={name: inspect.cleandoc("\n".join(text)) for name, text in sections.items()},
    )


def pages() -> dict[str, str]:
    """Return the text of every page by its file name, with an index."""
    found = {f"{page.code}.md": page.markdown() for page in map(page_of, CATALOGUE)}
    rows = [f"- [{page.code}]({page.code}.md): {page.summary}" for page in map(page_of, CATALOGUE)]
    found["README.md"] = "# Errors\n\nEvery error has a code, and a page here.\n\n" + "\n".join(rows) + "\n"
    return found


def main() -> None:
    """Write the pages to ``docs/errors`` of this checkout."""
    folder = Path(__file__).resolve().parents[2] / "docs" / "errors"
    for name, text in pages().items():
        write_atomically(folder / name, text)
    sys.stdout.write(f"{folder}: {len(pages())} pages\n")


if __name__ == "__main__":
    main()
