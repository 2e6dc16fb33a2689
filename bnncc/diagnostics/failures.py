"""The exceptions that cross rooms; each maps to one exit code of the command line."""

from __future__ import annotations

from typing import ClassVar

from bnncc.diagnostics.diagnostic import Diagnostic


class BnnccError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code: ClassVar[int] = 70


class CompileError(BnnccError):
    """The user's program is wrong: every diagnostic of the stage that found it."""

    exit_code = 1

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(f"{d.span}: {d.code}: {d.headline}" for d in diagnostics))
        self.diagnostics = diagnostics


class VerificationError(BnnccError):
    """Two backends disagree, or an accuracy gate failed."""

    exit_code = 3


class PlatformError(BnnccError):
    """The environment lacks something: says what was looked for, where, and how to get it."""

    exit_code = 4


class DataError(BnnccError):
    """A data set, package, weight file or other input file is missing, broken or hostile."""

    exit_code = 5


class InternalError(BnnccError):
    """A fault of this compiler: says in which pass and at which span, and asks for a report."""

    exit_code = 70
