"""E03, continued: what a file holds and includes."""
# ruff: noqa: D102 - headline, label, notes and hints are documented in their base class

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.diagnostics import Diagnostic, Note, Span


@dataclass(frozen=True, kw_only=True)
class IncludeNotFound(Diagnostic):
    """An included file cannot be read.

    Why:
        The name is relative to the file that includes it, ends in `.bnn`, and uses '/' between folders.

    Example:
        include "missing.bnn"
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        Correct the name, or put the file where it is looked for.
    """

    code: ClassVar[str] = "E0311"
    looked_for: str
    reason: str

    @property
    def headline(self) -> str:
        return f"The file '{self.looked_for}' cannot be included."

    @property
    def label(self) -> str:
        return self.reason

    @property
    def hints(self) -> tuple[str, ...]:
        return ("names are relative to the including file and end in '.bnn'.",)


@dataclass(frozen=True, kw_only=True)
class IncludeCycle(Diagnostic):
    """A file includes itself, directly or through others, or includes go too deep.

    Why:
        Reading it would never end.

    Example:
        `blocks.bnn` says `include "more.bnn"`, and `more.bnn` says `include "blocks.bnn"`.

    Fix:
        Move what both need to a third file.
    """

    code: ClassVar[str] = "E0312"
    chain: tuple[str, ...]

    @property
    def headline(self) -> str:
        return "These includes never end."

    @property
    def label(self) -> str:
        return " includes ".join(self.chain[-4:])

    @property
    def hints(self) -> tuple[str, ...]:
        return ("move what both files need to a third one.",)


@dataclass(frozen=True, kw_only=True)
class IncludeHoldsMore(Diagnostic):
    """An included file holds more than blocks.

    Why:
        Include is for shared blocks. The network and how it is trained are in one file, so that one look
        shows what is compiled.

    Example:
        `include "network.bnn"`, where `network.bnn` holds a network.

    Fix:
        Move the blocks to a file of their own and include that.
    """

    code: ClassVar[str] = "E0314"
    what: str
    included: Span

    @property
    def headline(self) -> str:
        return f"An included file holds a '{self.what}'."

    @property
    def label(self) -> str:
        return "only blocks can be included"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(self.included, "included here"),)

    @property
    def hints(self) -> tuple[str, ...]:
        return ("move the blocks to a file of their own and include that.",)


@dataclass(frozen=True, kw_only=True)
class NoNetwork(Diagnostic):
    """The file holds no network.

    Why:
        It may be a file of blocks, to be included by others: `bnncc fmt` reads it, but there is nothing to
        compile.

    Example:
        block stage(c) {
          dense(c) -> batch_norm -> sign
        }

    Fix:
        block stage(c) {
          dense(c) -> batch_norm -> sign
        }
        network tiny {
          input x: u8[4]
          x -> stage(8) -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0315"

    @property
    def headline(self) -> str:
        return "This file holds no network."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("write 'network name { ... }', or name the file that includes this one.",)


@dataclass(frozen=True, kw_only=True)
class SeveralInFile(Diagnostic):
    """A file holds two networks, or two train blocks.

    Why:
        One file is one network and one way to train it.

    Example:
        network one {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
        network two {
          input x: u8[4]
          x -> dense(3) -> batch_norm -> output scores
        }

    Fix:
        network one(classes = 2) {
          input x: u8[4]
          x -> dense(classes) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0316"
    what: str
    first: Span

    @property
    def headline(self) -> str:
        return f"This file holds a second '{self.what}'."

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(self.first, "the first one"),)

    @property
    def hints(self) -> tuple[str, ...]:
        return ("put it in a file of its own; blocks can be shared with 'include'.",)
