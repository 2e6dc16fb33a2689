"""E02, continued: what flows where, and what a network gives."""
# ruff: noqa: D102 - headline, label, notes and hints are documented in their base class

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.diagnostics import Diagnostic


@dataclass(frozen=True, kw_only=True)
class NotAValue(Diagnostic):
    """Something that is not data stands where data should flow.

    Why:
        Numbers, words and texts are arguments. What flows along '->' comes from an `input`.

    Example:
        network tiny(width = 4) {
          input x: u8[4]
          width -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny(width = 4) {
          input x: u8[4]
          x -> dense(width) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0216"
    found: str

    @property
    def headline(self) -> str:
        return "Only values flow: inputs, and what layers make of them."

    @property
    def label(self) -> str:
        return f"this is {self.found}"


@dataclass(frozen=True, kw_only=True)
class NothingFlows(Diagnostic):
    """A flow begins with a layer, but nothing flows into it here.

    Why:
        Inside a block, a flow may begin with a layer, for something flows into the block. In a network
        there may be several inputs, so a flow begins with one of them.

    Example:
        network tiny {
          input x: u8[4]
          dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0217"
    name: str
    inputs: tuple[str, ...]

    @property
    def headline(self) -> str:
        return f"Nothing flows into '{self.name}'."

    @property
    def hints(self) -> tuple[str, ...]:
        start = self.inputs[0] if self.inputs else "image"
        return (f"begin the flow with a value: '{start} -> ...'.",)


@dataclass(frozen=True, kw_only=True)
class BlockWithoutResult(Diagnostic):
    """A block or repeat does not end with a result.

    Why:
        What the last statement of a block gives is what flows out of it.

    Example:
        block stage(c) {
          let y = dense(c) -> batch_norm -> sign
        }
        network tiny {
          input x: u8[4]
          x -> stage(8) -> dense(2) -> batch_norm -> output scores
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

    code: ClassVar[str] = "E0218"
    name: str

    @property
    def headline(self) -> str:
        return f"'{self.name}' has no result."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("end it with the value that flows out: a flow, a name, or 'input' for what came in.",)


@dataclass(frozen=True, kw_only=True)
class UnusedResult(Diagnostic):
    """The result of a flow goes nowhere.

    Why:
        It is neither an output nor named, so no other part of the network can read it: most often an
        `-> output name` or a `let` is missing.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(3) -> batch_norm
          x -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(3) -> batch_norm -> output others
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0219"

    @property
    def headline(self) -> str:
        return "The result of this flow goes nowhere."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("end it with '-> output name', or give it a name with 'let'.",)


@dataclass(frozen=True, kw_only=True)
class NoOutput(Diagnostic):
    """The network gives nothing to its user.

    Why:
        A network without an output computes nothing that can be seen.

    Example:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2) -> batch_norm
        }

    Fix:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2) -> batch_norm
          output y
        }
    """

    code: ClassVar[str] = "E0220"
    name: str

    @property
    def headline(self) -> str:
        return f"The network '{self.name}' has no output."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("end a flow with '-> output scores'.",)


@dataclass(frozen=True, kw_only=True)
class NetworkTooLarge(Diagnostic):
    """Blocks and repeats make more layers, or more work, than any network can be meant to have.

    Why:
        Nested repeats multiply. The limit turns a runaway into an error instead of a hang.

    Example:
        network tiny {
          input x: u8[4]
          x -> repeat 1000 { repeat 1000 { dropout(0.1) } } -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> repeat 10 { dropout(0.1) } -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0221"
    limit: int
    unit: str

    @property
    def headline(self) -> str:
        return f"This network takes more than {self.limit:,} {self.unit}."

    @property
    def label(self) -> str:
        return "reached here"

    @property
    def hints(self) -> tuple[str, ...]:
        return ("look for repeats in repeats, or for a count that is too large.",)


@dataclass(frozen=True, kw_only=True)
class InputInBlock(Diagnostic):
    """An input is declared inside a block.

    Why:
        Inputs belong to the network. What flows into a block is called `input` there.

    Example:
        block stage {
          input y: u8[4]
          y -> dense(2) -> batch_norm
        }
        network tiny {
          input x: u8[4]
          x -> stage -> output scores
        }

    Fix:
        block stage {
          input -> dense(2) -> batch_norm
        }
        network tiny {
          input x: u8[4]
          x -> stage -> output scores
        }
    """

    code: ClassVar[str] = "E0223"
    name: str

    @property
    def headline(self) -> str:
        return f"The input '{self.name}' is declared inside a block."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("declare it in the network; in a block, 'input' is what flows in.",)
