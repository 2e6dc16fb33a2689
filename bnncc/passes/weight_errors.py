"""E05: weights that do not fit the network."""
# ruff: noqa: D102 - headline, label, notes and hints are documented in their base class

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.diagnostics import Diagnostic
from bnncc.ir.types import TensorType


@dataclass(frozen=True, kw_only=True)
class MissingWeight(Diagnostic):
    """The weights lack a tensor that the network needs.

    Why:
        The weights belong to another network, or to another version of this one: tensors are found by
        name, and names come from the source.

    Example:
        'dense(10)' needs 'dense1.weight', but the file ends with 'dense0.weight'.

    Fix:
        Train this source, or give the weights that were trained from it.
    """

    code: ClassVar[str] = "E0501"
    tensor: str
    expected: TensorType
    origin: str

    @property
    def headline(self) -> str:
        return f"There is no tensor '{self.tensor}' in {self.origin}."

    @property
    def label(self) -> str:
        return f"this layer needs it, as {self.expected}"

    @property
    def hints(self) -> tuple[str, ...]:
        return ("give the weights that were trained from this source.",)


@dataclass(frozen=True, kw_only=True)
class UnexpectedWeight(Diagnostic):
    """The weights hold a tensor that the network does not have.

    Why:
        The weights belong to another network, or a layer was removed or renamed since they were trained.

    Example:
        The file holds 'dense3.weight', but the network has two dense layers.

    Fix:
        Give the weights that were trained from this source.
    """

    code: ClassVar[str] = "E0502"
    tensor: str
    origin: str

    @property
    def headline(self) -> str:
        return f"The tensor '{self.tensor}' of {self.origin} belongs to no layer of this network."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("give the weights that were trained from this source.",)


@dataclass(frozen=True, kw_only=True)
class WrongWeightShape(Diagnostic):
    """A tensor has another shape than its layer, or elements that are not numbers.

    Why:
        The network was changed after training, for example with '-D width=64'.

    Example:
        'dense(10)' over 128 values needs [10, 128], but the file has [10, 64].

    Fix:
        Use the same parameters as for training, or train again.
    """

    code: ClassVar[str] = "E0503"
    tensor: str
    expected: TensorType
    found: str
    origin: str

    @property
    def headline(self) -> str:
        return f"The tensor '{self.tensor}' of {self.origin} is {self.found}, which does not fit its layer."

    @property
    def label(self) -> str:
        return f"this layer needs {self.expected}"

    @property
    def hints(self) -> tuple[str, ...]:
        return ("use the same source and the same '-D' parameters as for training.",)


@dataclass(frozen=True, kw_only=True)
class NotFinite(Diagnostic):
    """A tensor holds NaN or infinity.

    Why:
        Training diverged: no decision can be taken with such numbers.

    Example:
        'bn1.var' holds NaN after a step with a learning rate of 100.

    Fix:
        Train with a smaller learning rate, or take an earlier checkpoint.
    """

    code: ClassVar[str] = "E0504"
    tensor: str
    count: int
    origin: str

    @property
    def headline(self) -> str:
        return f"The tensor '{self.tensor}' of {self.origin} holds {self.count} values that are not finite."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("train with a smaller learning rate, or take an earlier checkpoint.",)


@dataclass(frozen=True, kw_only=True)
class NegativeVariance(Diagnostic):
    """A running variance plus eps is not positive.

    Why:
        A variance is never negative: the tensor is something else, or damaged.

    Example:
        'bn1.var' holds -0.5.

    Fix:
        Give the weights that were trained from this source.
    """

    code: ClassVar[str] = "E0505"
    tensor: str
    smallest: float
    origin: str

    @property
    def headline(self) -> str:
        return f"The variances '{self.tensor}' of {self.origin} go down to {self.smallest:g}."

    @property
    def label(self) -> str:
        return "with eps, a variance must be above 0"
