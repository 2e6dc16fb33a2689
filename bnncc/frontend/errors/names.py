"""E03: names, arguments, includes."""
# ruff: noqa: D102 - headline, label, notes and hints are documented in their base class

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.diagnostics import Diagnostic, Note, Span


def did_you_mean(suggestion: str) -> tuple[str, ...]:
    """Return the hint that offers ``suggestion``; none where there is none."""
    return (f"did you mean '{suggestion}'?",) if suggestion else ()


@dataclass(frozen=True, kw_only=True)
class UnknownName(Diagnostic):
    """A name means nothing at this place.

    Why:
        It is misspelt, or used before it is defined, or belongs to another block.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batchnorm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0301"
    name: str
    role: str
    suggestion: str

    @property
    def headline(self) -> str:
        return f"There is no {self.role} called '{self.name}' here."

    @property
    def hints(self) -> tuple[str, ...]:
        return did_you_mean(self.suggestion)


@dataclass(frozen=True, kw_only=True)
class DuplicateName(Diagnostic):
    """A name is given twice in the same place.

    Why:
        Names never change their meaning; a second one with the same name would hide the first.

    Example:
        network tiny {
          input x: u8[4]
          let y = x -> dense(8) -> batch_norm -> sign
          let y = y -> dense(2) -> batch_norm
          output y
        }

    Fix:
        network tiny {
          input x: u8[4]
          let y = x -> dense(8) -> batch_norm -> sign
          let z = y -> dense(2) -> batch_norm
          output z
        }
    """

    code: ClassVar[str] = "E0302"
    name: str
    role: str
    first: Span

    @property
    def headline(self) -> str:
        return f"The {self.role} '{self.name}' is defined twice."

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(self.first, "it was defined here first"),)

    @property
    def hints(self) -> tuple[str, ...]:
        return ("remove one of them." if self.role == "setting" else "choose another name for one of them.",)


@dataclass(frozen=True, kw_only=True)
class ReservedName(Diagnostic):
    """The name of a layer or of a word of the language is given to something else.

    Why:
        `sign` or `same` would then mean different things in different places.

    Example:
        network tiny {
          input sign: u8[4]
          sign -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input signal: u8[4]
          signal -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0303"
    name: str
    role: str

    @property
    def headline(self) -> str:
        return f"'{self.name}' is {self.role} and cannot be redefined."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("choose another name.",)


@dataclass(frozen=True, kw_only=True)
class UnknownArgument(Diagnostic):
    """A layer or block has no argument of this name.

    Why:
        It is misspelt, or belongs to another layer.

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3, strides = 2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3, stride = 2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0304"
    name: str
    owner: str
    known: tuple[str, ...]
    suggestion: str

    @property
    def headline(self) -> str:
        return f"'{self.owner}' has no argument '{self.name}'."

    @property
    def hints(self) -> tuple[str, ...]:
        if self.suggestion:
            return did_you_mean(self.suggestion)
        if not self.known:
            return (f"'{self.owner}' takes no arguments.",)
        return (f"its arguments are {', '.join(self.known)}.",)


@dataclass(frozen=True, kw_only=True)
class MissingArgument(Diagnostic):
    """A required argument is not given.

    Why:
        It has no default: a layer cannot guess its number of channels.

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0305"
    name: str
    owner: str
    advice: str

    @property
    def headline(self) -> str:
        return f"'{self.owner}' needs '{self.name}'."

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.advice,)


@dataclass(frozen=True, kw_only=True)
class TooManyArguments(Diagnostic):
    """A layer or block got more arguments than it has.

    Why:
        Arguments by position follow the order of the documentation; most are clearer by name.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(2, binary, none, 3) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2, weights = binary) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0306"
    owner: str
    known: tuple[str, ...]

    @property
    def headline(self) -> str:
        return (
            f"'{self.owner}' takes {len(self.known) or 'no'} argument{'' if len(self.known) == 1 else 's'}."
        )

    @property
    def label(self) -> str:
        return "this one is too many"

    @property
    def hints(self) -> tuple[str, ...]:
        return (f"its arguments are {', '.join(self.known)}.",) if self.known else ()


@dataclass(frozen=True, kw_only=True)
class RepeatedArgument(Diagnostic):
    """An argument is given twice.

    Why:
        Once by position and once by name, or twice by name: which one counts?

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3, kernel = 5) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, kernel = 5) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0307"
    name: str
    owner: str
    first: Span

    @property
    def headline(self) -> str:
        return f"'{self.name}' of '{self.owner}' is given twice."

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(self.first, "it was given here first"),)


@dataclass(frozen=True, kw_only=True)
class PositionalAfterNamed(Diagnostic):
    """An argument by position follows an argument by name.

    Why:
        After a named argument the position no longer says which argument is meant.

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(channels = 4, 3) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(channels = 4, kernel = 3) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0308"
    owner: str

    @property
    def headline(self) -> str:
        return f"An argument of '{self.owner}' without a name follows one with a name."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("give it its name, or put it first.",)


@dataclass(frozen=True, kw_only=True)
class NotALayer(Diagnostic):
    """What is applied is neither a layer nor a block.

    Why:
        After '->', and before parentheses, stands a layer or a block. A value or number does nothing to
        what flows.

    Example:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2)
          x -> y -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2)
          y -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0309"
    name: str
    found: str

    @property
    def headline(self) -> str:
        return f"'{self.name}' is neither a layer nor a block."

    @property
    def label(self) -> str:
        return f"this is {self.found}"


@dataclass(frozen=True, kw_only=True)
class BlockRecursion(Diagnostic):
    """A block applies itself, directly or through others.

    Why:
        A network is finite; a block that contains itself is not. `repeat` applies a block several times.

    Example:
        block stage {
          dropout(0.1) -> stage
        }
        network tiny {
          input x: u8[4]
          x -> stage -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        block stage {
          dropout(0.1)
        }
        network tiny {
          input x: u8[4]
          x -> repeat 3 { stage } -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0310"
    name: str
    declared: Span

    @property
    def headline(self) -> str:
        return f"The block '{self.name}' applies itself."

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(self.declared, "the block is defined here"),)

    @property
    def hints(self) -> tuple[str, ...]:
        return (f"to apply it several times write 'repeat 3 {{ {self.name} }}' where it is used.",)


@dataclass(frozen=True, kw_only=True)
class UnknownParameter(Diagnostic):
    """A parameter given with `-D` is none of the network's.

    Why:
        `-D name=value` sets a parameter from the network's parentheses.

    Example:
        `bnncc check examples/mnist_mlp.bnn -D widht=64`

    Fix:
        `bnncc check examples/mnist_mlp.bnn -D hidden=64`
    """

    code: ClassVar[str] = "E0317"
    name: str
    network: str
    known: tuple[str, ...]
    suggestion: str

    @property
    def headline(self) -> str:
        return f"The network '{self.network}' has no parameter '{self.name}'."

    @property
    def hints(self) -> tuple[str, ...]:
        if self.suggestion:
            return did_you_mean(self.suggestion)
        return (f"its parameters are {', '.join(self.known)}." if self.known else "it has no parameters.",)


@dataclass(frozen=True, kw_only=True)
class BadOverride(Diagnostic):
    """The text after `-D` is not `name=value`.

    Why:
        The value is a number (`64`, `1/2`, `1e-3`) or a word (`same`).

    Example:
        `bnncc check examples/mnist_mlp.bnn -D hidden:64`

    Fix:
        `bnncc check examples/mnist_mlp.bnn -D hidden=64`
    """

    code: ClassVar[str] = "E0318"
    text: str

    @property
    def headline(self) -> str:
        return f"'-D {self.text}' does not set a parameter."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("write '-D name=value', where the value is a number such as 64 or 1/2, or a word.",)


@dataclass(frozen=True, kw_only=True)
class UnknownSetting(Diagnostic):
    """A line of the train block sets something that training does not have.

    Why:
        It is misspelt; docs/language.md lists the settings.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
        train {
          optimiser adam(lr = 1e-3)
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
        train {
          optimizer adam(lr = 1e-3)
        }
    """

    code: ClassVar[str] = "E0319"
    name: str
    known: tuple[str, ...]
    suggestion: str

    @property
    def headline(self) -> str:
        return f"Training has no setting '{self.name}'."

    @property
    def hints(self) -> tuple[str, ...]:
        return did_you_mean(self.suggestion) or (f"the settings are {', '.join(self.known)}.",)
