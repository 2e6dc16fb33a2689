"""The graph while it grows: names that are readable and unique, types inferred, limits kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from bnncc.diagnostics import Diagnostic, Span
from bnncc.frontend.errors.flow import NetworkTooLarge
from bnncc.frontend.errors.names import DuplicateName
from bnncc.frontend.errors.types import (
    ArgumentOutOfRange,
    EmptyWindow,
    NeedsImage,
    NeedsVector,
    TensorTooLarge,
    TypesDiffer,
    WindowDoesNotFit,
    WrongElement,
)
from bnncc.frontend.values import Refusal
from bnncc.ir.graph import Graph, Output
from bnncc.ir.infer import IllTypedError, Reason, infer_nn
from bnncc.ir.nn import NnGraph, NnOp
from bnncc.ir.types import ConstRef, Elem, TensorType, Value

MAX_NODES: Final = 10_000

_Misfit: TypeAlias = NeedsVector | NeedsImage | WindowDoesNotFit | EmptyWindow | TypesDiffer | TensorTooLarge


class TooLargeError(Exception):
    """The network is beyond its limits; there is no point in going on."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.headline)
        self.diagnostic = diagnostic


class GraphBuilder:
    """A graph under construction.

    Args:
        name: of the network.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[Value] = []
        self._nodes: list[NnOp] = []
        self._outputs: list[Output] = []
        self._output_spans: dict[str, Span] = {}
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    @property
    def input_names(self) -> tuple[str, ...]:
        """Return the names of the inputs so far."""
        return tuple(value.name for value in self._inputs)

    @property
    def has_outputs(self) -> bool:
        """Return whether anything is given to the user."""
        return bool(self._outputs)

    def finish(self) -> NnGraph:
        """Return the graph."""
        return Graph(
            name=self._name,
            inputs=tuple(self._inputs),
            nodes=tuple(self._nodes),
            outputs=tuple(self._outputs),
        )

    def add_input(self, name: str, kind: TensorType) -> Value:
        """Return the value of a new input."""
        self._taken.add(name)
        value = Value(name, kind)
        self._inputs.append(value)
        return value

    def add_output(self, name: str, value: Value, span: Span) -> None:
        """Give ``value`` to the user as ``name``.

        Raises:
            Refusal: E0302 if there is such an output.
        """
        if name in self._output_spans:
            raise Refusal(DuplicateName(span=span, name=name, role="output", first=self._output_spans[name]))
        self._output_spans[name] = span
        self._outputs.append(Output(name, value))

    def fresh(self, prefix: str, stem: str, hint: str) -> str:
        """Return an unused name: ``hint`` if the author gave one, else ``stem`` and a number."""
        if hint and (name := prefix + hint) not in self._taken:
            self._taken.add(name)
            return name
        base = prefix + (hint or stem)
        while True:
            self._numbers[base] += 1
            name = f"{base}{self._numbers[base]}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def add(self, make: Callable[[Value], NnOp], name: str, layer: str, span: Span) -> Value:
        """Return the result of a new node.

        Args:
            make: the node, given its result.
            name: of the result, from `fresh`.
            layer: what the user calls it.
            span: where it is applied.

        Raises:
            Refusal: E02xx if it does not fit what flows into it.
            TooLargeError: E0221 if there are too many nodes.
        """
        untyped = make(Value(name, TensorType(Elem.REAL, ())))
        try:
            result = Value(name, infer_nn(untyped))
        except IllTypedError as error:
            raise Refusal(_diagnostic(error, layer, span)) from None
        if len(self._nodes) == MAX_NODES:
            raise TooLargeError(NetworkTooLarge(span=span, limit=MAX_NODES, unit="layers"))
        self._nodes.append(replace(untyped, result=result, span=span))
        return result


def parameter(owner: str, name: str, elem: Elem, *shape: int) -> ConstRef:
    """Return an unbound parameter of the node ``owner``."""
    return ConstRef(f"{owner}.{name}", TensorType(elem, shape))


def _diagnostic(error: IllTypedError, layer: str, span: Span) -> Diagnostic:
    """Return the situation behind ``error``, in the user's words."""
    if error.reason in _SITUATIONS:
        return _SITUATIONS[error.reason](span=span, layer=layer, found=error.text)
    if error.reason is Reason.BAD_NUMBER:
        return ArgumentOutOfRange(
            span=span, argument="an argument", owner=layer, allowed="in its range", found=error.text
        )
    return WrongElement(span=span, layer=layer, found=error.text, advice=_ADVICE.get(layer, ""))


_SITUATIONS: Final[Mapping[Reason, type[_Misfit]]] = {
    Reason.NEEDS_VECTOR: NeedsVector,
    Reason.NEEDS_IMAGE: NeedsImage,
    Reason.WINDOW_DOES_NOT_FIT: WindowDoesNotFit,
    Reason.EMPTY_WINDOW: EmptyWindow,
    Reason.TYPES_DIFFER: TypesDiffer,
    Reason.TOO_LARGE: TensorTooLarge,
}
_ADVICE: Final = {
    "conv": "put 'sign' before this layer, usually after 'batch_norm'.",
    "dense": "put 'sign' before this layer, usually after 'batch_norm'.",
    "sign": "'sign' reads sums: put a 'conv' or 'dense', and usually 'batch_norm', before it.",
    "batch_norm": "'batch_norm' reads sums: put it after 'conv' or 'dense', before 'sign'.",
    "shift_batch_norm": "'shift_batch_norm' reads sums: put it after 'conv' or 'dense', before 'sign'.",
    "prelu": "'prelu' reads real numbers: put it after 'batch_norm' or '+', before 'sign'.",
    "rprelu": "'rprelu' reads real numbers: put it after 'batch_norm' or '+', before 'sign'.",
    "normalize": "'normalize' reads pixels: put it directly after the input.",
    "+": "sums and normalized values can be added, signs and pixels cannot: add before 'sign'.",
}
