"""What can go wrong and how it is said: spans, diagnostics, the errors that cross rooms."""

from bnncc.diagnostics.diagnostic import Diagnostic, Note, Severity
from bnncc.diagnostics.failures import (
    BnnccError,
    CompileError,
    DataError,
    InternalError,
    PlatformError,
    VerificationError,
)
from bnncc.diagnostics.span import NOWHERE, Position, Source, Span

__all__ = [
    "NOWHERE",
    "BnnccError",
    "CompileError",
    "DataError",
    "Diagnostic",
    "InternalError",
    "Note",
    "PlatformError",
    "Position",
    "Severity",
    "Source",
    "Span",
    "VerificationError",
]
