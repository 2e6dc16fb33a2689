"""E02: shapes, elements, and ranges of numbers."""
# ruff: noqa: D102 - headline, label, notes and hints are documented in their base class

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.diagnostics import Diagnostic


@dataclass(frozen=True, kw_only=True)
class WrongArgument(Diagnostic):
    """An argument is of the wrong kind: a word where a number is needed, or a fraction for a count.

    Why:
        Each argument of a layer has a fixed meaning; docs/language.md lists them.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(7/2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(7//2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0201"
    argument: str
    owner: str
    needed: str
    found: str
    advice: str = ""

    @property
    def headline(self) -> str:
        return f"'{self.argument}' of '{self.owner}' needs {self.needed}."

    @property
    def label(self) -> str:
        return f"this is {self.found}"

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.advice,) if self.advice else ()


@dataclass(frozen=True, kw_only=True)
class ArgumentOutOfRange(Diagnostic):
    """A number is outside the range that makes sense for it.

    Why:
        A stride of 0 never advances, a dropout rate of 1 drops everything, a padding value other than
        -1, 0 or +1 cannot be held in a bit.

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3, stride = 0) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3, stride = 2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0202"
    argument: str
    owner: str
    allowed: str
    found: str
    advice: str = ""

    @property
    def headline(self) -> str:
        return f"'{self.argument}' of '{self.owner}' must be {self.allowed}."

    @property
    def label(self) -> str:
        return f"this is {self.found}"

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.advice,) if self.advice else ()


@dataclass(frozen=True, kw_only=True)
class NeedsVector(Diagnostic):
    """A dense layer reads one value per feature, but its input still has rows and columns.

    Why:
        The order of the features is part of the trained weights, so it is written down: `flatten` takes
        channels, then rows, then columns.

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> dense(10) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> flatten -> dense(10) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0203"
    layer: str
    found: str

    @property
    def headline(self) -> str:
        return f"'{self.layer}' needs one value per feature, but its input still has spatial axes."

    @property
    def label(self) -> str:
        return self.found

    @property
    def hints(self) -> tuple[str, ...]:
        return ("put 'flatten' before this layer.",)


@dataclass(frozen=True, kw_only=True)
class NeedsImage(Diagnostic):
    """A layer with a window got a vector.

    Why:
        `conv` and `max_pool` slide over rows and columns: their input has channels, rows and columns.

    Example:
        network tiny {
          input x: u8[64]
          x -> conv(4, 3) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0204"
    layer: str
    found: str

    @property
    def headline(self) -> str:
        return f"'{self.layer}' needs an image, with channels, rows and columns."

    @property
    def label(self) -> str:
        return self.found

    @property
    def hints(self) -> tuple[str, ...]:
        return (f"put '{self.layer}' before 'flatten', or give the input three dimensions: u8[1, 28, 28].",)


@dataclass(frozen=True, kw_only=True)
class WindowDoesNotFit(Diagnostic):
    """A kernel or pool is larger than the image it slides over.

    Why:
        Convolutions without padding and pools make the image smaller; after some of them nothing is left.

    Example:
        network tiny {
          input x: u8[1, 4, 4]
          x -> conv(4, 5, padding = valid) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 4, 4]
          x -> conv(4, 5, padding = same) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0205"
    layer: str
    found: str

    @property
    def headline(self) -> str:
        return f"The window of '{self.layer}' does not fit into its input."

    @property
    def label(self) -> str:
        return self.found

    @property
    def hints(self) -> tuple[str, ...]:
        return ("make the window smaller, add padding, or leave out a pool before it.",)


@dataclass(frozen=True, kw_only=True)
class EmptyWindow(Diagnostic):
    """The padding of a pool is so large that some windows see no pixel at all.

    Why:
        A pixel outside the image never is the maximum, so the maximum of such a window is undefined.

    Example:
        network tiny {
          input x: u8[1, 4, 4]
          x -> conv(4, 3) -> max_pool(2, padding = 2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 4, 4]
          x -> conv(4, 3) -> max_pool(2, padding = 1) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0206"
    layer: str
    found: str

    @property
    def headline(self) -> str:
        return f"Some windows of '{self.layer}' lie wholly in the padding."

    @property
    def label(self) -> str:
        return self.found

    @property
    def hints(self) -> tuple[str, ...]:
        return ("make the padding smaller than the window.",)


@dataclass(frozen=True, kw_only=True)
class WrongElement(Diagnostic):
    """A layer cannot read the kind of element that flows into it.

    Why:
        Sums of a binary layer are integers; the next binary layer reads signs. What makes signs of sums
        is `sign`, usually after `batch_norm`. `normalize` reads pixels, `batch_norm` reads sums.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(8) -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(8) -> batch_norm -> sign -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0207"
    layer: str
    found: str
    advice: str

    @property
    def headline(self) -> str:
        return f"'{self.layer}' cannot read what flows into it."

    @property
    def label(self) -> str:
        return self.found

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.advice,) if self.advice else ()


@dataclass(frozen=True, kw_only=True)
class TypesDiffer(Diagnostic):
    """Two values that are added or joined have types that do not go together.

    Why:
        `+` adds element by element, so shapes are equal; `concat` joins along channels, so rows and
        columns are equal, and elements too.

    Example:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2)
          let z = x -> dense(3)
          y + z -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          let y = x -> dense(3)
          let z = x -> dense(3)
          y + z -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0208"
    layer: str
    found: str

    @property
    def headline(self) -> str:
        return f"'{self.layer}' needs values whose types go together."

    @property
    def label(self) -> str:
        return self.found


@dataclass(frozen=True, kw_only=True)
class SameNeedsOddKernel(Diagnostic):
    """`padding = same`, which is the default of `conv`, has no meaning for an even kernel.

    Why:
        To keep the size of the image, half of the kernel less one would have to lie outside on each side;
        for an even kernel that is no whole number.

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 2, padding = valid) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0209"
    kernel: tuple[int, int]

    @property
    def headline(self) -> str:
        return "'padding = same' needs an odd kernel."

    @property
    def label(self) -> str:
        return f"this kernel is {self.kernel[0]}x{self.kernel[1]}"

    @property
    def hints(self) -> tuple[str, ...]:
        return ("write 'padding = valid', a number, or [top, left, bottom, right].",)


@dataclass(frozen=True, kw_only=True)
class BadInputType(Diagnostic):
    """The type of an input is none that a network can read.

    Why:
        Inputs are `u8` (pixels), `i8` or `sign`, with one dimension (features) or three (channels, rows,
        columns). The batch is not written.

    Example:
        network tiny {
          input x: f16[4]
          x -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0210"
    reason: str
    advice: str

    @property
    def headline(self) -> str:
        return "This is no type of an input."

    @property
    def label(self) -> str:
        return self.reason

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.advice,)


@dataclass(frozen=True, kw_only=True)
class TensorTooLarge(Diagnostic):
    """A tensor or a weight has 2^31 elements or more.

    Why:
        Indices in generated code are 32 bits wide. A network of this size is a slip of the pen, such as a
        missing pool before `flatten`.

    Example:
        network tiny {
          input x: u8[1024, 1024, 1024]
          x -> flatten -> dense(4) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[16, 64, 64]
          x -> flatten -> dense(4) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0211"
    layer: str
    found: str

    @property
    def headline(self) -> str:
        return f"'{self.layer}' makes a tensor that is too large."

    @property
    def label(self) -> str:
        return self.found

    @property
    def hints(self) -> tuple[str, ...]:
        return ("a tensor has fewer than 2^31 elements.",)
