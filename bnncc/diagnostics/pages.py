"""The page of each situation, made from the docstring of its class: what, why, example, fix."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bnncc.diagnostics.diagnostic import Diagnostic

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


def pages(situations: Iterable[type[Diagnostic]]) -> dict[str, str]:
    """Return the text of the page of each situation by its file name, and an index."""
    found = [page_of(situation) for situation in sorted(situations, key=lambda situation: situation.code)]
    rows = (f"- [{page.code}]({page.code}.md): {page.summary}\n" for page in found)
    index = "# Errors\n\nEvery error has a code, and a page here.\n\n" + "".join(rows)
    return {"README.md": index} | {f"{page.code}.md": page.markdown() for page in found}
