"""One situation that deserves the user's attention."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from bnncc.diagnostics.span import Span


class Severity(Enum):
    """How bad it is: errors stop the stage, warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Note:
    """Another place that explains the diagnostic, with a fragment of text."""

    span: Span
    text: str


@dataclass(frozen=True, kw_only=True)
class Diagnostic(ABC):
    """Base of every situation in a catalogue; subclasses add semantic fields.

    A subclass's docstring is its page in ``docs/errors``: *What*, *Why*, *Example*, *Fix*.
    ``code`` never changes meaning once published.

    Args:
        context: how the place was reached, such as the application of a block, innermost first.
    """

    code: ClassVar[str]
    severity: ClassVar[Severity] = Severity.ERROR
    span: Span
    context: tuple[Note, ...] = field(default=(), compare=False)

    @property
    @abstractmethod
    def headline(self) -> str:
        """Return one sentence with a full stop, the user's words in single quotes."""

    @property
    def label(self) -> str:
        """Return the fragment printed beside the caret; may be empty."""
        return ""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Return other places that matter."""
        return ()

    @property
    def hints(self) -> tuple[str, ...]:
        """Return actions the user can take."""
        return ()
